"""The object database against a dict: packs come, are condemned, resurrected and removed."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mstore.backends.memory import MemoryBackend
from mstore.errors import NotFoundError
from mstore.ids import ObjectId, hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.cache import CACHE_PREFIX

CHUNKS = {hash_chunk(chunk): chunk for chunk in (b"chunk %d" % at for at in range(60))}
IDS = list(CHUNKS)
CONDEMNED = "condemned/0000000000000001/"

places = st.integers(0, len(IDS) - 1)


class PackModel(RuleBasedStateMachine):
    """What every pack holds and where it lies, beside a store that stays open all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.odb = ObjectDatabase(self.backend)
        self.packs: dict[str, set[ObjectId]] = {}

    def publish(self, ids: set[ObjectId]) -> None:
        """Write one pack as another program would."""
        odb = ObjectDatabase(self.backend)
        writer = odb.writer()
        added = {oid for oid in ids if writer.add_chunk(oid, CHUNKS[oid])}
        for key in writer.publish():
            self.packs[key] = added

    @rule(chosen=st.sets(places, min_size=1, max_size=6))
    def put(self, chosen: set[int]) -> None:
        """A pack of a few objects."""
        self.publish({IDS[at] for at in chosen})

    @rule()
    def put_many(self) -> None:
        """A pack for each object that is not live: enough for the cache to be used."""
        for oid in IDS:
            self.publish({oid})

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
        known = any(oid in ids for ids in self.packs.values())
        try:
            assert self.odb.read(oid) == CHUNKS[oid]
        except NotFoundError:
            assert not known
        else:
            assert known

    @rule()
    def compare(self) -> None:
        """After a refresh every object is live, condemned or nowhere, as the model says."""
        self.odb.refresh()
        live = self.held("objects/")
        found = live | self.held(CONDEMNED)
        for oid in IDS:
            location = self.odb.find(oid)
            assert (location is not None) == (oid in found)
            assert self.odb.is_live(oid) == (oid in live)
            assert location is None or location.live == (oid in live)

    def held(self, prefix: str) -> set[ObjectId]:
        """The objects of the packs under a prefix."""
        return set().union(*(ids for key, ids in self.packs.items() if key.startswith(prefix)))

    @invariant()
    def packs_are_listed(self) -> None:
        """A store opened now lists the packs that there are."""
        odb = ObjectDatabase(self.backend)
        assert {*odb.packs(), *odb.packs(condemned=True)} == set(self.packs)


TestPackModel = PackModel.TestCase
TestPackModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
