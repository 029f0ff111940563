"""The arrays of ``.npy`` files and of the ``.npz`` archives that hold them (SPEC §6.3).

The header of an array is a Python literal. It is matched, never evaluated, in the one form in
which NumPy writes it (NEP 1).
"""

import re
from typing import Final

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.dtypes import tensor_size
from mstore.format.layout import Read, Span
from mstore.format.pickle_outline import NAMELESS
from mstore.format.safetensors import check_tensor_name
from mstore.format.zip_records import Record

MAGIC: Final = b"\x93NUMPY"
SUFFIX: Final = ".npy"
"""How the names of the records of an archive end."""
MAX_HEADER: Final = 1 << 16
"""Bytes of an array's header: enough for any array of numbers."""

_LENGTH_SIZES: Final = {1: 2, 2: 4, 3: 4}
_DTYPES: Final = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<f2": "F16",
    "<u4": "U32",
    "<i4": "I32",
    "<f4": "F32",
    "<c8": "C64",
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
}
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z][0-9]{0,9})', 'fortran_order': (False|True),"
    rb" 'shape': \(((?:[0-9]{1,13},? ?){0,16})\), \} *\n"
)


def array_span(size: int, read: Read) -> Span:
    """The array of a ``.npy`` file, which has no name of its own."""
    return _span(NAMELESS, Record(0, size), read)


def archive_spans(records: dict[str, Record], read: Read) -> list[Span]:
    """The arrays of a ``.npz`` archive: each by the name of its record, without the suffix."""
    return [_span(name.removesuffix(SUFFIX), record, read) for name, record in records.items()]


def _span(name: str, record: Record, read: Read) -> Span:
    check_tensor_name(name)
    first = read(record.start, min(record.size, len(MAGIC) + 6))
    length_size = _LENGTH_SIZES.get(first[len(MAGIC)]) if len(first) > len(MAGIC) else None
    if first[: len(MAGIC)] != MAGIC or length_size is None:
        message = f"'{name}' is no array"
        raise UnsupportedError(message)
    start = len(MAGIC) + 2 + length_size
    length = int.from_bytes(first[len(MAGIC) + 2 : start], "little")
    if length > MAX_HEADER or start + length > record.size:
        message = f"array '{name}' has a header of {length} bytes"
        raise CorruptError(message)
    dtype, shape = _parse(name, read(record.start + start, length))
    size = tensor_size(dtype, shape)
    if start + length + size != record.size:
        message = f"array '{name}' has {record.size - start - length} bytes, not {size}"
        raise CorruptError(message)
    begin = record.start + start + length
    return Span(name, dtype, shape, begin, begin + size)


def _parse(name: str, header: bytes) -> tuple[str, tuple[int, ...]]:
    match = _HEADER.fullmatch(header)
    if match is None:
        message = f"array '{name}' has a header of another form"
        raise UnsupportedError(message)
    dtype = _DTYPES.get(match[1].decode())
    if dtype is None or match[2] == b"True":
        message = f"array '{name}' holds {match[1].decode()}, or not in C order"
        raise UnsupportedError(message)
    return dtype, tuple(int(length) for length in re.findall(rb"[0-9]+", match[3]))
