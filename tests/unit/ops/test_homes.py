"""Which copies stay: always enough to decode everything, whatever copies there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.backends.memory import MemoryBackend
from mstore.codecs import SPARSE
from mstore.errors import CorruptError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import Kind, ObjectId, hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.packing import OpenPack
from mstore.ops.homes import DEPTH, Homes

IDS = [hash_chunk(b"%d" % at) for at in range(12)]
Pack = dict[int, int | None]
"""For each object that a pack holds: its base."""

numbers = st.integers(0, 7)
packs = st.lists(
    st.dictionaries(numbers, st.none() | numbers, min_size=1, max_size=4),
    min_size=1,
    max_size=7,
)


def write(backend: MemoryBackend, pack: Pack) -> str:
    """A pack of entries that only their index says something of."""
    opened = OpenPack(backend)
    for number, base in pack.items():
        based = base is not None and base != number
        check = bytes(8) if not based else b"any pass"
        code, size = (SPARSE, 5) if based else (0, 9)
        start = IDS[base] if base is not None and based else None
        entry = Entry(IDS[number], Kind.CHUNK, code, 0, size, 9, check, start)
        opened.add(entry, bytes(size))
    # The same entries in two packs would be one pack.
    filler = b"filler %d" % len(list(backend.names("objects")))
    opened.add(Entry(hash_chunk(filler), Kind.CHUNK, 0, 0, len(filler), len(filler)), filler)
    return f"objects/{opened.seal().name}"


def decodable(packs: list[Pack]) -> set[int]:
    """What the copies in some packs are enough for."""
    found: set[int] = set()
    before = -1
    while before != len(found):
        before = len(found)
        for pack in packs:
            found |= {n for n, base in pack.items() if base in (None, n) or base in found}
    return found


def settled(written: list[Pack], condemned: int = 0) -> tuple[Homes, list[str], set[int]]:
    """Homes of all that can be decoded; the packs' keys; and what that is."""
    backend = MemoryBackend()
    keys = [write(backend, pack) for pack in written]
    for at in range(condemned):
        moved = keys[at].replace("objects", f"condemned/{1:016x}")
        backend.move(keys[at], moved)
        keys[at] = moved
    found = decodable(written)
    homes = Homes(ObjectDatabase(backend), [IDS[number] for number in found])
    homes.settle(keys[condemned:], keys[:condemned])
    return homes, keys, found


@given(packs, st.integers(0, 3))
def test_homes_are_grounded(written: list[Pack], condemned: int) -> None:
    """Following bases from home to home ends, and each home is a copy that is there."""
    homes, keys, found = settled(written, min(condemned, len(written) - 1))
    for number in found:
        at, steps = number, 0
        while True:
            home = homes[IDS[at]]
            assert IDS[at] in homes.needed
            base = written[keys.index(home.pack)][at]
            base = None if base == at else base
            assert home.base == (None if base is None else IDS[base])
            if base is None:
                break
            at, steps = base, steps + 1
            assert steps <= len(IDS)
        assert homes[IDS[number]].depth == steps


@given(packs)
def test_live_packs_come_first(written: list[Pack]) -> None:
    """What live packs are enough for has no home in a condemned one."""
    condemned = len(written) // 2
    homes, keys, _ = settled(written, condemned)
    for number in decodable(written[condemned:]):
        assert homes[IDS[number]].pack in keys[condemned:]


def test_the_first_pack_is_home() -> None:
    """Of two copies the one in the first pack stays, though its base lies in a later one."""
    homes, keys, _ = settled([{0: 1}, {0: None}, {1: None}])
    assert homes[IDS[0]].pack == keys[0]
    assert homes[IDS[1]].pack == keys[2]
    assert homes.needed == {IDS[0], IDS[1]}


def test_only_what_homes_need_is_needed() -> None:
    """The base of a copy that does not stay is not needed for it."""
    backend = MemoryBackend()
    keys = [write(backend, pack) for pack in ({0: None}, {0: 1}, {1: None})]
    homes = Homes(ObjectDatabase(backend), [IDS[0]])
    homes.settle(keys)
    assert homes.needed == {IDS[0]}
    assert homes.is_home(IDS[0], keys[0])
    assert not homes.is_home(IDS[1], keys[2])
    assert homes.need([IDS[1]])
    assert homes.is_home(IDS[1], keys[2])
    assert not homes.need([IDS[1]])


def test_deep_copies_stay_only_for_want_of_others() -> None:
    """A copy over more than 8 bases gives way to a flat one in a later pack."""
    chain: list[Pack] = [{at: at - 1 if at else None} for at in range(DEPTH + 2)]
    homes, _, _ = settled(chain)
    assert homes[IDS[DEPTH + 1]].depth == DEPTH + 1
    homes, keys, _ = settled([*chain, {DEPTH + 1: None}])
    assert homes[IDS[DEPTH + 1]].pack == keys[-1]


@pytest.mark.parametrize(
    ("written", "error", "words"),
    [
        ([{0: 1}], NotFoundError, "base .* is missing"),
        ([{0: 1, 1: 0}], CorruptError, "in a circle"),
        ([{1: None}], NotFoundError, "no object"),
    ],
    ids=["no base", "circle", "nothing"],
)
def test_what_cannot_be_decoded_has_no_home(
    written: list[Pack], error: type[Exception], words: str
) -> None:
    """An object that is needed and cannot be decoded is an error that says why."""
    backend = MemoryBackend()
    keys = [write(backend, pack) for pack in written]
    needed: list[ObjectId] = [IDS[0]]
    with pytest.raises(error, match=words):
        Homes(ObjectDatabase(backend), needed).settle(keys)
