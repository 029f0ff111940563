"""``int8`` and ``int4`` tensors back to float32, from nothing but a state dict."""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from mstore import adapters
from mstore.adapters import ArrayTensor
from mstore.errors import CorruptError
from mstore.numerics.schemes import (
    CODEBOOK,
    INT4,
    SCALE,
    SHAPE,
    SUFFIXES,
    ZERO_POINT,
    packed_row,
    packed_shape,
    quantised_names,
)

if TYPE_CHECKING:
    from mstore.numerics.rounding import Array, Table

_DTYPES = {SCALE: "F32", CODEBOOK: "F32", SHAPE: "I64"}
_LEVELS = 256


def dequantise(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What ``mstore.dequantise`` says that it gives."""
    dtypes = {name: adapters.outline(name, value).dtype for name, value in tensors.items()}
    names = set(quantised_names(dtypes))
    parts = {name + suffix for name in names for suffix in SUFFIXES}
    return {
        name: _restored(name, tensors) if name in names else value
        for name, value in tensors.items()
        if name not in parts
    }


def _restored(name: str, tensors: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an array
    from mstore.numerics.rounding import look_up  # noqa: PLC0415 - loads NumPy

    (stored,) = adapters.tensors({name: tensors[name]})
    given = {s: tensors[name + s] for s in SUFFIXES if name + s in tensors}
    members = {member.name: member for member in adapters.tensors(given)}
    shape = _shape(name, stored, members.get(SHAPE))
    table = _table(name, stored.dtype, shape, members)
    count = len(next(array for array in table if array is not None))
    numbers: Any = look_up(_places(stored, shape, members), table, count)
    framework = adapters.framework(adapters.framework_of(tensors[name]) or "numpy")
    return framework.array("F32", shape, memoryview(numbers.reshape(-1)).cast("B"))


def _shape(name: str, stored: ArrayTensor, given: ArrayTensor | None) -> tuple[int, ...]:
    if given is None:
        return stored.shape
    if given.dtype != _DTYPES[SHAPE]:
        raise CorruptError(f"tensor '{name}{SHAPE}' is '{given.dtype}', not '{_DTYPES[SHAPE]}'")
    shape = tuple(given.content.cast("B").cast("q")) if len(given.content) else ()
    expected = packed_shape(shape)
    if min(shape, default=0) < 0 or stored.shape != expected:
        raise CorruptError(
            f"tensor '{name}' has shape {list(stored.shape)}, {list(shape)} packed is"
            f" {list(expected)}"
        )
    return shape


def _table(
    name: str, dtype: str, shape: tuple[int, ...], members: Mapping[str, ArrayTensor]
) -> "Table":
    from mstore.numerics.rounding import Table, numbers_of  # noqa: PLC0415 - loads NumPy

    levels = 1 << INT4 if SHAPE in members else _LEVELS
    last = (levels,) if CODEBOOK in members else ()
    found: dict[str, Array] = {}
    for suffix in (CODEBOOK,) if last else (SCALE, ZERO_POINT):
        member = members[suffix]
        expected = _DTYPES.get(suffix, dtype)
        if member.dtype != expected or member.shape not in (last, (*shape[:1], *last)):
            raise CorruptError(
                f"tensor '{name}{suffix}' is {member.dtype} {list(member.shape)}: for '{name}' of"
                f" shape {list(shape)} it is {expected} {list(last)} or {[*shape[:1], *last]}"
            )
        found[suffix] = numbers_of(member.dtype, member.content).reshape(-1, *last)
    if last:
        return Table(codebook=found[CODEBOOK])
    if len(found[SCALE]) != len(found[ZERO_POINT]):
        raise CorruptError(f"'{name}{SCALE}' and '{name}{ZERO_POINT}' differ in shape")
    return Table(scale=found[SCALE], zero=found[ZERO_POINT])


def _places(
    stored: ArrayTensor, shape: tuple[int, ...], members: Mapping[str, ArrayTensor]
) -> "Array":
    from mstore.numerics.rounding import numbers_of, unpack  # noqa: PLC0415 - loads NumPy

    places = numbers_of(stored.dtype, stored.content)
    if SHAPE not in members or not prod(shape):
        return places
    return unpack(places, packed_row(shape))
