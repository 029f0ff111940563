"""Object ids and the model hash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import InvalidInputError
from mstore.ids import CONTEXTS, Kind, ObjectId, hash_chunk, hash_model, hash_object

IDS = st.binary(min_size=32, max_size=32).map(ObjectId)
PAIRS = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), IDS))


@given(IDS)
def test_text_and_back(oid: ObjectId) -> None:
    """An id's text is 64 hex digits, and gives the id again."""
    assert ObjectId.parse(str(oid)) == oid
    assert str(oid) == bytes(oid).hex()
    assert repr(oid) == f"ObjectId('{oid}')"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_ids_have_32_bytes(size: int) -> None:
    """Fewer or more bytes are no id."""
    with pytest.raises(InvalidInputError, match=f"has {size} bytes"):
        ObjectId(bytes(size))


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 63 + "\n", "\u0660" * 64, " " + "0" * 63],
)
def test_other_texts_are_no_ids(text: str) -> None:
    """Only 64 lower-case ASCII hex digits are an id."""
    with pytest.raises(InvalidInputError, match="not an object id"):
        ObjectId.parse(text)


@given(st.binary(max_size=64))
def test_kinds_are_separated(payload: bytes) -> None:
    """The same bytes have another id as another kind."""
    assert len({hash_object(kind, payload) for kind in Kind}) == len(Kind)
    assert hash_object(Kind.CHUNK, payload) == hash_chunk(payload)


def test_every_kind_but_chunks_has_a_context() -> None:
    """No two kinds share a context, and chunks have none."""
    assert set(CONTEXTS) == set(Kind) - {Kind.CHUNK}
    assert len(set(CONTEXTS.values())) == len(CONTEXTS)


@given(st.binary(max_size=64))
def test_every_buffer_is_hashed_alike(payload: bytes) -> None:
    """Bytes, a bytearray and a view of them have one id."""
    expected = hash_object(Kind.TREE, payload)
    assert expected == hash_object(Kind.TREE, bytearray(payload))
    assert expected == hash_object(Kind.TREE, memoryview(payload))


@given(PAIRS, st.randoms(use_true_random=False))
def test_model_hash_is_of_a_set(pairs: list[tuple[str, ObjectId]], random: object) -> None:
    """Neither order nor repetition of the pairs changes the model hash."""
    expected = hash_model(pairs)
    shuffled = pairs + pairs[:2]
    random.shuffle(shuffled)
    assert hash_model(shuffled) == expected


@given(PAIRS, PAIRS)
def test_model_hash_tells_models_apart(
    one: list[tuple[str, ObjectId]], other: list[tuple[str, ObjectId]]
) -> None:
    """Two sets of pairs have one model hash only when they are the same set."""
    assert (hash_model(one) == hash_model(other)) == (set(one) == set(other))


def test_names_do_not_run_into_ids() -> None:
    """Where a name ends is part of the hash."""
    oid = bytes(range(65, 97))
    assert hash_model([("a", oid)]) != hash_model([("aA", oid[1:] + b"x")])
