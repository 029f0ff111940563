"""The exact files of a version back, or one file, tensor or rows of it as a stream.

Every chunk is verified before it is written; the files get their names when all of them are
complete, so a failure leaves nothing behind.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from mstore.backends.checkout import Checkout, OutputFile
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.format.safetensors import build_header, parse_header
from mstore.ids import ObjectId
from mstore.objects import File, OpaqueFile, Tensor, TensorFile, Version
from mstore.odb import ObjectDatabase
from mstore.ops.payload import (
    Piece,
    each_batch,
    opaque_pieces,
    place,
    read_all,
    require_payload,
    tensor_pieces,
)
from mstore.ops.read import leading_reader, tensor_bytes
from mstore.ops.walk import FoundFile, require_single, walk_entries, walk_files
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

if TYPE_CHECKING:
    from mstore.ops.leading import LeadingReader

Progress = Callable[[int, int, int], None]

BITS_KEY = "mstore_bits"
"""In the metadata of a safetensors file: of how many leading bits its floats were made."""


@dataclass(frozen=True, slots=True)
class GetResult:
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
    other headers, that say so, and with floats of which so many leading bits were read.
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
    report = _Report(total, progress)
    with Checkout(destination, folder=as_folder, force=force, durable=sync) as checkout:
        if as_folder:
            for path in _folders(parts, version):
                checkout.make_folder(path)
        for found in files:
            path = found.path if as_folder else ""
            executable = found.type == "executable"
            with checkout.create(path, found.file.size, executable=executable) as output:
                _write_file(parts, target, found, output, report, leading=leading)
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
    for piece in _file_pieces(parts, _one_file(parts, target)):
        if isinstance(piece, bytes):
            write(memoryview(piece))
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


class _Report:
    """Adds up what was written, and tells the caller."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total, 0)


def _file_pieces(parts: Parts, found: FoundFile) -> Iterator[bytes | Piece]:
    """The header of a file, if it has one, then its chunks with their places in the file."""
    file = found.file
    if isinstance(file, OpaqueFile):
        yield from opaque_pieces(file)
        return
    yield file.header
    at = len(file.header)
    for _, oid in file.tensors:
        tensor = parts.odb.tensor(ObjectId(oid))
        yield from tensor_pieces(tensor, at)
        at += tensor_size(tensor.dtype, tensor.shape)


def _with_bytes(
    parts: Parts, result: GetResult, files: list[FoundFile], leading: "LeadingReader"
) -> GetResult:
    """A result that says how much was read of how much."""
    tensors = (tensor for found in files for tensor in _tensors(parts, found.file))
    return replace(
        result,
        bits=leading.bits,
        bytes_read=leading.bytes_read,
        stored_bytes=leading.stored_size(tensors),
    )


def _less_exact(parts: Parts, found: FoundFile, leading: "LeadingReader") -> FoundFile:
    """A file whose header says that only the leading bits of its numbers are right."""
    file = found.file
    if isinstance(file, OpaqueFile):
        return found
    metadata = parse_header(file.header, file.size).metadata | {BITS_KEY: str(leading.bits)}
    names = [name for name, _ in file.tensors]
    tensors = list(_tensors(parts, file))
    shown = [(n, t.dtype, t.shape) for n, t in zip(names, tensors, strict=True)]
    header = build_header(shown, metadata)
    size = len(header) + sum(tensor_size(tensor.dtype, tensor.shape) for tensor in tensors)
    return found._replace(file=structs.replace(file, header=header, size=size))


def _tensors(parts: Parts, file: File) -> Iterator[Tensor]:
    for _, oid in file.tensors if isinstance(file, TensorFile) else ():
        yield parts.odb.tensor(ObjectId(oid))


def _write_file(
    parts: Parts,
    target: Resolved,
    found: FoundFile,
    output: OutputFile,
    report: _Report,
    *,
    leading: "LeadingReader | None",
) -> None:
    header = found.file.header if isinstance(found.file, TensorFile) else b""
    pieces = [piece for piece in _file_pieces(parts, found) if isinstance(piece, Piece)]
    end = pieces[-1].start + pieces[-1].size if pieces else len(header)
    if end != found.file.size:
        raise CorruptError(
            f"file '{found.path}' of '{target.label}' has {end} bytes, not {found.file.size}"
        )
    if header:
        output.write_at(0, header)
        report.add(len(header))
    for piece in pieces:
        require_payload(parts, target, piece.id)
    if leading is None or isinstance(found.file, OpaqueFile):
        each_batch(pieces, _Copier(parts.odb, output), report.add)
        return
    at = len(header)
    for tensor in _tensors(parts, found.file):
        pieces = tensor_pieces(tensor, at)
        each_batch(pieces, _Copier(parts.odb, output, leading, tensor.dtype), report.add)
        at += tensor_size(tensor.dtype, tensor.shape)


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

    def __call__(self, pieces: list[Piece]) -> None:
        origin, size = pieces[0].start, sum(piece.size for piece in pieces)
        buffer = self._buffer(size)
        placed = place(pieces, buffer, origin)
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
