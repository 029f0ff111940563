"""NumPy arrays. Types that NumPy lacks (BF16, FP8 …) come from ``ml_dtypes`` when installed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mstore.adapters import ArrayTensor, Outline, Stored, Taken, require_no_target
from mstore.errors import InvalidInputError, UnsupportedError

_NATIVE = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
}
_EXTENDED = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
_NAMES = {np.dtype(code).name: name for name, code in _NATIVE.items()} | {
    numpy_name: name for name, numpy_name in _EXTENDED.items()
}


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """NumPy arrays as little-endian C-order bytes; copies only what is not already so."""
    return [_tensor(name, value) for name, value in arrays.items()]


def outline(name: str, value: object) -> Outline:
    """How to copy a NumPy array; only one that is not C-order and little-endian is copied twice."""
    array = _plain(name, value)

    def copy_into(target: memoryview) -> None:
        target[:] = _tensor(name, array).content

    return Outline(name, _dtype_name(name, array), array.shape, array.nbytes, copy_into)


def take(model: object) -> Taken:
    """InvalidInputError: an array alone is no model, as it has no name."""
    raise InvalidInputError(
        f"a {type(model).__name__} has no name to be stored by", hint="give a dict: {name: array}"
    )


def give(stored: Stored, into: object | None) -> dict[str, Any]:
    """Every tensor by name."""
    require_no_target("numpy", into)
    return stored.arrays()


def _dtype_name(name: str, array: np.ndarray[Any, Any]) -> str:
    dtype = _NAMES.get(array.dtype.name)
    if dtype is None:
        raise InvalidInputError(f"tensor '{name}' has dtype '{array.dtype}', which is not stored")
    return dtype


def _plain(name: str, value: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - as below
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(
            f"tensor '{name}' is masked, and its mask would be lost",
            hint="store array.data and array.mask under two names",
        )
    return np.asarray(value)


def _tensor(name: str, value: Any) -> ArrayTensor:  # noqa: ANN401 - any array or scalar
    array = _plain(name, value)
    dtype = _dtype_name(name, array)
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    flat: Any = little.reshape(-1).view(np.uint8)
    return ArrayTensor(name, dtype, array.shape, memoryview(flat))


def array(dtype: str, shape: tuple[int, ...], content: memoryview) -> Any:  # noqa: ANN401 - an array
    """An array over ``content``; UnsupportedError for a dtype that NumPy cannot show."""
    return np.frombuffer(content, dtype=_dtype(dtype)).reshape(shape)


def _dtype(dtype: str) -> np.dtype[Any]:
    if dtype in _NATIVE:
        return np.dtype(_NATIVE[dtype])
    try:
        import ml_dtypes  # noqa: PLC0415 - only for types that NumPy lacks

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _EXTENDED[dtype]))
    except (ImportError, KeyError, AttributeError) as error:
        raise UnsupportedError(
            f"NumPy has no dtype '{dtype}'",
            hint="run: pip install ml_dtypes, or load with framework='torch'",
        ) from error
    return extended
