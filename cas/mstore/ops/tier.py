"""Low planes in another place: giving them there, and taking them back (SPEC §7.5).

1. Nothing is let go of here that was not just read at the other place, where a model that is
   named after this store keeps it alive.
2. First it is durable there, then named there, then said here, then let go of here: killed at any
   point all reads as before, and doing it again ends it.
3. Nothing is deleted at the other place: a backup of this store may need it. Whoever knows that
   none does deletes the model there.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from mstore.errors import InvalidInputError, NotFoundError
from mstore.format.pack import Entry
from mstore.format.slots import Row
from mstore.ids import ObjectId
from mstore.objects import OpaqueFile, Tree, TreeEntry, Version
from mstore.odb import ObjectDatabase, PackWriter
from mstore.ops.copying import Tally, copy_objects, replace_row
from mstore.ops.leading import check_bits
from mstore.ops.places import open_place
from mstore.ops.recode import recode
from mstore.ops.sending import Carrier, Recoder, ahead
from mstore.ops.shelf import Shelf
from mstore.ops.tier_choice import low_chunks, needing
from mstore.parts import Parts, Transaction, open_there
from mstore.refs import HEADS, REMOTES, Change, RefTable
from mstore.tiers import MAX_LENT, MODELS, Tier, listed_chunks, open_tier, tier_name, tiers

Progress = Callable[[int, int, int], None]
"""Called with the bytes of chunks done, their bytes in all, and those that travelled so far."""

_FILE_CHUNKS = 1 << 20
"""Chunks that one file lists: its description then has 40 MB, of 64 that are allowed."""


class PlaceRow(NamedTuple):
    """A place with low planes of this store: how many chunks, of how many bytes when decoded.

    ``store`` is how the id of the store there begins, ``problem`` why it cannot be read now.
    """

    place: str
    store: str
    chunks: int
    size_bytes: int
    problem: str


class TierReport(Struct, frozen=True):
    """Where low planes are, and what giving them there or taking them back did, or would do.

    ``versions`` cannot be read whole without the places. ``bytes_moved`` is what moved takes as it
    is stored here, ``bytes_staying`` what the steps above it do, ``bytes_sent`` what travelled,
    decoded. ``written_bytes`` went to new packs, ``condemned_bytes`` come back with the next gc.
    """

    action: Literal["shown", "given", "taken back"]
    places: tuple[PlaceRow, ...]
    versions: tuple[str, ...] = ()
    chunks: int = 0
    bytes_moved: int = 0
    bytes_staying: int = 0
    bytes_sent: int = 0
    written_bytes: int = 0
    condemned: tuple[str, ...] = ()
    condemned_bytes: int = 0
    dry_run: bool = False


def show_tiers(parts: Parts) -> TierReport:
    """Which places have low planes of this store, and whether they can be read."""
    found = tiers(parts.refs)
    versions = needing(parts, ()) if found else ()
    return TierReport("shown", tuple(_row(parts, tier) for tier in found), versions)


def give(
    parts: Parts,
    place: str | Path,
    revisions: Sequence[str] = (),
    *,
    bits: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> TierReport:
    """Let the store at ``place`` have the low planes of some versions, or of all.

    What reading ``bits`` leading bits takes stays here. Of what is elsewhere already it is noted
    that it is there too, if so: a copy of a place can take its part. Errors as ``store_planes``;
    InvalidInputError where ``place`` is this very store; CorruptError, with nothing let go of,
    when a chunk cannot be read there.
    """
    check_bits(bits)
    there = _other_store(parts, place)
    parts.odb.refresh()
    found = low_chunks(parts, revisions, bits)
    going = frozenset(found.going)
    kept = _kept_too(parts, there)
    report = TierReport(
        "given",
        (),
        versions=needing(parts, found.cut),
        chunks=len(going),
        bytes_moved=Shelf(parts.odb).stored_size(going),
        bytes_staying=sum(found.staying.values()),
        dry_run=dry_run,
    )
    if dry_run:
        lacking = (size for oid, size in found.going.items() if not there.odb.is_live(oid))
        return structs.replace(_finished(parts, report), bytes_sent=sum(lacking))
    _require_few(parts, there, going)
    tally = Tally(progress)
    _keep_there(parts, there, found.going | kept, tally)
    done = recode(parts, (), superseded=_LetGo(parts, going))
    return structs.replace(
        _finished(parts, report),
        bytes_sent=tally.sent,
        written_bytes=done.written_bytes,
        condemned=done.condemned,
        condemned_bytes=done.condemned_bytes,
    )


def take_back(
    parts: Parts,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> TierReport:
    """Have all low planes here again, and need no other place any more.

    NotFoundError (kind "unreachable") for a place that cannot be read; ConflictError while gc
    runs. The places keep what they have.
    """
    parts.odb.refresh()
    rows = [(_row(parts, tier), tier) for tier in tiers(parts.refs)]
    # What a place that cannot be reached has may be in another one too.
    rows.sort(key=lambda pair: bool(pair[0].problem))
    tally = Tally(progress)
    brought: set[ObjectId] = set()
    for _, tier in rows:
        wanted = _missing(parts, tier) - brought
        shelf = Shelf(open_tier(tier, open_there).odb if wanted else parts.odb)
        wanted |= _listed(parts, tier.name) & set(chain.from_iterable(map(shelf.chain, wanted)))
        brought |= wanted
        if dry_run:
            tally.sent += sum(location.entry.raw_size for location in shelf.in_order(wanted))
        else:
            _bring(parts, tier, shelf, wanted, tally)
    places = tuple(row for row, _ in rows)
    return TierReport(
        "taken back", places, chunks=len(brought), bytes_sent=tally.sent, dry_run=dry_run
    )


def _other_store(parts: Parts, place: str | Path) -> Parts:
    there = open_place(place)
    if there.config.id == parts.config.id:
        raise InvalidInputError(f"'{there.backend.location}' is the store itself, or a copy of it")
    return there


def _require_few(parts: Parts, there: Parts, going: frozenset[ObjectId]) -> None:
    count = len(going | parts.odb.elsewhere.ids())
    if count > MAX_LENT:
        raise InvalidInputError(
            f"{count} chunks would be at '{there.backend.location}' or other places,"
            f" at most {MAX_LENT} may be",
            hint="name fewer versions",
        )


def _finished(parts: Parts, report: TierReport) -> TierReport:
    return structs.replace(report, places=tuple(_row(parts, tier) for tier in tiers(parts.refs)))


def _row(parts: Parts, tier: Tier) -> PlaceRow:
    lists = [listed_chunks(parts.odb, version) for version in tier.versions]
    sizes = dict(chain.from_iterable(zip(one.ids, one.sizes, strict=True) for one in lists))
    try:
        open_tier(tier, open_there)
    except NotFoundError as error:
        problem = str(error)
    else:
        problem = ""
    store = tier.name.partition("-")[2]
    return PlaceRow(tier.place, store, len(sizes), sum(sizes.values()), problem)


class _LetGo:
    """Says of entries which of them go; it is first asked under the lock of gc."""

    def __init__(self, parts: Parts, going: frozenset[ObjectId]) -> None:
        self._parts = parts
        self._going = going
        self._chosen: frozenset[bytes] | None = None

    def __call__(self, entry: Entry) -> bool:
        """Whether an entry is of a chunk that goes, and that names say is elsewhere."""
        if self._chosen is None:
            self._chosen = self._going & self._parts.odb.elsewhere.ids()
        return entry.id in self._chosen


def _keep_there(parts: Parts, there: Parts, going: dict[ObjectId, int], tally: Tally) -> None:
    """Make chunks durable there, read them, name them there and then here."""
    carrier = _carrier(Shelf(parts.odb), there.odb)
    copy_objects(carrier, there, set(going), tally)
    name = tier_name(there.config.id)
    known = _listed(parts, name)
    fresh = {oid: size for oid, size in going.items() if oid not in known}
    listing = _listing(parts, fresh)
    with Transaction(there) as transaction:
        lacking = {oid for oid in going if not there.odb.is_live(oid)}
        if lacking:
            carrier.send(transaction.writer, carrier.plan(lacking), tally.add, limit=1 << 62)
        version = _add(transaction.writer, listing)
        transaction.publish()
        for _ in ahead(going, there.odb.read_live):
            pass
        number = _name_there(transaction, parts, name, version) if fresh else 0
    _say_here(parts, there, listing, number)


class _Listing(NamedTuple):
    """A version whose files are made of chunks, and what it is made of."""

    files: tuple[OpaqueFile, ...]
    message: str
    time: int


def _listing(parts: Parts, chunks: dict[ObjectId, int]) -> _Listing:
    ordered = sorted(chunks)
    files = []
    for start in range(0, len(ordered), _FILE_CHUNKS):
        ids = ordered[start : start + _FILE_CHUNKS]
        sizes = tuple(chunks[oid] for oid in ids)
        files.append(OpaqueFile(sum(sizes), sizes, b"".join(ids)))
    message = f"low planes of '{parts.backend.location}'"
    return _Listing(tuple(files), message, parts.clock())


def _add(writer: PackWriter, listing: _Listing) -> ObjectId:
    ids = [writer.add_object(file) for file in listing.files]
    entries = (TreeEntry(f"low-{n:06d}", "file", bytes(oid)) for n, oid in enumerate(ids))
    tree = writer.add_object(Tree(tuple(entries)))
    size = sum(file.size for file in listing.files)
    return writer.add_object(Version(bytes(tree), size, listing.time, message=listing.message))


def model_name(parts: Parts) -> str:
    """The model that keeps the low planes of a store alive elsewhere."""
    return MODELS + parts.config.id


def _name_there(transaction: Transaction, parts: Parts, name: str, version: ObjectId) -> int:
    """Let a model there need the chunks; the number of its row."""
    mine = parts.refs.find(REMOTES, name)
    least = 1 if mine is None else mine.next_number
    numbers: list[int] = []

    def change(table: RefTable | None) -> Change:
        numbers[:] = [max(least, 1 if table is None else table.next_number)]
        return Change((Row(numbers[0], bytes(version), "kept"),), "tier")

    transaction.commit(HEADS, model_name(parts), change)
    return numbers[0]


def _say_here(parts: Parts, there: Parts, listing: _Listing, number: int) -> None:
    """Note that a place has chunks, and where it is now."""
    name, place = tier_name(there.config.id), there.backend.location
    table = parts.refs.find(REMOTES, name)
    if not number and (table is None or table.place == place):
        return
    with Transaction(parts) as transaction:
        version = bytes(_add(transaction.writer, listing)) if number else b""
        rows = (Row(number, version, "stripped"),) if number else ()
        transaction.publish()
        change = Change(rows, f"tier to '{place}'", place=place)
        transaction.commit(REMOTES, name, lambda _: change)


def _listed(parts: Parts, name: str) -> set[ObjectId]:
    """What the names say that a place has."""
    versions = chain.from_iterable(t.versions for t in tiers(parts.refs) if t.name == name)
    return set(chain.from_iterable(listed_chunks(parts.odb, one).ids for one in versions))


def _carrier(shelf: Shelf, target: ObjectDatabase) -> Carrier:
    # Low chunks are no tensor's: what has to be coded anew is coded as bytes.
    return Carrier(shelf, target, Recoder((), lambda: ()), more_bases=False)


def _kept_too(parts: Parts, there: Parts) -> dict[ObjectId, int]:
    """The chunks with their sizes that are in other places, and ``there`` as well."""
    name = tier_name(there.config.id)
    found = tiers(parts.refs)
    lists = [listed_chunks(parts.odb, one) for t in found if t.name != name for one in t.versions]
    sizes = dict(chain.from_iterable(zip(one.ids, one.sizes, strict=True) for one in lists))
    return {oid: size for oid, size in sizes.items() if there.odb.is_live(oid)}


def _missing(parts: Parts, tier: Tier) -> set[ObjectId]:
    """What of a place this store is based on and does not have."""
    packs = (*parts.odb.packs(), *parts.odb.packs(condemned=True))
    bases = {entry.base for key in packs for entry in parts.odb.entries(key)}
    listed = _listed(parts, tier.name)
    return {oid for oid in listed if oid in bases and not parts.odb.is_live(oid)}


def _bring(
    parts: Parts, tier: Tier, shelf: Shelf, wanted: Collection[ObjectId], tally: Tally
) -> None:
    """Make chunks durable here, then say that the place is not needed any more."""
    carrier = _carrier(shelf, parts.odb)
    copy_objects(carrier, parts, set(wanted), tally)

    def change(table: RefTable | None) -> Change:
        rows: Iterator[Row] = iter(()) if table is None else iter(table.rows.values())
        ended = tuple(replace_row(r, "deleted") for r in rows if r.version in tier.versions)
        return Change(ended, "taken back", place=tier.place)

    with parts.backend.exclusive("gc"), Transaction(parts) as transaction:
        lacking = {oid for oid in wanted if not parts.odb.is_live(oid)}
        if lacking:
            carrier.send(transaction.writer, carrier.plan(lacking), tally.add, limit=1 << 62)
        transaction.publish()
        transaction.commit(REMOTES, tier.name, change)
