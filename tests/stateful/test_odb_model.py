"""The object database against a dict: packs come, are condemned, resurrected and removed.

Some chunks are stored as a difference from others, some several times, so bases go missing and go
in circles.
"""

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mstore.backends.memory import MemoryBackend
from mstore.codecs import SPARSE, Coded, Layout, codec
from mstore.errors import CorruptError, NotFoundError
from mstore.ids import ObjectId, hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.cache import CACHE_PREFIX

CHUNKS = {
    hash_chunk(chunk): chunk for chunk in (bytes(400) + b"chunk %02d" % at for at in range(60))
}
IDS = list(CHUNKS)
CONDEMNED = "condemned/0000000000000001/"

places = st.integers(0, len(IDS) - 1)


def difference(oid: ObjectId, base: ObjectId) -> Coded:
    """A chunk as what differs from another one."""
    stored = codec(SPARSE).encode(CHUNKS[oid], Layout(8), CHUNKS[base])
    assert stored is not None
    return Coded(SPARSE, stored, base)


class PackModel(RuleBasedStateMachine):
    """What every pack holds and where it lies, beside a store that stays open all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.odb = ObjectDatabase(self.backend)
        self.packs: dict[str, dict[ObjectId, ObjectId | None]] = {}
        """For each pack what it holds, and the base of each."""

    def publish(
        self, wanted: Iterable[tuple[ObjectId, ObjectId | None]], *, again: bool = False
    ) -> None:
        """Write one pack as another program would, with bases where they are there."""
        writer = ObjectDatabase(self.backend).writer()
        added: dict[ObjectId, ObjectId | None] = {}
        for oid, base in wanted:
            based = base is not None and base != oid and not writer.lacks(base)
            coded = difference(oid, base) if base is not None and based else None
            add = writer.add_again if again else writer.add_chunk
            if add(oid, CHUNKS[oid], coded):
                added[oid] = None if coded is None else base
        for key in writer.publish():
            self.packs[key] = added

    @rule(chosen=st.sets(places, min_size=1, max_size=6))
    def put(self, chosen: set[int]) -> None:
        """A pack of a few objects."""
        self.publish((IDS[at], None) for at in chosen)

    @rule(
        chosen=st.lists(st.tuples(places, places), min_size=1, max_size=6),
        again=st.booleans(),
    )
    def put_differences(self, chosen: list[tuple[int, int]], *, again: bool) -> None:
        """A pack of differences, also of what is there already."""
        self.publish(((IDS[at], IDS[base]) for at, base in chosen), again=again)

    @rule()
    def put_many(self) -> None:
        """A pack for each object that is not live: enough for the cache to be used."""
        for oid in IDS:
            self.publish([(oid, None)])

    def move(self, at: int, source: str, target: str) -> None:
        """Move one pack from one prefix to another, if there is any."""
        keys = sorted(key for key in self.packs if key.startswith(source))
        if keys:
            key = keys[at % len(keys)]
            moved = key.replace(source, target)
            self.backend.move(key, moved)
            self.packs[moved] = self.packs.pop(key)

    @rule(at=st.integers(0, 99))
    def condemn(self, at: int) -> None:
        """Gc takes a pack out of use."""
        self.move(at, "objects/", CONDEMNED)

    @rule(at=st.integers(0, 99))
    def resurrect(self, at: int) -> None:
        """Gc brings a pack back."""
        self.move(at, CONDEMNED, "objects/")

    @rule()
    def remove(self) -> None:
        """Gc removes what it has condemned."""
        for key in [key for key in self.packs if key.startswith(CONDEMNED)]:
            self.backend.remove(key)
            del self.packs[key]

    @rule()
    def drop_cache(self) -> None:
        """Somebody empties the cache."""
        for item in list(self.backend.list(CACHE_PREFIX)):
            self.backend.remove(item.key)

    @rule()
    def open(self) -> None:
        """The store is opened anew."""
        self.odb = ObjectDatabase(self.backend)

    @rule(at=places)
    def read(self, at: int) -> None:
        """An object is read, without any refresh before, exactly if a pack has it."""
        oid = IDS[at]
        known = oid in self.readable("")
        try:
            assert self.odb.read(oid) == CHUNKS[oid]
        except (NotFoundError, CorruptError):
            assert not known
        else:
            assert known

    @rule()
    def compare(self) -> None:
        """After a refresh every object is live, condemned or nowhere, as the model says."""
        self.odb.refresh()
        found, live = self.held(""), self.readable("objects/")
        for oid in IDS:
            location = self.odb.find(oid)
            assert (location is not None) == (oid in found)
            assert self.odb.is_live(oid) == (oid in live)
            if oid in live:
                assert self.odb.read_live(oid) == CHUNKS[oid]

    @rule(at=places)
    def measure(self, at: int) -> None:
        """A chain that can be read ends with a copy without a base, and has no id twice."""
        self.odb.refresh()
        if IDS[at] in self.readable(""):
            entries = [place.entry for place in self.odb.chain(IDS[at])]
            assert [entry.base for entry in entries] == [*(e.id for e in entries[1:]), None]
            assert len({entry.id for entry in entries}) == self.odb.depth(IDS[at]) + 1

    def held(self, prefix: str) -> set[ObjectId]:
        """The objects of the packs under a prefix."""
        return {oid for key, ids in self.packs.items() if key.startswith(prefix) for oid in ids}

    def readable(self, prefix: str) -> set[ObjectId]:
        """Those of them that can be decoded from packs under it."""
        copies = [
            copy
            for key, ids in self.packs.items()
            if key.startswith(prefix)
            for copy in ids.items()
        ]
        found: set[ObjectId] = set()
        before = -1
        while before != len(found):
            before = len(found)
            found |= {oid for oid, base in copies if base is None or base in found}
        return found

    @invariant()
    def packs_are_listed(self) -> None:
        """A store opened now lists the packs that there are."""
        odb = ObjectDatabase(self.backend)
        assert {*odb.packs(), *odb.packs(condemned=True)} == set(self.packs)


TestPackModel = PackModel.TestCase
TestPackModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
