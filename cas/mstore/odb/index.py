"""Where every object is: the footers of all packs, searched as one.

1. What the index says of a pack comes from that pack's footer, whose hash is the pack's name, or
   from a segment under ``cache/`` that was made from it and whose checksums hold. A segment that
   cannot be read to its end, as when another process has merged it, is done without.
2. Whether a pack is live, condemned or gone is taken from a listing made by ``refresh``, never
   from the cache. Live packs are listed first: gc moves a pack from live to condemned, so one
   that is moved meanwhile is seen at least once.
3. A pack goes by the last part of its key, ``<64 hex>.pack``, as listings give it: with 10,000
   packs, cutting each name costs as much as the rest of a refresh.
4. Any thread may search at any time; changes are made under one lock, and nothing is taken away
   before what replaces it is there.
"""

from collections.abc import Callable, Iterable, Sequence
from threading import RLock

from mstore.backends.base import Backend
from mstore.errors import CorruptError, MstoreError, NotFoundError
from mstore.format.pack import base_number
from mstore.odb.cache import NoCache, SegmentCache
from mstore.odb.footer import read_footer
from mstore.odb.segments import Copy, Segment, merge_rows

OBJECTS = "objects"
CONDEMNED = "condemned"
PACK_SUFFIX = ".pack"

ROLL_PACKS = 16
"""Packs outside any segment that are read one by one at each opening, at about 60 us each."""
ROLL_ROWS = 4096
_MERGE_RATIO = 4


def pack_key(pack: str) -> str:
    """The key of a live pack."""
    return f"{OBJECTS}/{pack}"


class Index:
    """Every pack of a store and where it lies, by the ids of its objects."""

    def __init__(self, backend: Backend, *, cached: bool = True) -> None:
        self._backend = backend
        self._cache = SegmentCache(backend) if cached else NoCache()
        self._lock = RLock()
        self._listed = False
        self._live: set[str] = set()
        self._condemned: dict[str, str] = {}
        self._segments: tuple[Segment, ...] = ()
        self._useless: set[str] = set()
        self._loose: dict[bytes, tuple[Copy, ...]] = {}
        self._loose_packs: dict[str, list[Copy]] = {}
        self.unreadable: dict[str, MstoreError] = {}
        """Packs whose footer cannot be used, by key: listed, but nothing of them is found."""

    def copies(self, oid: bytes) -> list[Copy]:
        """Every place of an object, live ones first; packs that have gone are left out."""
        found = self._every_copy(oid)
        if not found:
            return []
        live = [copy for copy in found if copy.pack in self._live]
        return live + [copy for copy in found if self._is_condemned(copy.pack)]

    def is_live(self, oid: bytes) -> bool:
        """Whether a live pack holds the object."""
        return any(copy.pack in self._live for copy in self._every_copy(oid))

    def span(self, low: bytes, high: bytes) -> list[Copy]:
        """The places of all objects with ``low`` <= id <= ``high``, in no order."""

        def between() -> list[Copy]:
            loose = list(self._loose.items())
            return [copy for oid, copies in loose if low <= oid <= high for copy in copies]

        self.open()
        found = self._search(between, lambda segment: segment.span(low, high))
        return [copy for copy in found if self._is_listed(copy.pack)]

    def key(self, pack: str) -> str:
        """Where a pack lies, by the last listing."""
        return pack_key(pack) if pack in self._live else self._condemned.get(pack, pack_key(pack))

    def is_live_pack(self, pack: str) -> bool:
        """Whether a pack was live in the last listing."""
        return pack in self._live

    def packs(self, *, condemned: bool = False) -> list[str]:
        """The keys of the live packs, sorted, or of the condemned ones."""
        self.open()
        if condemned:
            return sorted(self._condemned.values())
        return sorted(pack_key(name) for name in self._live if name.endswith(PACK_SUFFIX))

    def open(self) -> None:
        """List the packs unless that was done before."""
        if not self._listed:
            self.refresh()

    def refresh(self) -> None:
        """List the packs again and read the indexes of those that are new."""
        with self._lock:
            self._look(self._segments if self._listed else self._load())

    def add(self, pack: str, rows: Sequence[bytes]) -> None:
        """Take in a pack that was just published, with the rows of its index."""
        with self._lock:
            if any(map(base_number, rows)):
                # The ids of the bases stand in the pack.
                self._add_loose(pack, read_footer(self._backend, pack_key(pack)).copies())
            else:
                self._add_loose(pack, [Copy(pack, row, None) for row in rows])
            self._live.add(pack)

    def distrust_cache(self) -> None:
        """Throw the cache away and read every footer again."""
        with self._lock:
            self._cache.clear()
            self._look([])

    def _look(self, segments: Sequence[Segment]) -> None:
        """List the packs, read those that are in none of these segments, and go by both."""
        live = set(self._backend.names(OBJECTS))
        condemned = self._list_condemned()
        self.unreadable = {}
        listed = live.union(condemned) if condemned else live
        known = set(self._loose_packs).union(*(segment.packs for segment in segments))
        for pack in sorted(listed - known):
            key = pack_key(pack) if pack in live else condemned[pack]
            if pack.endswith(PACK_SUFFIX) and not self._read(pack, key):
                live.discard(pack)
        self._live, self._condemned = live, condemned
        self._segments = tuple(segments)
        self._listed = True
        self._roll()

    def _every_copy(self, oid: bytes) -> list[Copy]:
        self.open()
        loose = self._loose.get(oid, ())
        if not self._segments:
            return list(loose)
        return self._search(lambda: self._loose.get(oid, ()), lambda segment: segment.find(oid))

    def _search(
        self, loose: Callable[[], Iterable[Copy]], ask: Callable[[Segment], Iterable[Copy]]
    ) -> list[Copy]:
        while True:
            # Loose packs first: they only ever move into a segment, so none is missed.
            found = list(loose())
            for segment in self._segments:
                try:
                    found += ask(segment)
                except MstoreError as error:
                    self._do_without(segment, error)
                    break
            else:
                return found

    def _do_without(self, segment: Segment, error: MstoreError) -> None:
        with self._lock:
            if isinstance(error, CorruptError):
                self._cache.drop(segment)
            self._useless.add(segment.name)
            if segment in self._segments:
                self._look(self._load())

    def _load(self) -> list[Segment]:
        return [segment for segment in self._cache.load() if segment.name not in self._useless]

    def _is_condemned(self, pack: str) -> bool:
        return pack not in self._live and pack in self._condemned

    def _is_listed(self, pack: str) -> bool:
        return pack in self._live or pack in self._condemned

    def _list_condemned(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for prefix in self._backend.list_prefixes(CONDEMNED):
            names = self._backend.names(prefix)
            found |= {name: f"{prefix}/{name}" for name in names if name.endswith(PACK_SUFFIX)}
        return found

    def _read(self, pack: str, key: str) -> bool:
        """Take in one pack; False when it was moved or removed since it was listed."""
        try:
            self._add_loose(pack, read_footer(self._backend, key).copies())
        except NotFoundError:
            return False
        except MstoreError as error:
            self.unreadable[key] = error
        return True

    def _add_loose(self, pack: str, copies: list[Copy]) -> None:
        if pack in self._loose_packs:
            return
        self._loose_packs[pack] = copies
        for copy in copies:
            oid = copy.row[:32]
            self._loose[oid] = (*self._loose.get(oid, ()), copy)

    def _roll(self) -> None:
        """Make a segment of the packs read one by one, merging segments of about its size.

        Sizes grow by a factor from each segment to the next, so there are few of them and a
        row is written again only as often as there are sizes.
        """
        rows = sum(map(len, self._loose_packs.values()))
        if len(self._loose_packs) <= ROLL_PACKS and rows <= ROLL_ROWS:
            return
        merged, kept = self._choose_merged(rows)
        packs = dict(self._loose_packs)
        for item in merged:
            try:
                packs |= item.by_pack()
            except MstoreError as error:
                self._do_without(item, error)
                return
        self._put_in_place(self._merge(packs), merged, kept)

    def _put_in_place(
        self, segment: Segment, merged: Sequence[Segment], kept: Sequence[Segment]
    ) -> None:
        saved = self._cache.save(segment)
        self._useless.discard(segment.name)
        self._segments = (segment, *kept)
        self._loose, self._loose_packs = {}, {}
        if saved:
            for item in merged:
                self._cache.drop(item)

    def _choose_merged(self, rows: int) -> tuple[list[Segment], list[Segment]]:
        covered = set().union(*(segment.packs for segment in self._segments))
        if sum(len(segment.packs) for segment in self._segments) > len(covered):
            # Two processes merged the same segments at once.
            return list(self._segments), []
        merged: list[Segment] = []
        kept: list[Segment] = []
        for segment in sorted(self._segments, key=lambda item: item.row_count):
            listed = sum(map(self._is_listed, segment.packs))
            if segment.row_count <= rows * _MERGE_RATIO or listed * 2 < len(segment.packs):
                merged.append(segment)
                rows += segment.row_count
            else:
                kept.append(segment)
        return merged, kept

    def _merge(self, packs: dict[str, list[Copy]]) -> Segment:
        return merge_rows((pack, rows) for pack, rows in packs.items() if self._is_listed(pack))
