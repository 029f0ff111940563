"""TensorBoard event files: records of TFRecord framing that hold Event messages.

A record is its length (u64), a masked CRC-32C of that, its bytes, and a masked CRC-32C of those,
all little-endian. Only scalars are taken: ``simple_value``, and tensors of one number, as
TensorFlow 2 writes them. What follows a record whose length does not fit its sum cannot be found
any more.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from mstore.capture.logs.gathered import Gathered
from mstore.capture.logs.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Field, fields, signed
from mstore.errors import CorruptError

MAX_RECORD = 1 << 20
"""Bytes of a record that is looked into: images and graphs are larger, and are no scalars."""

_HEAD = 12
_TAIL = 4
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
_WORD = 0xFFFFFFFF

# Fields of Event, Summary.Value and TensorProto in the .proto files of TensorBoard.
_WALL_TIME, _STEP, _SUMMARY, _VALUE = 1, 2, 5, 1
_TAG, _SIMPLE_VALUE, _TENSOR = 1, 2, 8
_DTYPE, _SHAPE, _CONTENT = 1, 2, 4
_DIMENSION, _SIZE = 2, 1

_BFLOAT16, _FLOAT = 14, 1
_FORMS = {
    _FLOAT: "<f",
    2: "<d",
    3: "<i",
    4: "<B",
    5: "<h",
    6: "<b",
    9: "<q",
    10: "<?",
    17: "<H",
    19: "<e",
    22: "<I",
    23: "<Q",
}
"""How the content of a tensor of each type is read; the number is the type's in types.proto."""
_FLOATS, _DOUBLES, _HALVES = 5, 6, 13
_WHOLE = frozenset({7, 10, 11, 16, 17})
"""Fields of a tensor that hold whole numbers."""
_UNSIGNED = frozenset({11, 16, 17})


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        word = byte
        for _ in range(8):
            word = word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)
        found.append(word)
    return tuple(found)


_TABLE = _table()


def masked_crc(content: bytes) -> int:
    """The CRC-32C of ``content``, rotated and shifted as TFRecord keeps it."""
    word = _WORD
    for byte in content:
        word = _TABLE[(word ^ byte) & 0xFF] ^ word >> 8
    word ^= _WORD
    return ((word >> 15 | word << 17) + _MASK_DELTA) & _WORD


def looks_like_events(head: bytes) -> bool:
    """Whether a file starts with a record whose length fits its sum."""
    if len(head) < _HEAD:
        return False
    return masked_crc(head[:8]) == int.from_bytes(head[8:_HEAD], "little")


def read_events(file: BinaryIO, gathered: Gathered) -> None:
    """Gather the scalars of every whole record."""
    for place, record in _records(file, gathered):
        try:
            _read_event(memoryview(record), gathered)
        except CorruptError as error:
            gathered.note(f"the record at byte {place} is left out: {error}")


def _records(file: BinaryIO, gathered: Gathered) -> Iterator[tuple[int, bytes]]:
    """The records that are whole and not too large, with where they begin."""
    size = file.seek(0, 2)
    place = file.seek(0)
    while place < size:
        head = file.read(_HEAD)
        length = int.from_bytes(head[:8], "little")
        stop = place + _HEAD + length + _TAIL
        if len(head) == _HEAD and masked_crc(head[:8]) != int.from_bytes(head[8:], "little"):
            gathered.note(f"it is damaged at byte {place}, what follows is left out")
            return
        if len(head) < _HEAD or stop > size:
            gathered.note(f"it is cut off in the record at byte {place}")
            return
        if length > MAX_RECORD:
            file.seek(stop)
        else:
            record = file.read(length)
            if masked_crc(record) == int.from_bytes(file.read(_TAIL), "little"):
                yield place, record
            else:
                gathered.note(f"the record at byte {place} is damaged and left out")
        place = stop


def _read_event(event: memoryview, gathered: Gathered) -> None:
    seconds, step = 0.0, 0
    summaries: list[memoryview] = []
    for field in fields(event):
        if field.number == _WALL_TIME and field.wire == FIXED64:
            (seconds,) = struct.unpack("<d", field.content)
        elif field.number == _STEP and field.wire == VARINT:
            step = signed(field.value)
        elif field.number == _SUMMARY and field.wire == LENGTH:
            summaries.append(field.content)
    for summary in summaries:
        for field in fields(summary):
            if field.number == _VALUE and field.wire == LENGTH:
                tag, value = _read_value(field.content)
                if tag and value is not None:
                    gathered.add(tag, step, value, seconds)


def _read_value(content: memoryview) -> tuple[str, float | None]:
    tag, value = "", None
    for field in fields(content):
        if field.number == _TAG and field.wire == LENGTH:
            tag = bytes(field.content).decode("utf-8", "replace")
        elif field.number == _SIMPLE_VALUE and field.wire == FIXED32:
            (value,) = struct.unpack("<f", field.content)
        elif field.number == _TENSOR and field.wire == LENGTH:
            value = _read_tensor(field.content)
    return tag, value


def _read_tensor(content: memoryview) -> float | None:
    """The number that a tensor holds; None for one that holds several, or no number."""
    dtype, count = 0, 1
    raw: memoryview | None = None
    numbers: list[float] = []
    for field in fields(content):
        if field.number == _DTYPE and field.wire == VARINT:
            dtype = field.value
        elif field.number == _SHAPE and field.wire == LENGTH:
            count = _count(field.content)
        elif field.number == _CONTENT and field.wire == LENGTH:
            raw = field.content
        else:
            numbers += _numbers(field, dtype)
    if count != 1 or len(numbers) > 1:
        return None
    if numbers:
        return numbers[0]
    return None if raw is None else _unpack(dtype, raw)


def _count(shape: memoryview) -> int:
    sizes = [
        signed(size.value)
        for dimension in fields(shape)
        if dimension.number == _DIMENSION and dimension.wire == LENGTH
        for size in fields(dimension.content)
        if size.number == _SIZE and size.wire == VARINT
    ]
    return 1 if all(size == 1 for size in sizes) else 0


def _numbers(field: Field, dtype: int) -> list[float]:
    """The numbers of a repeated field, packed or not; two at most, which is one too many."""
    if field.number in {_FLOATS, _DOUBLES}:
        form, width = ("<f", 4) if field.number == _FLOATS else ("<d", 8)
        pieces = [field.content[at : at + width] for at in (0, width)]
        return [struct.unpack(form, piece)[0] for piece in pieces if len(piece) == width]
    if field.number != _HALVES and field.number not in _WHOLE:
        return []
    whole = [field.value] if field.wire == VARINT else _varints(field.content)
    if field.number == _HALVES:
        words = [memoryview((number & 0xFFFF).to_bytes(2, "little")) for number in whole]
        return [value for word in words if (value := _unpack(dtype, word)) is not None]
    return [float(n if field.number in _UNSIGNED else signed(n)) for n in whole]


def _varints(packed: memoryview) -> list[int]:
    """The first two numbers of a packed field."""
    found: list[int] = []
    number = shift = 0
    for byte in packed[:20]:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            found.append(number & (1 << 64) - 1)
            number = shift = 0
    return found[:2]


def _unpack(dtype: int, raw: memoryview) -> float | None:
    if dtype == _BFLOAT16:
        dtype, raw = _FLOAT, memoryview(b"\0\0" + bytes(raw))
    form = _FORMS.get(dtype)
    if form is None or len(raw) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, raw)[0])
