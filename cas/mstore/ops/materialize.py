"""Making versions raw and mappable: no codec, no base, each tensor's bytes in one piece.

Then ``load`` maps a version's packs instead of decoding them. What the versions share with
others is raw for those as well. Files that are not made of tensors stay as they are.
"""

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from mstore.codecs import RAW
from mstore.errors import InvalidInputError
from mstore.format.pack import Entry
from mstore.ids import Kind, ObjectId
from mstore.objects import Tensor
from mstore.odb import PACK_CAP
from mstore.ops.payload import require_payload, tensor_pieces
from mstore.ops.places import stripped_error
from mstore.ops.recode import Change, Recoded, recode
from mstore.ops.shelf import Shelf
from mstore.ops.walk import split_ids, walk_version
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

Progress = Callable[[int, int, int], None]
"""Called with the bytes of chunks done, their bytes in all, and those written so far."""


class MaterializeReport(Struct, frozen=True):
    """What materializing did, or would do.

    ``tensors`` were not raw in one piece before, of ``tensors_total`` that the versions have;
    ``bytes_before`` and ``bytes_after`` are what the chunks of all of them take as stored.
    ``written_bytes`` went to new packs, ``condemned_bytes`` come back when gc deletes the old.
    """

    versions: tuple[str, ...]
    tensors: int
    tensors_total: int
    bytes_before: int
    bytes_after: int
    written_bytes: int
    condemned: tuple[str, ...]
    condemned_bytes: int
    dry_run: bool


def materialize(
    parts: Parts,
    revisions: Sequence[str],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> MaterializeReport:
    """Store the tensors of some versions raw, and condemn the packs with their coded chunks.

    A tensor that shares a chunk with one before it, or does not fit into one pack, is raw but
    has to be copied when it is loaded. NotFoundError (kind "stripped") for a version whose bytes
    are not here; ConflictError when a gc runs.
    """
    targets = [_whole(parts, text) for text in revisions]
    if not targets:
        raise InvalidInputError("nothing to materialize", hint="name a version: REV")
    tensors = list(_tensors(parts, targets))
    chunks = {oid for tensor in tensors for oid in split_ids(tensor.chunks)}
    before = Shelf(parts.odb).stored_size(chunks)
    scattered = [tensor for tensor in tensors if not _is_done(parts, tensor)]
    done = Recoded((), 0, (), 0)
    if not dry_run:
        done = recode(
            parts,
            (change for tensor in tensors for change in _changes(parts, tensor)),
            superseded=lambda entry: _is_coded(entry) and entry.id in chunks,
            expected=sum(_sizes(scattered).values()),
            progress=progress,
        )
    return MaterializeReport(
        versions=tuple(target.label for target in targets),
        tensors=len(scattered),
        tensors_total=len(tensors),
        bytes_before=before,
        bytes_after=sum(_sizes(tensors).values()),
        written_bytes=done.written_bytes if not dry_run else sum(_sizes(scattered).values()),
        condemned=done.condemned,
        condemned_bytes=done.condemned_bytes,
        dry_run=dry_run,
    )


def _whole(parts: Parts, text: str) -> Resolved:
    found = resolve(parts, text)
    if found.path or found.tensor or found.rows is not None:
        raise InvalidInputError(f"'{text}' is a part of a version, only whole ones can be raw")
    if found.state == "stripped":
        raise stripped_error(parts, found.label, found.version)
    return found


def _tensors(parts: Parts, targets: Sequence[Resolved]) -> Iterator[Tensor]:
    """Every tensor of some versions that has bytes, once, in the order of the files."""
    seen: set[ObjectId] = set()
    for target in targets:
        for kind, oid in walk_version(parts, target.version):
            if kind is Kind.TENSOR and oid not in seen:
                seen.add(oid)
                tensor = parts.odb.tensor(oid)
                for chunk in split_ids(tensor.chunks):
                    require_payload(parts, target, chunk)
                if tensor.chunks:
                    yield tensor


def _changes(parts: Parts, tensor: Tensor) -> Iterator[Change]:
    """The chunks of a tensor, all of them to be raw, unless nothing can be gained."""
    if not _is_done(parts, tensor):
        for piece in tensor_pieces(tensor):
            yield Change(piece.id, piece.size, lambda _: None)


def _is_done(parts: Parts, tensor: Tensor) -> bool:
    """Whether the tensor lies raw and in one piece in a live pack, or raw and never can."""
    chunks = split_ids(tensor.chunks)
    extent = parts.odb.extent(chunks)
    if extent is not None:
        return extent[0].startswith("objects/")
    size = sum(piece.size for piece in tensor_pieces(tensor))
    fits = size < PACK_CAP // 2 and len(set(chunks)) == len(chunks)
    return not fits and all(_is_raw(parts, oid) for oid in chunks)


def _is_raw(parts: Parts, oid: ObjectId) -> bool:
    found = parts.odb.find(oid)
    return found is not None and found.live and found.entry.codec == RAW


def _is_coded(entry: Entry) -> bool:
    return entry.kind is Kind.CHUNK and entry.codec != RAW


def _sizes(tensors: Sequence[Tensor]) -> dict[ObjectId, int]:
    """The raw bytes of each chunk of some tensors."""
    return {piece.id: piece.size for tensor in tensors for piece in tensor_pieces(tensor)}
