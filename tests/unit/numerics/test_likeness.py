"""Sketches compared with many at once."""

from hypothesis import given
from hypothesis import strategies as st

from mstore.numerics.likeness import Candidates

SKETCHES = st.binary(min_size=16, max_size=16)


def distance(first: bytes, second: bytes) -> int:
    """In how many bits two sketches differ."""
    pair = (int.from_bytes(side, "big") for side in (first, second))
    return (next(pair) ^ next(pair)).bit_count()


@given(st.lists(SKETCHES, min_size=1, max_size=30), SKETCHES, st.floats(0, 130))
def test_the_near_ones_by_distance(sketches: list[bytes], mine: bytes, limit: float) -> None:
    """Those that differ in fewer bits than the limit come, the nearest first, then by id."""
    ids = [b"%02d" % number for number in range(len(sketches))]
    away = sorted((distance(mine, found), oid) for found, oid in zip(sketches, ids, strict=True))
    found = Candidates(ids, sketches).alike(mine, limit)
    assert found == [oid for bits, oid in away if bits < limit]


def test_more_than_a_tile() -> None:
    """Every sketch counts, however many there are."""
    sketches = [number.to_bytes(8, "little") for number in range(3_000)]
    ids = [b"%04d" % number for number in range(3_000)]
    assert Candidates(ids, sketches).alike(sketches[2_999], 1) == [b"2999"]
