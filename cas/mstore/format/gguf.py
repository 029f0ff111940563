"""The tensors of a GGUF file of version 2 or 3 (ggml's docs/gguf.md, SPEC §6.3)."""

from typing import Final, NamedTuple

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.cursor import Cursor
from mstore.format.dtypes import MAX_RANK, tensor_size
from mstore.format.layout import MAX_LITERALS, Read, Span
from mstore.format.safetensors import check_tensor_name

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)

DTYPES: Final = {
    0: "F32",
    1: "F16",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    30: "BF16",
}
"""Types whose numbers are those of a dtype."""


class Block(NamedTuple):
    """Numbers that are quantised together, and the bytes that they take."""

    numbers: int
    size: int


BLOCKS: Final = {
    2: Block(32, 18),  # Q4_0
    3: Block(32, 20),  # Q4_1
    6: Block(32, 22),  # Q5_0
    7: Block(32, 24),  # Q5_1
    8: Block(32, 34),  # Q8_0
    10: Block(256, 84),  # Q2_K
    11: Block(256, 110),  # Q3_K
    12: Block(256, 144),  # Q4_K
    13: Block(256, 176),  # Q5_K
    14: Block(256, 210),  # Q6_K
    15: Block(256, 292),  # Q8_K
    16: Block(256, 66),  # IQ2_XXS
    17: Block(256, 74),  # IQ2_XS
    18: Block(256, 98),  # IQ3_XXS
    19: Block(256, 50),  # IQ1_S
    20: Block(32, 18),  # IQ4_NL
    21: Block(256, 110),  # IQ3_S
    22: Block(256, 82),  # IQ2_S
    23: Block(256, 136),  # IQ4_XS
    29: Block(256, 56),  # IQ1_M
    34: Block(256, 54),  # TQ1_0
    35: Block(256, 66),  # TQ2_0
    39: Block(32, 17),  # MXFP4
    40: Block(64, 36),  # NVFP4
    41: Block(128, 18),  # Q1_0
}
"""Types whose numbers share a scale: kept as the bytes that they are."""

_ALIGNMENT_KEY: Final = b"general.alignment"
_ALIGNMENT: Final = 32
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a field's value by its type, where all values of a type have as many."""
_U32: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_MAX_NESTED: Final = 8


class _Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


def gguf_spans(size: int, read: Read) -> list[Span]:
    """The tensors of a file of ``size`` bytes.

    CorruptError when it breaks a rule, UnsupportedError for another version or an unknown type.
    """
    cursor = Cursor(size, read)
    if cursor.take(len(MAGIC)) != MAGIC:
        message = "no GGUF file"
        raise CorruptError(message)
    version = cursor.number(4)
    if version not in VERSIONS:
        message = f"GGUF of version {version}"
        raise UnsupportedError(message)
    tensors, fields = cursor.number(8), cursor.number(8)
    alignment = _pass_fields(cursor, fields)
    entries = [_entry(cursor) for _ in _counted(tensors)]
    base = -(-cursor.at // alignment) * alignment
    return [_span(entry, base, size) for entry in entries]


def _counted(count: int) -> range:
    """As many turns; each takes bytes, of which there are no more than ``MAX_LITERALS``."""
    if count > MAX_LITERALS:
        message = f"{count} fields or tensors"
        raise CorruptError(message)
    return range(count)


def _pass_fields(cursor: Cursor, count: int) -> int:
    """Pass over the fields; the alignment that one of them may set."""
    alignment = _ALIGNMENT
    for _ in _counted(count):
        key, type_ = cursor.take(cursor.number(8)), cursor.number(4)
        if key == _ALIGNMENT_KEY and type_ == _U32:
            alignment = cursor.number(4)
        else:
            _pass_value(cursor, type_)
    if alignment <= 0:
        message = "the alignment is 0"
        raise CorruptError(message)
    return alignment


def _pass_value(cursor: Cursor, type_: int, nested: int = 0) -> None:
    if type_ in _WIDTHS:
        cursor.skip(_WIDTHS[type_])
    elif type_ == _STRING:
        cursor.skip(cursor.number(8))
    elif type_ == _ARRAY and nested < _MAX_NESTED:
        _pass_array(cursor, nested)
    else:
        message = f"a field of type {type_}"
        raise UnsupportedError(message)


def _pass_array(cursor: Cursor, nested: int) -> None:
    type_, count = cursor.number(4), cursor.number(8)
    if type_ in _WIDTHS:
        cursor.skip(_WIDTHS[type_] * count)
        return
    for _ in _counted(count):
        _pass_value(cursor, type_, nested + 1)


def _entry(cursor: Cursor) -> _Entry:
    try:
        name = cursor.take(cursor.number(8)).decode()
    except UnicodeDecodeError:
        message = "a tensor whose name is not UTF-8"
        raise UnsupportedError(message) from None
    check_tensor_name(name)
    rank = cursor.number(4)
    if rank > MAX_RANK:
        message = f"tensor '{name}' has {rank} dimensions"
        raise CorruptError(message)
    # The first dimension is the one whose numbers stand side by side.
    shape = tuple(cursor.number(8) for _ in range(rank))[::-1]
    type_, offset = cursor.number(4), cursor.number(8)
    if type_ in DTYPES:
        return _Entry(name, DTYPES[type_], shape, offset)
    return _Entry(name, "U8", _in_blocks(name, shape, type_), offset)


def _in_blocks(name: str, shape: tuple[int, ...], type_: int) -> tuple[int, ...]:
    block = BLOCKS.get(type_)
    if block is None or not shape or shape[-1] % block.numbers:
        message = f"tensor '{name}' has rows of an unknown type {type_}, or of half blocks"
        raise UnsupportedError(message)
    return (*shape[:-1], shape[-1] // block.numbers * block.size)


def _span(entry: _Entry, base: int, size: int) -> Span:
    start = base + entry.offset
    stop = start + tensor_size(entry.dtype, entry.shape)
    if stop > size:
        message = f"tensor '{entry.name}' ends at byte {stop}, the file has {size}"
        raise CorruptError(message)
    return Span(entry.name, entry.dtype, entry.shape, start, stop)
