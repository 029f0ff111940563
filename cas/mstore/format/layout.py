"""Where the bytes of a file of tensors stand: some are a tensor's, all others are literal.

1. Every byte of a file is literal or belongs to a tensor, and none to two different tensors.
2. Tied tensors have one place and one id, and their bytes count once.
3. A tensor without bytes stands anywhere and takes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from mstore.errors import CorruptError, UnsupportedError
from mstore.objects import Format, TensorFile

MAX_LITERALS: Final = 16 << 20
"""Literal bytes of a file that is not safetensors (SPEC §11)."""

MAX_LISTED: Final = 32 << 20
"""Bytes of the names, ids and places of a file's tensors; they share an object with the others."""

_LISTED: Final = 48  # what a tensor takes in a file object, its name aside

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from ``start``, ``size`` of them; both lie within the file."""


class Span(NamedTuple):
    """One tensor of a file: its bytes are ``[start, stop)`` counted from the file's first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Outline(NamedTuple):
    """What a file holds: its literal bytes in their order, and its tensors by place and name."""

    format: Format
    literals: bytes
    spans: tuple[Span, ...]


class LiteralPart(NamedTuple):
    """Literal bytes of a file, and where they stand."""

    start: int
    content: bytes

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.content)


class TensorPart(NamedTuple):
    """The bytes of a tensor, where they stand, and the number of the tensor in the file."""

    start: int
    size: int
    number: int


def layout(file: TensorFile, sizes: Sequence[int]) -> list[LiteralPart | TensorPart]:
    """The bytes of a file in their order, tied tensors once (SPEC §6.3).

    ``sizes`` are those of the tensors in bytes. CorruptError unless literal bytes and tensors fill
    the file without an overlap.
    """
    parts: list[LiteralPart | TensorPart] = []
    places = file.places or _one_after_another(len(file.header), sizes)
    at = used = 0
    owner: tuple[int, bytes] | None = None
    for number, (place, size, tensor) in enumerate(zip(places, sizes, file.tensors, strict=True)):
        name, oid = tensor
        if not size or (place, oid) == owner:
            continue
        if place < at:
            message = f"tensor '{name}' at byte {place} overlaps the one before, which ends at {at}"
            raise CorruptError(message)
        stop = used + place - at
        if stop > len(file.header):
            message = f"tensor '{name}' at byte {place} leaves a hole before"
            raise CorruptError(message)
        parts += _literal(at, file.header[used:stop])
        parts.append(TensorPart(place, size, number))
        at, used, owner = place + size, stop, (place, oid)
    parts += _literal(at, file.header[used:])
    total = at + len(file.header) - used
    if total != file.size:
        message = f"the file has {total} bytes, not {file.size}"
        raise CorruptError(message)
    return parts


def owners(spans: Sequence[Span]) -> list[Span]:
    """The spans that have bytes, of those at one place the first."""
    found: list[Span] = []
    for span in spans:
        if span.start < span.stop and not (found and found[-1].start == span.start):
            found.append(span)
    return found


def outline(format_: Format, spans: Sequence[Span], size: int, read: Read) -> Outline:
    """The outline of a file of ``size`` bytes with these tensors, its literal bytes read.

    UnsupportedError when it cannot be kept as tensors: tensors that share some of their bytes, one
    name twice, none at all, or too many literal bytes.
    """
    ordered = sorted(spans, key=lambda span: (span.start, span.name.encode()))
    _check_names(ordered)
    _check_sharing(ordered, size)
    gaps = list(_gaps(owners(ordered), size))
    total = sum(stop - start for start, stop in gaps)
    if total > MAX_LITERALS:
        message = f"{total} bytes belong to no tensor, at most {MAX_LITERALS} may"
        raise UnsupportedError(message)
    literals = b"".join(read(start, stop - start) for start, stop in gaps)
    return Outline(format_, literals, tuple(ordered))


def _one_after_another(start: int, sizes: Sequence[int]) -> Iterator[int]:
    for size in sizes:
        yield start
        start += size


def _literal(start: int, content: bytes) -> list[LiteralPart]:
    return [LiteralPart(start, content)] if content else []


def _check_names(spans: Sequence[Span]) -> None:
    if not spans:
        message = "there are no tensors in it"
        raise UnsupportedError(message)
    if sum(len(span.name.encode()) + _LISTED for span in spans) > MAX_LISTED:
        message = f"the names of {len(spans)} tensors are too much for one file"
        raise UnsupportedError(message)
    names = {span.name for span in spans}
    if len(names) != len(spans):
        message = "two tensors have one name"
        raise UnsupportedError(message)


def _check_sharing(spans: Sequence[Span], size: int) -> None:
    before = Span("", "", (), 0, 0)
    for span in (span for span in spans if span.start < span.stop):
        tied = (span.start, span.dtype, span.shape) == (before.start, before.dtype, before.shape)
        if not tied and span.start < before.stop:
            message = f"tensors '{before.name}' and '{span.name}' share some of their bytes"
            raise UnsupportedError(message)
        before = span
    if any(span.stop > size for span in spans):
        message = "a tensor ends behind the end of the file"
        raise UnsupportedError(message)


def _gaps(spans: Sequence[Span], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for span in spans:
        if at < span.start:
            yield at, span.start
        at = span.stop
    if at < size:
        yield at, size
