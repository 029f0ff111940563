"""The header of a safetensors file, read strictly (SPEC §6.3).

Stricter than the safetensors library in what this list says, and never wider: one name once; no
unknown field; names of 1 to 512 bytes without control characters; limits on rank, dimensions and
the header itself; the data covered exactly, without a hole or an overlap.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, NoReturn, TypeGuard

from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.dtypes import tensor_size
from mstore.format.layout import Span
from mstore.ids import Buffer

MAX_HEADER: Final = 16 << 20
"""Bytes of the JSON: room for some 150,000 tensors."""
MAX_TENSOR_NAME: Final = 512
"""UTF-8 bytes of a tensor's name."""
LENGTH_SIZE: Final = 8
"""Bytes of the little-endian length that a file starts with."""
METADATA: Final = "__metadata__"

_FIELDS: Final = frozenset(("dtype", "shape", "data_offsets"))
_PAIR: Final = 2
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class Header(NamedTuple):
    """A parsed header: its very bytes, length field included, and what they say.

    ``spans`` stand in the order of their bytes; empty tensors at one place in that of their
    names' UTF-8 bytes.
    """

    header: bytes
    spans: tuple[Span, ...]
    metadata: dict[str, str]


def header_length(first: Buffer, file_size: int) -> int:
    """Bytes of the JSON that follow a file's first eight; CorruptError when they cannot."""
    if len(first) < LENGTH_SIZE:
        message = f"safetensors header: {len(first)} bytes, shorter than its length field"
        raise CorruptError(message)
    length = int.from_bytes(first[:LENGTH_SIZE], "little")
    if length > MAX_HEADER:
        message = f"safetensors header: {length} bytes, at most {MAX_HEADER} are allowed"
        raise CorruptError(message)
    if LENGTH_SIZE + length > file_size:
        message = f"safetensors header: {length} bytes, but the file has only {file_size} in all"
        raise CorruptError(message)
    return length


def check_tensor_name(name: str) -> None:
    """InvalidInputError unless ``name`` has 1 to 512 UTF-8 bytes and no control character."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= MAX_TENSOR_NAME or _CONTROL.search(name):
        message = (
            f"tensor name {name[:80]!r} is not 1 to {MAX_TENSOR_NAME} bytes of UTF-8"
            " without control characters"
        )
        raise InvalidInputError(message)


def parse_header(head: Buffer, file_size: int, subject: str = "") -> Header:
    """What ``head`` (length field and JSON, nothing more) says of a file of ``file_size`` bytes.

    ``subject`` is the file's name, for messages. CorruptError names the tensor and the field;
    an unknown dtype is an UnsupportedError.
    """
    where = f"safetensors header of '{subject}'" if subject else "safetensors header"
    try:
        return _parse(bytes(head), file_size)
    except UnsupportedError as error:
        message = f"{where}: {error}"
        raise UnsupportedError(message, hint=error.hint) from None
    except (CorruptError, InvalidInputError) as error:
        detail = str(error).removeprefix("safetensors header: ")
        message = f"{where}: {detail}"
        raise CorruptError(message) from None


def build_header(
    entries: Sequence[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The header, length field included, of a file holding ``(name, dtype, shape)`` in order.

    Equal arguments give equal bytes: compact JSON, metadata first and sorted, padded with spaces
    to a multiple of 8. InvalidInputError for a name twice, a bad name, dtype or shape.
    """
    fields: dict[str, object] = {}
    if metadata:
        fields[METADATA] = dict(sorted(metadata.items()))
    offset = 0
    for name, dtype, shape in entries:
        if name in fields or name == METADATA:
            message = f"tensor '{name}' stands twice, or has a reserved name"
            raise InvalidInputError(message)
        stop = offset + _size_of_input(name, dtype, shape)
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, stop]}
        offset = stop
    try:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        message = f"cannot write a safetensors header: {error}"
        raise InvalidInputError(message) from error
    padded = text + b" " * (-len(text) % 8)
    if len(padded) > MAX_HEADER:
        message = f"the header would have {len(padded)} bytes, at most {MAX_HEADER} are allowed"
        raise InvalidInputError(message)
    return len(padded).to_bytes(LENGTH_SIZE, "little") + padded


def _size_of_input(name: str, dtype: str, shape: Sequence[int]) -> int:
    check_tensor_name(name)
    try:
        return tensor_size(dtype, shape)
    except MstoreError as error:
        message = f"tensor '{name}': {error}"
        raise InvalidInputError(message) from error


def _parse(head: bytes, file_size: int) -> Header:
    length = header_length(head, file_size)
    if len(head) != LENGTH_SIZE + length:
        message = f"{len(head)} bytes given, its length field says {LENGTH_SIZE} + {length}"
        raise CorruptError(message)
    fields = _parse_json(head[LENGTH_SIZE:])
    metadata = _parse_metadata(fields.pop(METADATA, None))
    base = len(head)
    spans = [_parse_span(name, value, base) for name, value in fields.items()]
    spans.sort(key=_span_order)
    _check_cover(spans, base, file_size)
    return Header(head, tuple(spans), metadata)


def _span_order(span: Span) -> tuple[int, int, bytes]:
    return span.start, span.stop, span.name.encode()


def _parse_json(text: bytes) -> dict[str, object]:
    if not text.startswith(b"{"):
        message = "does not start with '{'"
        raise CorruptError(message)
    try:
        # Decoded here: json.loads would guess UTF-16 from zero bytes.
        fields = _decode_json(text.decode())
    except UnicodeDecodeError as error:
        message = f"not valid UTF-8 at byte {error.start}"
        raise CorruptError(message) from None
    except RecursionError:
        message = "nested too deep"
        raise CorruptError(message) from None
    except ValueError as error:
        message = f"not valid JSON: {error}"
        raise CorruptError(message) from None
    assert isinstance(fields, dict)
    return fields


def _refuse_number(text: str) -> NoReturn:
    message = f"number {text[:40]} is not a natural number"
    raise CorruptError(message)


def _unique_fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        ordered = sorted(name for name, _ in pairs)
        twice = next(name for name, following in pairwise(ordered) if name == following)
        message = f"the name {twice[:80]!r} stands twice"
        raise CorruptError(message)
    return fields


def _parse_natural(text: str) -> int:
    return _refuse_number(text) if text.startswith("-") else int(text)


_decode_json = json.JSONDecoder(
    object_pairs_hook=_unique_fields,
    parse_int=_parse_natural,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
).decode


def _parse_metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"{METADATA} is not a map"
        raise CorruptError(message)
    metadata: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(text, str):
            message = f"{METADATA}: {name[:80]!r} is not a string"
            raise CorruptError(message)
        if not (_is_utf8(name) and _is_utf8(text)):
            message = f"{METADATA}: {name[:80]!r} is not valid UTF-8"
            raise CorruptError(message)
        metadata[name] = text
    return metadata


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, written as "\ud800" in JSON
        return False
    return True


def _parse_span(name: str, value: object, base: int) -> Span:
    check_tensor_name(name)
    where = f"tensor '{name}'"
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        message = f"{where}: not a map of dtype, shape and data_offsets"
        raise CorruptError(message)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str):
        message = f"{where}: dtype is not a string"
        raise CorruptError(message)
    if not _are_naturals(shape):
        message = f"{where}: shape is not an array of natural numbers"
        raise CorruptError(message)
    if not _are_naturals(offsets) or len(offsets) != _PAIR:
        message = f"{where}: data_offsets is not an array of two natural numbers"
        raise CorruptError(message)
    size = _size_of_stored(where, dtype, shape)
    start, stop = offsets
    if stop - start != size:
        message = f"{where}: data_offsets {offsets} span {stop - start} bytes, the shape {size}"
        raise CorruptError(message)
    return Span(name, dtype, tuple(shape), base + start, base + stop)


def _size_of_stored(where: str, dtype: str, shape: list[int]) -> int:
    try:
        return tensor_size(dtype, shape)
    except UnsupportedError as error:
        message = f"{where}: {error}"
        raise UnsupportedError(message, hint=error.hint) from None
    except CorruptError as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None


def _are_naturals(value: object) -> TypeGuard[list[int]]:
    # ``type is``: to Python, True is an integer too.
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(spans: Sequence[Span], base: int, file_size: int) -> None:
    """Every byte behind the header belongs to one tensor."""
    position = base
    for span in spans:
        if span.start != position:
            fault = "overlaps the one before" if span.start < position else "leaves a hole before"
            message = (
                f"tensor '{span.name}': data_offsets"
                f" [{span.start - base}, {span.stop - base}]: {fault} (expected"
                f" {position - base})"
            )
            raise CorruptError(message)
        position = span.stop
    if position != file_size:
        message = f"the tensors end at byte {position}, the file has {file_size}"
        raise CorruptError(message)
