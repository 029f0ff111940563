"""A sender's objects: where they lie, and what they are stored as a difference from."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from mstore.codecs import PLANES, RAW
from mstore.errors import CorruptError, NotFoundError
from mstore.ids import Buffer, Kind, ObjectId
from mstore.odb import Location, ObjectDatabase
from mstore.odb.entries import decode_entry


class Shelf:
    """The objects of one store or bundle; what was found once is remembered.

    ``beyond`` has the bases that a bundle leaves out: the receiver's own objects.
    """

    def __init__(self, odb: ObjectDatabase, beyond: ObjectDatabase | None = None) -> None:
        self._odb = odb
        self._beyond = beyond
        self._places: dict[bytes, Location | None] = {}
        self._chains: dict[bytes, tuple[ObjectId, ...]] = {}

    def find(self, oid: ObjectId) -> Location | None:
        """Where the sender has an object; None for one that it does not have."""
        if oid not in self._places:
            self._places[oid] = self._odb.find(oid)
        return self._places[oid]

    def location(self, oid: ObjectId) -> Location:
        """Where an object is; NotFoundError when the sender does not have it."""
        found = self.find(oid)
        if found is None:
            raise NotFoundError(
                f"object '{oid}' is missing at the sender", hint="run there: mstore fsck"
            )
        return found

    def chain(self, oid: ObjectId) -> tuple[ObjectId, ...]:
        """The base of an object, the base of that, and so on, as far as the sender has them.

        Empty where the bases run in a circle: such an object can only be sent decoded.
        """
        if oid not in self._chains:
            chain: list[ObjectId] = []
            base = self._base(oid)
            while base is not None and base != oid and base not in chain:
                chain.append(base)
                base = self._base(base)
            self._chains[oid] = tuple(chain) if base is None else ()
        return self._chains[oid]

    def in_order(self, oids: Iterable[ObjectId]) -> list[Location]:
        """Where objects are, bases before what needs them, else in the order of packs.

        So the chunks of a tensor still follow one another. NotFoundError for a missing one.
        """
        places = [(len(self.chain(oid)), self.location(oid)) for oid in oids]
        places.sort(key=lambda place: (place[0], place[1].pack_key, place[1].entry.offset))
        return [location for _, location in places]

    def stored_size(self, oids: Iterable[ObjectId]) -> int:
        """Bytes that objects take as they are stored, those that are missing aside."""
        found = (self.find(oid) for oid in oids)
        return sum(location.entry.stored_size for location in found if location is not None)

    def bases(self, oids: Collection[ObjectId]) -> set[ObjectId]:
        """What objects need as bases, at any depth, and is none of them."""
        return {base for oid in oids for base in self.chain(oid)}.difference(oids)

    def worthwhile_bases(
        self, oids: Collection[ObjectId], held: Callable[[ObjectId], bool]
    ) -> set[ObjectId]:
        """The bases that the receiver neither has nor asks for, but that make it all smaller.

        One base for several objects can: itself and their differences from it may be fewer
        bytes than each of them alone. What is cut into planes stays so: its base is the rest of
        its own bytes.
        """
        chosen: set[ObjectId] = set()
        levels: dict[int, dict[ObjectId, list[ObjectId]]] = defaultdict(dict)

        def note(oid: ObjectId) -> None:
            chain = self.chain(oid)
            if chain and chain[0] not in oids and self.find(chain[0]) and not held(chain[0]):
                levels[len(chain)].setdefault(chain[0], []).append(oid)

        for oid in oids:
            note(oid)
        while levels:
            for base, needing in levels.pop(max(levels)).items():
                alone = sum(map(self._size_alone, needing))
                smaller = self._size_alone(base) + self.stored_size(needing) < alone
                if smaller or any(map(self._is_cut, needing)):
                    chosen.add(base)
                    note(base)
        return chosen

    def _is_cut(self, oid: ObjectId) -> bool:
        return self.location(oid).entry.codec == PLANES

    def read(self, oid: ObjectId) -> Buffer:
        """An object's bytes, decoded and verified, also where its base is at the receiver only."""
        try:
            return self._odb.read(oid)
        except NotFoundError:
            if self._beyond is None:
                raise
            found = self.find(oid)
            return self._beyond.read(oid) if found is None else self.unpack(found)[0]

    def unpack(self, location: Location) -> tuple[Buffer, Buffer]:
        """The bytes of an entry, and how they are stored; CorruptError unless its id fits them."""
        try:
            stored = self._odb.read_stored(location)
        except NotFoundError:
            location = self._moved(location)
            stored = self._odb.read_stored(location)
        key, entry, _ = location
        if entry.codec == RAW:
            return stored, stored
        return decode_entry(key, entry, stored, self._read_base), stored

    def _moved(self, location: Location) -> Location:
        """Where an entry is since a gc condemned its pack; NotFoundError where it is not."""
        oid, before = location.entry.id, location.entry
        self._odb.refresh()
        found = self._odb.find(oid)
        if found is None or (found.entry.codec, found.entry.base) != (before.codec, before.base):
            raise NotFoundError(f"'{oid}' is not in pack '{location.pack_key}' any more")
        self._places[oid] = found
        return found

    def _read_base(self, oid: ObjectId) -> Buffer:
        found = self.find(oid) or (self._beyond.find(oid) if self._beyond else None)
        if found is None and self._odb.is_lent(oid):
            return self._odb.read_base(oid)
        if found is None:
            raise CorruptError(f"base '{oid}' is missing", hint="run at the sender: mstore fsck")
        if found.entry.kind is not Kind.CHUNK:
            # The receiver's readers would refuse it too.
            raise CorruptError(f"base '{oid}' is a {found.entry.kind.name.lower()}, not a chunk")
        return self.read(oid)

    def _size_alone(self, oid: ObjectId) -> int:
        """About what it takes without a base: as much less as the end of its chain does."""
        chain = self.chain(oid)
        last = self.location(chain[-1] if chain else oid).entry
        return self.location(oid).entry.raw_size * last.stored_size // last.raw_size

    def _base(self, oid: ObjectId) -> ObjectId | None:
        found = self.find(oid)
        return None if found is None else found.entry.base
