"""The element types of tensors, named as safetensors 0.8 names them (SPEC §6.2)."""

from collections.abc import Sequence

from mstore.errors import CorruptError, UnsupportedError

DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of one element."""

MAX_RANK = 16
MAX_DIMENSION = 1 << 40
MAX_TENSOR_BITS = 1 << 63


def tensor_size(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor; CorruptError for its shape, UnsupportedError for its dtype.

    A dimension of zero counts as one while the product is held against its limit, so that the
    answer does not depend on the order of the dimensions. Elements narrower than a byte must
    fill whole bytes.
    """
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        message = f"unknown dtype '{dtype}'"
        raise UnsupportedError(message, hint="a newer mstore may know it")
    if len(shape) > MAX_RANK:
        message = f"shape has {len(shape)} dimensions, at most {MAX_RANK} are allowed"
        raise CorruptError(message)
    bound = bits
    for length in shape:
        if not 0 <= length <= MAX_DIMENSION:
            message = f"shape has a dimension of {length}, not one of 0 to {MAX_DIMENSION}"
            raise CorruptError(message)
        bound *= length or 1
        if bound > MAX_TENSOR_BITS:
            message = f"shape {list(shape)} of {dtype} overflows"
            raise CorruptError(message)
    return _whole_bytes(0 if 0 in shape else bound, dtype, shape)


def _whole_bytes(bits: int, dtype: str, shape: Sequence[int]) -> int:
    size, rest = divmod(bits, 8)
    if rest:
        message = f"shape {list(shape)} of {dtype} does not fill whole bytes"
        raise CorruptError(message)
    return size
