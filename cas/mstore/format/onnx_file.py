"""The initializers of an ONNX model, found in its protobuf (onnx.proto3, SPEC §6.3).

Every initializer is located in the file, or none is taken: a model hash that leaves weights out
would call two models the same. Constants inside nodes belong to the graph.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.cursor import Cursor
from mstore.format.dtypes import MAX_RANK, tensor_size
from mstore.format.layout import Read, Span
from mstore.format.safetensors import check_tensor_name

FIRST: Final = b"\x08"
"""What a model begins with: the tag of its first field, the version of the format."""
DTYPES: Final = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    14: "C64",
    16: "BF16",
    17: "F8_E4M3",
    18: "F8_E4M3FNUZ",
    19: "F8_E5M2",
    20: "F8_E5M2FNUZ",
    24: "F8_E8M0",
}
"""Types of tensors by their numbers in TensorProto.DataType."""

_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
_MODEL_FIELDS: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26))
_VERSION, _GRAPH = 1, 7
_INITIALIZER, _SPARSE = 5, 15
_DIMS, _TYPE, _NAME, _LOCATION = 1, 2, 8, 14
_IN_PLACE: Final = {4: "F32", 9: "", 10: "F64"}
"""Fields that hold the very bytes of a tensor, of this dtype: float_data, raw_data, double_data."""
_NUMBERS: Final = frozenset((3, 4, 5, 6, 7, 9, 10, 11, 13))
"""Those, and fields that say that the numbers are in pieces, in another form or in another file."""
_MAX_FIELDS: Final = 1 << 20
"""Fields of one message."""


class _Field(NamedTuple):
    """A field: its number, its wire type, where its contents begin and end, and its varint."""

    number: int
    wire: int
    start: int
    stop: int
    value: int


def onnx_spans(size: int, read: Read) -> list[Span]:
    """The initializers of a model of ``size`` bytes.

    UnsupportedError when one of them cannot be located, CorruptError for what is no model.
    """
    cursor = Cursor(size, read)
    graphs, versions = [], 0
    for field in _fields(cursor, size):
        versions += field.number == _VERSION
        if field.number == _GRAPH:
            graphs.append(field)
        if field.number not in _MODEL_FIELDS or len(graphs) > 1:
            message = f"field {field.number} is not one of a model"
            raise CorruptError(message)
    if versions != 1 or not graphs:
        message = "no ONNX model"
        raise CorruptError(message)
    _expect(graphs[0], _BYTES)
    return [_span(cursor, field) for field in _initializers(cursor, graphs[0])]


def _initializers(cursor: Cursor, graph: _Field) -> list[_Field]:
    cursor.at = graph.start
    found = []
    for field in _fields(cursor, graph.stop):
        if field.number == _SPARSE:
            message = "sparse initializers"
            raise UnsupportedError(message)
        if field.number == _INITIALIZER:
            _expect(field, _BYTES)
            found.append(field)
    return found


def _fields(cursor: Cursor, stop: int) -> Iterator[_Field]:
    """The fields of a message that ends at ``stop``; the cursor may be moved between them."""
    at, count = cursor.at, 0
    while at < stop and count < _MAX_FIELDS:
        cursor.at, count = at, count + 1
        tag = _varint(cursor)
        wire, start, value = tag & 7, cursor.at, 0
        if wire == _VARINT:
            value = _varint(cursor)
        elif wire == _BYTES:
            length = _varint(cursor)
            start = cursor.at
            cursor.skip(length)
        elif wire in (_I32, _I64):
            cursor.skip(4 if wire == _I32 else 8)
        else:
            message = f"a field of wire type {wire}"
            raise CorruptError(message)
        at = cursor.at
        yield _Field(tag >> 3, wire, start, at, value)
    if at != stop:
        message = f"a message ends at byte {at}, not at {stop}"
        raise CorruptError(message)


def _varint(cursor: Cursor) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = cursor.number(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value & ((1 << 64) - 1)
    message = "a number of more than ten bytes"
    raise CorruptError(message)


def _expect(field: _Field, wire: int) -> None:
    if field.wire != wire:
        message = f"field {field.number} has wire type {field.wire}, not {wire}"
        raise CorruptError(message)


def _span(cursor: Cursor, tensor: _Field) -> Span:
    name, type_, shape = "", 0, list[int]()
    numbers: list[_Field] = []
    cursor.at = tensor.start
    for field in _fields(cursor, tensor.stop):
        if field.number == _DIMS:
            shape += _dims(cursor, field)
        elif field.number == _TYPE:
            type_ = field.value
        elif field.number == _NAME:
            name = _text(cursor, field)
        elif _holds_numbers(field):
            numbers.append(field)
        if len(shape) > MAX_RANK or len(numbers) > 1:
            break
    check_tensor_name(name)
    return _located(name, DTYPES.get(type_, ""), tuple(shape), numbers, tensor)


def _holds_numbers(field: _Field) -> bool:
    """Whether a field has numbers of a tensor, or says that they are in another file."""
    if field.number == _LOCATION:
        return field.value > 0
    return field.number in _NUMBERS and field.stop > field.start


def _dims(cursor: Cursor, field: _Field) -> list[int]:
    if field.wire == _VARINT:
        return [field.value]
    _expect(field, _BYTES)
    cursor.at = field.start
    found: list[int] = []
    while cursor.at < field.stop and len(found) <= MAX_RANK:
        found.append(_varint(cursor))
    return found


def _text(cursor: Cursor, field: _Field) -> str:
    _expect(field, _BYTES)
    cursor.at = field.start
    try:
        return cursor.take(field.stop - field.start).decode()
    except UnicodeDecodeError:
        message = "an initializer whose name is not UTF-8"
        raise UnsupportedError(message) from None


def _located(
    name: str, dtype: str, shape: tuple[int, ...], numbers: list[_Field], tensor: _Field
) -> Span:
    size = tensor_size(dtype, shape)
    if not numbers and not size:
        return Span(name, dtype, shape, tensor.start, tensor.start)
    first = numbers[0] if numbers else tensor
    fits = _IN_PLACE.get(first.number) in ("", dtype) and first.wire == _BYTES
    if len(numbers) != 1 or not fits or first.stop - first.start != size:
        message = f"the numbers of initializer '{name}' are not {size} bytes in one place"
        raise UnsupportedError(message)
    return Span(name, dtype, shape, first.start, first.stop)
