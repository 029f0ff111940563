"""The rules of objects that their types do not say: lengths, order, places (SPEC §6)."""

import math
import re
from collections.abc import Callable
from typing import Any, Final

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.bounds import CANONICAL_NAN, is_canonical_float
from mstore.format.dtypes import tensor_size
from mstore.format.layout import MAX_LITERALS
from mstore.format.names import check_tree_names
from mstore.format.safetensors import check_tensor_name, header_length
from mstore.ids import ID_SIZE
from mstore.objects import (
    CHUNK_SIZE,
    Code,
    Environment,
    Log,
    Note,
    Object,
    OpaqueFile,
    Tensor,
    TensorFile,
    Tree,
    Version,
)

_NUMBER: Final = 8
"""Bytes of a step, a value or a time of a series."""
_GIT_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


def check_rules(value: Object) -> None:
    """CorruptError or UnsupportedError unless an object obeys what stands in SPEC §6."""
    _RULES[type(value)](value)


def _check_tensor(value: Tensor) -> None:
    size = tensor_size(value.dtype, value.shape)
    expected = ID_SIZE * -(-size // CHUNK_SIZE)
    if len(value.chunks) != expected:
        message = f"chunks has {len(value.chunks)} bytes, {size} bytes of tensor need {expected}"
        raise CorruptError(message)


def _check_opaque(value: OpaqueFile) -> None:
    if len(value.chunks) != ID_SIZE * len(value.sizes):
        message = f"chunks has {len(value.chunks)} bytes for {len(value.sizes)} sizes"
        raise CorruptError(message)
    if not all(0 < size <= CHUNK_SIZE for size in value.sizes):
        message = f"sizes holds a number outside 1 to {CHUNK_SIZE}"
        raise CorruptError(message)
    if sum(value.sizes) != value.size:
        message = f"size is {value.size}, but sizes add up to {sum(value.sizes)}"
        raise CorruptError(message)


def _check_tensor_file(value: TensorFile) -> None:
    names = [name for name, _ in value.tensors]
    for name in names:
        check_tensor_name(name)
    if len(set(names)) != len(names):
        message = "tensors holds one name twice"
        raise CorruptError(message)
    if value.format == "safetensors":
        _check_safetensors(value)
    else:
        _check_places(value)


def _check_safetensors(value: TensorFile) -> None:
    length = header_length(value.header[:8], value.size)
    if len(value.header) != 8 + length:
        message = f"header has {len(value.header)} bytes, its length field says 8 + {length}"
        raise CorruptError(message)
    if value.places:
        message = "places are for other formats than safetensors"
        raise CorruptError(message)


def _check_places(value: TensorFile) -> None:
    """What can be told without the tensors' sizes; ``layout`` checks the rest."""
    limit = min(MAX_LITERALS, value.size)
    if len(value.header) > limit:
        message = f"header has {len(value.header)} bytes, at most {limit} can be"
        raise CorruptError(message)
    if not value.places:
        # What mstore said of every other format before files had places.
        message = f"file format '{value.format}' without places"
        raise UnsupportedError(message, hint="a newer mstore may know it")
    if len(value.places) != len(value.tensors):
        message = f"there are {len(value.places)} places for {len(value.tensors)} tensors"
        raise CorruptError(message)
    if not all(0 <= place <= value.size for place in value.places):
        message = f"a place is not one of 0 to {value.size}"
        raise CorruptError(message)
    order = [
        (place, name.encode()) for place, (name, _) in zip(value.places, value.tensors, strict=True)
    ]
    if order != sorted(order):
        message = "tensors do not stand in the order of their places and names"
        raise CorruptError(message)


def _check_tree(value: Tree) -> None:
    check_tree_names(entry.name for entry in value.entries)
    previous = b""
    for entry in value.entries:
        name = entry.name.encode()
        if name <= previous:
            message = f"entry '{entry.name}' is out of order"
            raise CorruptError(message)
        previous = name


def _check_measured(value: Version | Note) -> None:
    # Few have a NaN, which alone has to be looked at closely.
    if any(map(math.isnan, value.metrics.values())):
        for name, number in value.metrics.items():
            if not is_canonical_float(number):
                message = f"metrics: '{name}' is a NaN other than {CANONICAL_NAN:016x}"
                raise CorruptError(message)


def _check_code(value: Code) -> None:
    for name in ("commit", "tree"):
        text = getattr(value, name)
        if text and not _GIT_ID.fullmatch(text):
            message = f"{name} '{text[:80]}' is not an id of git"
            raise CorruptError(message)
    if value.patch and value.omitted:
        message = "a patch that is said to be left out"
        raise CorruptError(message)


def _check_log(value: Log) -> None:
    names = {series.name for series in value.series}
    if len(names) != len(value.series):
        message = "one series occurs twice"
        raise CorruptError(message)
    for series in value.series:
        size = len(series.steps)
        if size % _NUMBER or len(series.values) != size or len(series.times) not in (0, size):
            message = f"series '{series.name}' has steps, values and times of different counts"
            raise CorruptError(message)


_RULES: Final[dict[type[Object], Callable[[Any], None]]] = {
    Tensor: _check_tensor,
    OpaqueFile: _check_opaque,
    TensorFile: _check_tensor_file,
    Tree: _check_tree,
    Version: _check_measured,
    Note: _check_measured,
    Code: _check_code,
    Environment: lambda _: None,
    Log: _check_log,
}
