"""The exact files of a version back, or one file, tensor or rows of it as a stream.

Every chunk is verified before it is written; the files get their names when all of them are
complete, so a failure leaves nothing behind.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from msgspec import Struct, structs

from mstore.backends.checkout import Checkout, OutputFile
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.format.layout import LiteralPart
from mstore.format.safetensors import build_header, parse_header
from mstore.ids import ObjectId
from mstore.objects import File, TensorFile, Version
from mstore.odb import ObjectDatabase
from mstore.ops.payload import (
    BATCH,
    Piece,
    batches,
    each_batch,
    file_pieces,
    in_threads,
    layout_of,
    place,
    read_all,
    require_payload,
    tensor_pieces,
    tensors_of,
)
from mstore.ops.read import leading_reader, tensor_bytes
from mstore.ops.walk import FoundFile, require_single, walk_entries, walk_files
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

if TYPE_CHECKING:
    from mstore.ops.leading import LeadingReader

Progress = Callable[[int, int, int], None]

_TOGETHER = 32
"""Small files that one task fills: they are open at the same time."""

BITS_KEY = "mstore_bits"
"""In the metadata of a safetensors file: of how many leading bits its floats were made."""


class GetResult(Struct, frozen=True):
    """What was written; ``path`` is the file or the folder.

    With ``bits`` the numbers in it are not the exact ones, and of the ``stored_bytes`` that are
    there for the exact ones ``bytes_read`` were read.
    """

    version: ObjectId
    path: Path
    files: int
    size_bytes: int
    bits: int | None = None
    bytes_read: int | None = None
    stored_bytes: int | None = None


def get(
    parts: Parts,
    text: str,
    destination: Path,
    *,
    force: bool = False,
    sync: bool = False,
    bits: int | None = None,
    progress: Progress | None = None,
) -> GetResult:
    """Write the files of a version, or the one that ``REV:path`` names, to ``destination``.

    A version put from one file becomes that file: at ``destination``, or inside it when that is
    a folder. With ``sync`` a power cut cannot undo it. With ``bits`` safetensors files come with
    other headers, that say so, and with floats of which so many leading bits were read; other
    files cannot say so and come exactly.
    ExistsError when something stands there and ``force`` is off; NotFoundError (kind "stripped")
    when the bytes are not in this store.
    """
    target = resolve(parts, text)
    version = parts.odb.version(target.version)
    if version.single:
        require_single(parts.odb, version)
    files = [f for f in walk_files(parts.odb, version.tree) if target.path in (None, f.path)]
    if target.path is not None and not files:
        raise no_such_file(target)
    as_folder = not (version.single or target.path is not None)
    if not as_folder and destination.is_dir():
        destination /= files[0].path.rsplit("/", 1)[-1]
    leading = None if bits is None else leading_reader(parts, bits)
    files = [_less_exact(parts, found, leading) for found in files] if leading else files
    total = sum(found.file.size for found in files)
    with Checkout(destination, folder=as_folder, force=force, durable=sync) as checkout:
        if as_folder:
            for path in _folders(parts, version):
                checkout.make_folder(path)
        filler = _Filler(parts, target, leading, _Report(total, progress))
        named = ((found, found.path if as_folder else "") for found in files)
        filler.write(_create(checkout, found, path) for found, path in named)
        checkout.place()
    result = GetResult(target.version, destination, len(files), total)
    return result if leading is None else _with_bytes(parts, result, files, leading)


def cat(
    parts: Parts, text: str, write: Callable[[memoryview], object], bits: int | None = None
) -> None:
    """Give ``write`` the bytes of one file, tensor or rows, in order and verified.

    With ``bits`` the floats of a tensor come as the middle of where their leading bits let them
    lie; InvalidInputError for anything else.
    """
    target = resolve(parts, text)
    if target.tensor is not None:
        write(tensor_bytes(parts, target, bits))
        return
    if bits is not None:
        raise InvalidInputError(
            f"'{text}' is no tensor, and only numbers have leading bits",
            hint="name a tensor: REV:PATH#TENSOR",
        )
    for piece in file_pieces(parts.odb, _one_file(parts, target).file):
        if isinstance(piece, LiteralPart):
            write(memoryview(piece.content))
        else:
            require_payload(parts, target, piece.id)
            content = memoryview(bytearray(piece.size))
            read_all(parts.odb, place([piece], content, piece.start))
            write(content)


def _folders(parts: Parts, version: Version) -> Iterator[str]:
    entries = walk_entries(parts.odb, version.tree)
    return (path for path, entry in entries if entry.type == "tree")


def no_such_file(target: Resolved) -> NotFoundError:
    """The error for a path that a version does not have."""
    return NotFoundError(
        f"'{target.label}' has no file '{target.path}'",
        hint=f"see them: mstore show {target.label}",
    )


def _one_file(parts: Parts, target: Resolved) -> FoundFile:
    version = parts.odb.version(target.version)
    for found in walk_files(parts.odb, version.tree):
        if found.path == target.path or (target.path is None and version.single):
            return found
    if target.path is None:
        raise NotFoundError(f"'{target.label}' is a folder", hint="name a file: REV:PATH")
    raise no_such_file(target)


class _Made(NamedTuple):
    """A file of a version, and the one outside that takes its bytes."""

    found: FoundFile
    output: OutputFile

    @property
    def size(self) -> int:
        return self.found.file.size


class _Report:
    """Adds up what was written, and tells the caller."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total, 0)


def _with_bytes(
    parts: Parts, result: GetResult, files: list[FoundFile], leading: "LeadingReader"
) -> GetResult:
    """A result that says how much was read of how much."""
    shown = [found.file for found in files if _has_leading(found.file)]
    tensors = (tensor for file in shown for tensor in tensors_of(parts.odb, file))
    return structs.replace(
        result,
        bits=leading.bits,
        bytes_read=leading.bytes_read,
        stored_bytes=leading.stored_size(tensors),
    )


def _has_leading(file: File) -> TypeGuard[TensorFile]:
    """Whether a file can say that its numbers are not exact: only safetensors files can."""
    return isinstance(file, TensorFile) and file.format == "safetensors"


def _less_exact(parts: Parts, found: FoundFile, leading: "LeadingReader") -> FoundFile:
    """A file whose header says that only the leading bits of its numbers are right."""
    file = found.file
    if not _has_leading(file):
        return found
    metadata = parse_header(file.header, file.size).metadata | {BITS_KEY: str(leading.bits)}
    tensors = tensors_of(parts.odb, file)
    shown = [(n, t.dtype, t.shape) for (n, _), t in zip(file.tensors, tensors, strict=True)]
    header = build_header(shown, metadata)
    size = file.size - len(file.header) + len(header)
    return found._replace(file=structs.replace(file, header=header, size=size))


def _create(checkout: Checkout, found: FoundFile, path: str) -> _Made:
    executable = found.type == "executable"
    return _Made(found, checkout.create(path, found.file.size, executable=executable))


class _Filler:
    """Fills the files of a version with their bytes.

    To make a small file takes the kernel as long as to fill it takes here: the thread that asks
    makes them, another one fills those.
    """

    def __init__(
        self, parts: Parts, target: Resolved, leading: "LeadingReader | None", report: _Report
    ) -> None:
        self._parts, self._target = parts, target
        self._leading, self._report = leading, report

    def write(self, files: Iterable[_Made]) -> None:
        for is_small, some in groupby(files, key=lambda made: made.size <= BATCH):
            if is_small:
                in_threads(batches(some, _TOGETHER), self._fill_all, self._report.add, threads=1)
            else:
                for made in some:
                    self._fill(made, self._report.add)

    def _fill_all(self, files: list[_Made]) -> None:
        for made in files:
            self._fill(made, lambda _: None)

    def _fill(self, made: _Made, done: Callable[[int], None]) -> None:
        found, odb = made.found, self._parts.odb
        with made.output as output:
            pieces = _checked_pieces(self._parts, self._target, found)
            if self._leading is None or not _has_leading(found.file):
                each_batch(pieces, _Copier(odb, output), done)
                return
            tensors = tensors_of(odb, found.file)
            for part in layout_of(found.file, tensors):
                if isinstance(part, LiteralPart):
                    each_batch([part], _Copier(odb, output), done)
                else:
                    tensor = tensors[part.number]
                    copier = _Copier(odb, output, self._leading, tensor.dtype)
                    each_batch(tensor_pieces(tensor, part.start), copier, done)


def _checked_pieces(parts: Parts, target: Resolved, found: FoundFile) -> list[LiteralPart | Piece]:
    """The bytes of a file in their order, once they are known to be there and to fill it."""
    try:
        pieces = list(file_pieces(parts.odb, found.file))
    except CorruptError as error:
        message = f"file '{found.path}' of '{target.label}': {error}"
        raise CorruptError(message, hint=error.hint) from error
    for piece in pieces:
        if isinstance(piece, Piece):
            require_payload(parts, target, piece.id)
    return pieces


class _Copier:
    """Copies pieces to a file, through one buffer a thread: fresh memory costs time."""

    def __init__(
        self,
        odb: ObjectDatabase,
        output: OutputFile,
        leading: "LeadingReader | None" = None,
        dtype: str = "",
    ) -> None:
        self._odb, self._output = odb, output
        self._leading, self._dtype = leading, dtype
        self._local = threading.local()

    def __call__(self, pieces: Sequence[LiteralPart | Piece]) -> None:
        origin, size = pieces[0].start, sum(piece.size for piece in pieces)
        buffer = self._buffer(size)
        chunks = []
        for piece in pieces:
            if isinstance(piece, Piece):
                chunks.append(piece)
            else:
                start = piece.start - origin
                buffer[start : start + piece.size] = piece.content
        placed = place(chunks, buffer, origin)
        if self._leading is None:
            read_all(self._odb, placed)
        else:
            self._leading.read_middle(self._leading.wanted(self._dtype, placed))
        self._output.write_at(origin, buffer)

    def _buffer(self, size: int) -> memoryview:
        kept: bytearray | None = getattr(self._local, "buffer", None)
        if kept is None or len(kept) < size:
            kept = self._local.buffer = bytearray(size)
        return memoryview(kept)[:size]
