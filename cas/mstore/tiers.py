"""Which chunks of a store are in other places, and reading them there (SPEC §7.5).

1. What is elsewhere stands in names: a ref of the namespace "remotes" has the place, and as rows
   stripped versions, whose files are made of the chunks.
2. A place is opened when a chunk of it is needed. Another store than the one that the chunks were
   given to counts as none.
3. What is read there is verified by its id.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from threading import Lock
from typing import NamedTuple, TypeVar

from mstore.errors import CorruptError, MstoreError, NotFoundError
from mstore.ids import ID_SIZE, Buffer, ObjectId
from mstore.objects import OpaqueFile
from mstore.odb import ObjectDatabase
from mstore.odb.elsewhere import UNREACHABLE, nowhere
from mstore.refs import REMOTES, RefStore

T = TypeVar("T")

MAX_LENT = 1 << 22
"""Chunks that a store may have elsewhere (SPEC §11)."""
MODELS = "tier/store-"
"""How the models begin that keep the chunks of other stores alive; the rest is a store's id."""
PREFIX = "tier-"
"""How the refs begin; the rest is how the id of the other store begins."""
ID_DIGITS = 12


class Tier(NamedTuple):
    """A place that has chunks of this store; ``versions`` list them."""

    name: str
    place: str
    versions: tuple[ObjectId, ...]


class Chunks(NamedTuple):
    """The chunks that a version lists: their ids, and how many bytes each has."""

    ids: tuple[ObjectId, ...]
    sizes: tuple[int, ...]


class Opened(NamedTuple):
    """A place that could be opened: the id of the store there, and its objects."""

    id: str
    odb: ObjectDatabase


Open = Callable[[str], Opened]


def tier_name(store_id: str) -> str:
    """The ref for the chunks that the store ``store_id`` has."""
    return PREFIX + store_id[:ID_DIGITS]


def tiers(refs: RefStore) -> list[Tier]:
    """The places that have chunks of this store, by what the names say now."""
    found = []
    for name, table in refs.tables(REMOTES).items():
        rows = [row for row in table.rows.values() if row.state == "stripped"]
        if rows:
            found.append(Tier(name, table.place, tuple(ObjectId(row.version) for row in rows)))
    return found


def listed_chunks(odb: ObjectDatabase, version: bytes) -> Chunks:
    """The chunks that a version is made of; errors as reading its description has.

    CorruptError also for a version of tensors, and for more chunks than ``MAX_LENT``.
    """
    ids: list[ObjectId] = []
    sizes: list[int] = []
    for entry in odb.tree(odb.version(version).tree).entries:
        file = odb.file(entry.id)
        if not isinstance(file, OpaqueFile):
            raise CorruptError(f"version '{version.hex()}' lists chunks, but has a file of tensors")
        if len(ids) + len(file.sizes) > MAX_LENT:
            raise CorruptError(f"version '{version.hex()}' lists more than {MAX_LENT} chunks")
        at = range(0, len(file.chunks), ID_SIZE)
        ids += [ObjectId(file.chunks[start : start + ID_SIZE]) for start in at]
        sizes += file.sizes
    return Chunks(tuple(ids), tuple(sizes))


class Tiers:
    """The chunks of one store that other places have. For any number of threads."""

    def __init__(self, refs: RefStore, lists: Callable[[], ObjectDatabase], opener: Open) -> None:
        """``lists`` opens the store's own objects, among them what lists chunks."""
        self._refs = refs
        self._lists = lists
        self._opener = opener
        self._lock = Lock()
        self._known: tuple[Tier, ...] = ()
        self._places: dict[bytes, tuple[Tier, ...]] = {}
        self._opened: dict[str, Opened] = {}

    def ids(self) -> AbstractSet[bytes]:
        """Every chunk that is elsewhere, as far as the lists of them can be read."""
        known = tuple(tiers(self._refs))
        with self._lock:
            if known != self._known:
                self._places = self._read_lists(known) if known else {}
                self._known = known
            return self._places.keys()

    def read(self, oid: bytes) -> Buffer:
        """A chunk from a place that has it; errors as ``Elsewhere.read``, naming the place."""
        return self._ask(oid, lambda odb: odb.read(oid))

    def look_for(self, oid: bytes) -> None:
        """See that a place has a chunk, with all it is based on, by its index; errors as above."""
        self._ask(oid, lambda odb: odb.chain(oid))

    def _ask(self, oid: bytes, question: Callable[[ObjectDatabase], T]) -> T:
        failure: MstoreError = nowhere(oid)
        self.ids()
        for tier in self._places.get(oid, ()):
            try:
                return question(self._require(tier))
            except MstoreError as error:
                failure = self._named(tier, oid, error)
        raise failure

    def _require(self, tier: Tier) -> ObjectDatabase:
        opened = self._opened.get(tier.place)
        if opened is None:
            opened = self._opened[tier.place] = open_tier(tier, self._opener)
        return opened.odb

    def _named(self, tier: Tier, oid: bytes, error: MstoreError) -> MstoreError:
        """The error of a place, which may have gone since it was opened."""
        self._opened.pop(tier.place, None)
        try:
            open_tier(tier, self._opener)
        except NotFoundError as gone:
            return gone
        return type(error)(
            f"chunk '{ObjectId(oid)}' cannot be read at '{tier.place}': {error}",
            hint=f"see what is hurt there: mstore --store {tier.place} fsck",
        )

    def _read_lists(self, known: tuple[Tier, ...]) -> dict[bytes, tuple[Tier, ...]]:
        places: dict[bytes, tuple[Tier, ...]] = {}
        for tier, oid in self._listed(known):
            places[oid] = (*places.get(oid, ()), tier)
            if len(places) == MAX_LENT:
                break
        return places

    def _listed(self, known: tuple[Tier, ...]) -> Iterator[tuple[Tier, ObjectId]]:
        lists = self._lists()
        for tier in known:
            for version in tier.versions:
                try:
                    chunks = listed_chunks(lists, version)
                except MstoreError:
                    # Then nothing says that these chunks are elsewhere; fsck tells of the list.
                    continue
                for oid in dict.fromkeys(chunks.ids):
                    yield tier, oid


def open_tier(tier: Tier, opener: Open) -> Opened:
    """The store at a place; NotFoundError (kind ``UNREACHABLE``) if it cannot be read."""
    try:
        opened = opener(tier.place)
    except MstoreError as error:
        raise _unreachable(tier, str(error)) from error
    if tier_name(opened.id) != tier.name:
        raise _unreachable(tier, "another store is there")
    return opened


def _unreachable(tier: Tier, reason: str) -> NotFoundError:
    return NotFoundError(
        f"low planes are at '{tier.place}', which cannot be reached: {reason}",
        hint="bring it back, or read leading bits alone: --bits N",
        kind=UNREACHABLE,
    )
