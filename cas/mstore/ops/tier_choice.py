"""Which low chunks of a store may go to another place, and which versions then need it."""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct, field

from mstore.codecs import PLANES
from mstore.ids import Kind, ObjectId
from mstore.objects import Tensor
from mstore.odb import Location, ObjectDatabase
from mstore.ops.describe import labels_by_version
from mstore.ops.encoding import FLOATS
from mstore.ops.leading import steps_of
from mstore.ops.payload import Piece, tensor_pieces
from mstore.ops.planes import chosen_tensors
from mstore.ops.walk import reachable, roots, walk_version
from mstore.parts import Parts

_BYTE = 8


class LowChunks(Struct, frozen=True):
    """Chunks that hold low planes: bytes decoded of those that may go, stored of those that stay.

    ``cut`` are the chunks of tensors that what goes is a part of.
    """

    going: dict[ObjectId, int] = field(default_factory=dict)
    staying: dict[ObjectId, int] = field(default_factory=dict)
    cut: set[ObjectId] = field(default_factory=set)


def low_chunks(parts: Parts, revisions: Sequence[str], bits: int) -> LowChunks:
    """What of some versions, or of all, has nothing that the first ``bits`` bits need.

    What a name needs as it is stays. Errors as ``store_planes``.
    """
    found = LowChunks()
    named = reachable(parts)
    for tensor in chosen_tensors(parts, revisions):
        for piece in tensor_pieces(tensor):
            _sort(parts, tensor, piece, bits, found)
    for oid in [oid for oid in found.going if oid in named or not parts.odb.is_live(oid)]:
        del found.going[oid]
    return found


def _sort(parts: Parts, tensor: Tensor, piece: Piece, bits: int, found: LowChunks) -> None:
    first, *below = steps_of(parts.odb, piece.id)
    if first.entry.codec != PLANES:
        return
    found.staying[piece.id] = first.entry.stored_size
    for step, start in zip(below, _starts(tensor, piece, below), strict=True):
        if start >= bits:
            found.going[step.entry.id] = step.entry.raw_size
            found.cut.add(piece.id)
        else:
            found.staying[step.entry.id] = step.entry.stored_size


def _starts(tensor: Tensor, piece: Piece, below: Sequence[Location]) -> Iterator[int]:
    """After how many bits of each number a low chunk begins."""
    width = FLOATS[tensor.dtype]
    for step in below:
        yield _BYTE * width - _BYTE * step.entry.raw_size // (piece.size // width)


def needing(parts: Parts, cut: Collection[ObjectId]) -> tuple[str, ...]:
    """The versions that cannot be read whole without other places, those of ``cut`` included."""
    labels = labels_by_version(parts)
    reach: dict[ObjectId, bool] = {}
    found: list[str] = []
    for version in sorted(roots(parts).kept):
        for kind, oid in walk_version(parts, version):
            if kind is Kind.CHUNK and oid not in reach:
                reach[oid] = _reaches(parts.odb, oid, cut)
            if kind is Kind.CHUNK and reach[oid]:
                found += labels.get(version, ())
                break
    return tuple(sorted(found))


def _reaches(odb: ObjectDatabase, chunk: ObjectId, cut: Collection[ObjectId]) -> bool:
    """Whether a chunk is read over one of ``cut``, or over what is elsewhere."""
    links = [location.entry for location in odb.chain(chunk)]
    return links[-1].base is not None or any(entry.id in cut for entry in links)
