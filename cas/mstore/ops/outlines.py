"""What is in a file that is about to be stored: tensors, or bytes that say nothing."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import PurePosixPath

from mstore.errors import (
    CorruptError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
    UnsupportedError,
)
from mstore.format.layout import Outline, owners
from mstore.format.model_files import FIRST_SIZE, is_known, outline_of, why_opaque
from mstore.format.safetensors import LENGTH_SIZE, Header, header_length, parse_header
from mstore.ids import ID_SIZE, ObjectId
from mstore.objects import CHUNK_SIZE, OpaqueFile, Tensor, TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.payload import opaque_pieces
from mstore.ops.sources import Source

_WEIGHTS = {".pt", ".pth", ".bin", ".ckpt", ".gguf", ".onnx", ".npy", ".npz"}
_LARGE = 1 << 20
"""Bytes of a file of which people want to know that its tensors are not seen."""


def read_outline(source: Source) -> Outline | None:
    """The tensors of a file, or None when it is kept as bytes (SPEC §6.3).

    A file named ``.safetensors`` that breaks a rule is refused with CorruptError, one with a dtype
    that is not known with UnsupportedError; any other file is simply not one. Reads little more
    than the bytes that belong to no tensor.
    """
    first = _read(source, 0, min(FIRST_SIZE, source.size))
    is_named = source.label.endswith(".safetensors")
    # The first bytes of other files are hardly ever a length that a header of theirs could have.
    if is_named or int.from_bytes(first[:LENGTH_SIZE], "little") < source.size:
        try:
            header = _header(source)
        except (CorruptError, InvalidInputError, UnsupportedError) as error:
            if is_named:
                raise _refused(source, error) from error
        else:
            return Outline("safetensors", header.header, header.spans)
    if not is_known(first):
        return None
    try:
        return outline_of(source.size, partial(_read, source))
    except (CorruptError, UnsupportedError):
        return None


def _refused(source: Source, error: MstoreError) -> MstoreError:
    kind = UnsupportedError if isinstance(error, UnsupportedError) else CorruptError
    hint = error.hint or "nothing was stored; re-save it with a current safetensors"
    return kind(f"'{source.label}': {error}", hint=hint)


def why_bytes(source: Source, path: str) -> str:
    """Why a large file that is named as if it held weights is kept as bytes, else an empty text."""
    if source.size < _LARGE or PurePosixPath(path).suffix not in _WEIGHTS:
        return ""
    try:
        outline_of(source.size, partial(_read, source))
    except (CorruptError, UnsupportedError) as error:
        return f"'{path}' is kept as bytes, without tensors: {error}"
    return ""


def why_not_loaded(odb: ObjectDatabase, file: OpaqueFile) -> str:
    """Why a file of the store is kept as bytes although it has weights, else an empty text."""
    pieces = opaque_pieces(file)

    def read(start: int, size: int) -> bytes:
        content = bytearray(size)
        at = max(0, bisect_right(pieces, start, key=lambda piece: piece.start) - 1)
        for piece in takewhile(lambda piece: piece.start < start + size, pieces[at:]):
            low, high = max(piece.start, start), min(piece.start + piece.size, start + size)
            chunk = memoryview(odb.read(piece.id))
            content[low - start : high - start] = chunk[low - piece.start : high - piece.start]
        return bytes(content)

    with suppress(NotFoundError):
        return why_opaque(file.size, read)
    return ""


def tensors_in(outline: Outline, ids: bytes) -> Iterator[Tensor]:
    """The tensors of a file; ``ids`` are those of its chunks, tied tensors once."""
    chunks: dict[int, bytes] = {}
    at = 0
    for span in owners(outline.spans):
        size = -(-(span.stop - span.start) // CHUNK_SIZE) * ID_SIZE
        chunks[span.start] = ids[at : at + size]
        at += size
    for span in outline.spans:
        own = chunks[span.start] if span.start < span.stop else b""
        yield Tensor(span.dtype, span.shape, own)


def tensor_file(outline: Outline, size: int, oids: Sequence[ObjectId]) -> TensorFile:
    """A file of ``size`` bytes whose tensors have these ids."""
    named = zip(outline.spans, oids, strict=True)
    tensors = tuple((span.name, bytes(oid)) for span, oid in named)
    follow = outline.format == "safetensors"
    places = () if follow else tuple(span.start for span in outline.spans)
    return TensorFile(outline.format, size, outline.literals, tensors, places)


def _header(source: Source) -> Header:
    head = _read(source, 0, min(LENGTH_SIZE, source.size))
    length = header_length(head, source.size)
    return parse_header(_read(source, 0, LENGTH_SIZE + length), source.size)


def _read(source: Source, start: int, size: int) -> bytes:
    content = bytearray(size)
    source.read_into(start, memoryview(content))
    return bytes(content)
