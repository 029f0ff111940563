"""What an archive is made of: the tensors of some versions, and how they are stored now.

1. A tensor counts once, in however many versions it is. Those below ``MIN_TENSOR`` bytes stay as
   they are, those stored in planes too, since somebody wanted them so, and whatever is no tensor.
2. Chunks are told apart by the tensor that holds them; one chunk may be in several tensors.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from mstore.codecs import PLANES, RAW
from mstore.errors import NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.format.layout import Span
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.objects import Tensor, TensorFile
from mstore.odb import Location
from mstore.ops.bases import BaseTensor, fit
from mstore.ops.calibrate import code_of_entry
from mstore.ops.describe import labels_by_version
from mstore.ops.encoding import width_of
from mstore.ops.names import tags
from mstore.ops.payload import Piece, tensor_pieces
from mstore.ops.places import stripped_error
from mstore.ops.reads import reads
from mstore.ops.walk import roots, walk_files
from mstore.parts import Parts
from mstore.refs import HEADS
from mstore.revision import resolve

MIN_TENSOR = 4 << 10
"""Bytes of the smallest tensor that is planned: what smaller ones could save is not worth it."""
NAMED = 4.0
"""How often the newest version of a model, or one with a tag, is taken to be read for each read of
another one."""
DISTANCES = 1, 2, 4, 8
"""How many versions back tensors of the same name are tried as bases."""


class Member(NamedTuple):
    """A tensor; ``name`` is where it was found first, as a revision names it."""

    id: ObjectId
    tensor: Tensor
    size: int
    name: str
    pieces: tuple[Piece, ...]

    @property
    def width(self) -> int:
        """Bytes of what a codec takes as one number."""
        return width_of(self.tensor.dtype)

    @property
    def span(self) -> Span:
        """The tensor as it would stand in a file."""
        return Span(self.name, self.tensor.dtype, self.tensor.shape, 0, self.size)

    def base_for(self, other: "Member") -> BaseTensor | None:
        """This tensor as a base of another one; None when their bytes do not line up."""
        return fit(other.span, self.tensor)


class Chosen(NamedTuple):
    """A version to be archived, how often it was read, its weight, its tensors."""

    label: str
    id: ObjectId
    reads: int
    weight: float
    members: tuple[ObjectId, ...]


class Survey:
    """The tensors of the versions that are archived. Reads descriptions, no bytes of tensors.

    NotFoundError (kind "stripped") for a version that was named and whose bytes are not here.
    """

    def __init__(self, parts: Parts, revisions: Sequence[str] = ()) -> None:
        self.parts = parts
        self.members: dict[ObjectId, Member] = {}
        self.holders: dict[bytes, list[ObjectId]] = defaultdict(list)
        """The tensors that hold a chunk."""
        self._names: dict[bytes, dict[tuple[str, str], ObjectId]] = {}
        self._copies: dict[bytes, int] | None = None
        self._places: dict[bytes, Location] = {}
        self._bases: dict[ObjectId, Member | None] = {}
        self.versions = [
            self._take_in(label, oid, weight) for label, oid, weight in _choose(parts, revisions)
        ]

    def _take_in(self, label: str, version: ObjectId, weight: float) -> Chosen:
        names = self._names[version] = {}
        for found in walk_files(self.parts.odb, self.parts.odb.version(version).tree):
            if isinstance(found.file, TensorFile):
                for name, packed in found.file.tensors:
                    oid = ObjectId(packed)
                    if self._is_planned(oid, f"{label}:{found.path}#{name}"):
                        names[found.path, name] = oid
        count = reads(self.parts.backend, version)
        members = tuple(dict.fromkeys(names.values()))
        return Chosen(label, version, count, weight + count, members)

    def _is_planned(self, oid: ObjectId, name: str) -> bool:
        if oid in self.members:
            return True
        tensor = self.parts.odb.tensor(oid)
        size = tensor_size(tensor.dtype, tensor.shape)
        if size < MIN_TENSOR:
            return False
        member = Member(oid, tensor, size, name, tuple(tensor_pieces(tensor)))
        if any(self.entry(piece.id).codec == PLANES for piece in member.pieces):
            return False
        self.members[oid] = member
        for chunk in dict.fromkeys(piece.id for piece in member.pieces):
            self.holders[chunk].append(oid)
        return True

    def related(self) -> Iterator[tuple[Member, Member]]:
        """Pairs of tensors of one name, the second in a version that came from that of the first.

        Those of one name follow one another.
        """
        found: dict[tuple[str, str], list[tuple[ObjectId, ObjectId]]] = defaultdict(list)
        for chosen in self.versions:
            ancestors = self._ancestors(chosen.id)
            names = self._names[chosen.id]
            for ancestor, (place, oid) in product(ancestors, names.items()):
                base = self._named(ancestor, place)
                if base is not None and base != oid:
                    found[place].append((base, oid))
        for pairs in found.values():
            for base, oid in dict.fromkeys(pairs):
                yield self.members[base], self.members[oid]

    def _named(self, version: ObjectId, place: tuple[str, str]) -> ObjectId | None:
        names = self._names[version]
        if place in names:
            return names[place]
        return next((oid for (_, name), oid in names.items() if name == place[1]), None)

    def _ancestors(self, version: ObjectId) -> list[ObjectId]:
        """All parents among the chosen versions, and some further back along the first ones."""
        found = self._parents(version)
        line = version
        for distance in range(1, max(DISTANCES) + 1):
            parents = self._parents(line)
            if not parents:
                break
            line = parents[0]
            if distance in DISTANCES:
                found.append(line)
        return list(dict.fromkeys(found))

    def _parents(self, version: ObjectId) -> list[ObjectId]:
        """The nearest ancestors that were chosen."""
        found, waiting, seen = [], [version], {version}
        while waiting:
            for parent in self.parts.odb.version(waiting.pop(0)).parents:
                oid = ObjectId(parent.id)
                if oid in self._names:
                    found.append(oid)
                elif oid not in seen:
                    seen.add(oid)
                    waiting.append(oid)
        return found

    def entry(self, chunk: bytes) -> Entry:
        """How a reader would find a chunk; NotFoundError when it is nowhere."""
        return self._place(chunk).entry

    def code(self, chunk: bytes) -> int:
        """The code of a chunk's codec, as ``calibrate.code_of_entry``."""
        return code_of_entry(self.parts.backend, self._place(chunk))

    def _place(self, chunk: bytes) -> Location:
        found = self._places.get(chunk) or self.parts.odb.find(chunk)
        if found is None:
            raise NotFoundError(
                f"chunk '{chunk.hex()}' is missing", hint="run: mstore fsck", kind="missing"
            )
        self._places[chunk] = found
        return found

    def stored_bytes(self, chunks: Iterable[bytes]) -> int:
        """Bytes that the live copies of some chunks take, however many there are of each."""
        wanted = set(chunks)
        odb = self.parts.odb
        return sum(
            entry.stored_size
            for key in odb.packs()
            for entry in odb.entries(key)
            if entry.id in wanted
        )

    def copies(self, chunk: bytes) -> int:
        """In how many live packs a chunk of these tensors is, when first asked."""
        if self._copies is None:
            self._copies = dict.fromkeys(self.holders, 0)
            for key in self.parts.odb.packs():
                for entry in self.parts.odb.entries(key):
                    if entry.id in self._copies:
                        self._copies[entry.id] += 1
        return self._copies[chunk]

    def base_tensor(self, member: Member) -> Member | None:
        """The tensor that all differences of a tensor's chunks are from; None if there is none."""
        if member.id not in self._bases:
            self._bases[member.id] = self._find_base(member)
        return self._bases[member.id]

    def _find_base(self, member: Member) -> Member | None:
        candidates: set[ObjectId] | None = None
        for number, piece in enumerate(member.pieces):
            base = self.entry(piece.id).base
            if base is not None:
                found = {
                    oid
                    for oid in self.holders.get(base, ())
                    if _chunk_at(self.members[oid], number) == base
                }
                candidates = found if candidates is None else candidates & found
        return self.members[min(candidates)] if candidates else None

    def is_alone(self, member: Member) -> bool:
        """Whether no chunk of a tensor is stored as a difference."""
        return all(self.entry(piece.id).base is None for piece in member.pieces)

    def code_alone(self, member: Member) -> int:
        """The codec of a tensor that is stored alone: of most chunks that are not raw."""
        codes = [self.entry(piece.id).codec for piece in member.pieces]
        coded = [code for code in codes if code != RAW]
        return max(sorted(set(coded)), key=coded.count) if coded else RAW


def _chunk_at(member: Member, number: int) -> bytes | None:
    return member.pieces[number].id if number < len(member.pieces) else None


def _choose(parts: Parts, revisions: Sequence[str]) -> Iterator[tuple[str, ObjectId, float]]:
    """Label, id and weight of the versions: those named, else all that are kept; oldest first."""
    labels = labels_by_version(parts)
    prominent = {bytes(oid) for oid in tags(parts).values()}
    for table in parts.refs.tables(HEADS).values():
        if table.head is not None:
            prominent.add(table.head.version)
    chosen = [_kept(parts, text) for text in revisions] or sorted(roots(parts).kept)
    order = {oid: parts.odb.version(oid).time for oid in chosen}
    for oid in sorted(order, key=lambda oid: (order[oid], oid)):
        label = next(iter(labels.get(oid, ())), str(oid)[:12])
        yield label, oid, NAMED if oid in prominent else 1.0


def _kept(parts: Parts, text: str) -> ObjectId:
    found = resolve(parts, text)
    if found.state == "stripped":
        raise stripped_error(parts, found.label, found.version)
    return found.version
