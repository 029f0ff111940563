"""Which format a file has, told by its bytes alone, and its tensors (SPEC §6.3).

What a parser does not know for sure it refuses; then the file is kept as bytes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.dtypes import tensor_size
from mstore.format.gguf import MAGIC as GGUF
from mstore.format.gguf import gguf_spans
from mstore.format.layout import LiteralPart, Outline, Read, Span, layout, outline
from mstore.format.numpy_file import MAGIC as ARRAY
from mstore.format.numpy_file import SUFFIX, archive_spans, array_span
from mstore.format.onnx_file import FIRST as MODEL
from mstore.format.onnx_file import onnx_spans
from mstore.format.torch_file import PICKLE, torch_spans
from mstore.format.zip_records import SIGNATURE as ARCHIVE
from mstore.format.zip_records import records
from mstore.objects import Format, TensorFile

FIRST_SIZE = 8
"""Bytes that tell the format of a file."""
_FIRST = ARCHIVE, ARRAY, GGUF, MODEL
Shape = tuple[str, tuple[int, ...]]
"""The dtype and the dimensions of a tensor."""


def is_known(first: bytes) -> bool:
    """Whether a file that starts with these bytes may be of a format other than safetensors."""
    return first.startswith(_FIRST)


def outline_of(size: int, read: Read) -> Outline:
    """The tensors of a file of ``size`` bytes that is not safetensors, and its literal bytes.

    CorruptError for a file that breaks the rules of its format, UnsupportedError for one whose
    tensors cannot be located. ``read`` is asked for little more than the literal bytes.
    """
    try:
        format_, spans = _format_and_spans(size, read)
        return outline(format_, spans, size, read)
    except InvalidInputError as error:
        raise UnsupportedError(str(error)) from None


def why_opaque(size: int, read: Read) -> str:
    """Why a file with weights is kept as bytes; empty for one of no format that is known."""
    first = read(0, min(size, FIRST_SIZE))
    try:
        if first.startswith((ARCHIVE, ARRAY, GGUF)):
            outline_of(size, read)
    except (CorruptError, UnsupportedError) as error:
        return str(error)
    return ""


def check_literals(file: TensorFile, shapes: Sequence[Shape]) -> None:
    """CorruptError unless a file's own bytes say what its fields say of its tensors.

    For files that are not safetensors; ``shapes`` are those of the tensors.
    """
    parts = layout(file, [tensor_size(*shape) for shape in shapes])
    literals = [part for part in parts if isinstance(part, LiteralPart)]
    try:
        found = outline_of(file.size, partial(_read_literals, literals))
    except UnsupportedError as error:
        message = f"the file's bytes are not those of a {file.format} file: {error}"
        raise CorruptError(message) from None
    said = zip(file.tensors, shapes, file.places, strict=True)
    fields = [(name, *shape, place) for (name, _), shape, place in said]
    spans = [(span.name, span.dtype, span.shape, span.start) for span in found.spans]
    if (found.format, spans) != (file.format, fields):
        message = "the file's bytes do not name its tensors as they are"
        raise CorruptError(message)


def _read_literals(literals: Sequence[LiteralPart], start: int, size: int) -> bytes:
    """Bytes of a file with zeros for those of its tensors."""
    content = bytearray(size)
    at = max(0, bisect_right(literals, start, key=lambda part: part.start) - 1)
    for part in literals[at:]:
        if part.start >= start + size:
            break
        low, high = max(part.start, start), min(part.start + part.size, start + size)
        if low < high:
            content[low - start : high - start] = part.content[low - part.start : high - part.start]
    return bytes(content)


def _format_and_spans(size: int, read: Read) -> tuple[Format, list[Span]]:
    first = read(0, min(size, FIRST_SIZE))
    if first.startswith(ARCHIVE):
        return _archive(size, read)
    if first.startswith(ARRAY):
        return "numpy", [array_span(size, read)]
    if first.startswith(GGUF):
        return "gguf", gguf_spans(size, read)
    if first.startswith(MODEL):
        return "onnx", onnx_spans(size, read)
    message = "no format that is known"
    raise UnsupportedError(message)


def _archive(size: int, read: Read) -> tuple[Format, list[Span]]:
    found = records(size, read)
    if any(name.endswith(PICKLE) for name in found):
        return "torch", torch_spans(found, read)
    if found and all(name.endswith(SUFFIX) for name in found):
        return "numpy", archive_spans(found, read)
    message = "an archive of something else"
    raise UnsupportedError(message)
