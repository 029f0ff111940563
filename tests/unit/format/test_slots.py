"""Ref slots and the names of refs."""

import contextlib

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.slots import (
    MAGIC,
    MAX_NUMBER,
    MAX_SLOT,
    SLOT_CONTEXT,
    Row,
    Slot,
    check_ref_name,
    decode_slot,
    encode_slot,
    fold_ref_name,
    parse_slot_key,
    quote_name,
    slot_hash,
    slot_key,
    unquote_name,
)

ID = bytes(range(32))
TRANSACTION = bytes(16)
REF = "heads/lenet"
FIRST = Slot(1, b"", 5, TRANSACTION, "ada", "put", REF, (Row(1, ID, "kept"),))
ROWS = st.lists(st.integers(1, MAX_NUMBER), unique=True, max_size=5).flatmap(
    lambda numbers: st.tuples(
        *(
            st.builds(
                Row,
                number=st.just(number),
                version=st.binary(min_size=32, max_size=32),
                state=st.sampled_from(["kept", "stripped", "deleted"]),
            )
            for number in sorted(numbers)
        )
    )
)
SLOTS = st.builds(
    Slot,
    generation=st.integers(2, (1 << 63) - 1),
    previous=st.binary(min_size=32, max_size=32),
    time=st.integers(0, (1 << 63) - 1),
    transaction=st.binary(min_size=16, max_size=16),
    author=st.text(max_size=9),
    reason=st.text(max_size=9),
    rows=ROWS,
    full=st.just(value=True),
    place=st.text(max_size=9),
    ref=st.sampled_from([REF, "tags/lenet/prod"]),
)


def sealed(**fields: object) -> bytes:
    """A slot's file with some fields of ``FIRST`` changed, its hash right."""
    values = msgspec.to_builtins(FIRST, builtin_types=(bytes,)) | fields
    body = MAGIC + msgspec.msgpack.encode(values, order="sorted")
    return body + blake3(body, derive_key_context=SLOT_CONTEXT).digest()


@given(SLOTS)
def test_round_trip(slot: Slot) -> None:
    """What is written is read back, by the same generation only."""
    content = encode_slot(slot)
    assert decode_slot(content, slot.generation) == slot
    with pytest.raises(CorruptError, match="says that it is generation"):
        decode_slot(content, slot.generation - 1)


@given(SLOTS)
def test_equal_slots_have_equal_bytes(slot: Slot) -> None:
    """Writing what was read gives the bytes it was read from."""
    content = encode_slot(slot)
    assert encode_slot(decode_slot(memoryview(content), slot.generation)) == content


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_cleanly(content: bytes) -> None:
    """Arbitrary bytes raise CorruptError, with a right hash or without."""
    with pytest.raises(CorruptError):
        decode_slot(content, 1)
    body = MAGIC + content
    with contextlib.suppress(CorruptError, UnsupportedError):
        decode_slot(body + blake3(body, derive_key_context=SLOT_CONTEXT).digest(), 1)


def test_every_bit_flip_is_found() -> None:
    """No single flipped bit leaves a slot that is accepted."""
    content = encode_slot(FIRST)
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptError):
            decode_slot(bytes(changed), 1)


def test_hash_is_the_end_of_the_file() -> None:
    """The next slot names this one by the last 32 bytes of its file."""
    content = encode_slot(FIRST)
    expected = blake3(content[:-32], derive_key_context=SLOT_CONTEXT).digest()
    assert expected == slot_hash(content)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"generation": 2}, "generation 2"),
        ({"generation": 0}, "generation 0"),
        ({"previous": ID}, "previous has 32 bytes"),
        ({"transaction": b""}, "transaction has 0 bytes"),
        ({"time": -1}, "time is -1"),
        ({"rows": [[0, ID, "kept"]]}, "row 0 is out of order"),
        ({"rows": [[2, ID, "kept"], [1, ID, "kept"]]}, "row 1 is out of order"),
        ({"rows": [[1, ID, "kept"], [1, ID, "kept"]]}, "row 1 is out of order"),
        ({"rows": [[MAX_NUMBER + 1, ID, "kept"]]}, "out of order or range"),
        ({"rows": [[1, b"x", "kept"]]}, "row 1: an id of 1 bytes"),
        ({"rows": [[1, ID]]}, "length 3"),
        ({"full": False}, "canonical"),
        ({"author": 5}, "author"),
        ({"ref": ""}, "was made for ''"),
        ({"ref": "votes/lenet"}, "was made for 'votes/lenet'"),
        ({"ref": "heads/../lenet"}, "was made for"),
    ],
    ids=str,
)
def test_broken_rules_are_named(fields: dict[str, object], reason: str) -> None:
    """Each rule of the specification refuses what breaks it, and names the field."""
    with pytest.raises(CorruptError, match=reason):
        decode_slot(sealed(**fields), 1)


@pytest.mark.parametrize(
    "fields", [{"signature": ID}, {"rows": [[1, ID, "archived"]]}], ids=["field", "state"]
)
def test_what_is_newer_is_unsupported(fields: dict[str, object]) -> None:
    """A field or state of a later format is refused, and said to be newer."""
    with pytest.raises(UnsupportedError):
        decode_slot(sealed(**fields), 1)


def test_a_slot_belongs_to_one_ref() -> None:
    """A slot is refused anywhere but under the ref that it was made for."""
    content = encode_slot(FIRST)
    assert decode_slot(content, 1, REF) == FIRST
    with pytest.raises(CorruptError, match="was made for 'heads/lenet', not for 'heads/alexnet'"):
        decode_slot(content, 1, "heads/alexnet")


def test_size_is_bounded() -> None:
    """A slot over its limit is refused unread."""
    with pytest.raises(CorruptError, match="at most"):
        decode_slot(bytes(MAX_SLOT + 1), 1)


def test_wrong_values_are_not_written() -> None:
    """Text that is not UTF-8 is the caller's mistake."""
    with pytest.raises(InvalidInputError, match="cannot write a slot"):
        encode_slot(msgspec.structs.replace(FIRST, author="\ud800"))


@pytest.mark.parametrize(
    "name", ["lenet", "LeNet-5", "team/lenet", "prod", "v1.0", "a", "a_b", "deadbee", "x" * 200]
)
def test_ref_names_pass(name: str) -> None:
    """Letters, digits, dots, dashes, underscores and slashes make a name."""
    check_ref_name(name)
    assert unquote_name(quote_name(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", ".hidden", "-dash", "_x", "a..b", "a.",
        "a.lock", "a.lock/b", "a b", "a@3", "a~1", "a:b", "a^", "a*", "a?", "a[", "a\\b", "a%2Fb",
        "naïve", "a\n", "\0", "deadbeef", "a/0123456789abcdef", "DEADBEEF", "con", "nul.txt",
        "x/COM1", "x" * 201, "a\ud800",
    ],
)  # fmt: skip
def test_bad_ref_names_are_refused(name: str) -> None:
    """What a path, a revision or another system would take for something else is no name."""
    with pytest.raises(InvalidInputError):
        check_ref_name(name)
    with pytest.raises(InvalidInputError):
        quote_name(name)


@given(st.text(max_size=30))
def test_folders_are_read_back_exactly(folder: str) -> None:
    """Any folder either is the one that its name is written as, or is corrupt."""
    with contextlib.suppress(CorruptError):
        assert quote_name(unquote_name(folder)) == folder


@pytest.mark.parametrize("folder", ["a/b", "a%2fb", "a%2F", "%2F", "a%2Eb"])
def test_foreign_folders_are_refused(folder: str) -> None:
    """A folder that no name is written as is corrupt."""
    with pytest.raises(CorruptError):
        unquote_name(folder)


def test_slot_keys() -> None:
    """A slot's key holds namespace, quoted name and generation, and is read back."""
    key = slot_key("tags", "lenet/prod", 26)
    assert key == "refs/tags/lenet%2Fprod/000000000000001a"
    assert parse_slot_key(key) == ("tags", "lenet/prod", 26)


@pytest.mark.parametrize(
    ("namespace", "generation"), [("votes", 1), ("heads", 0), ("heads", 1 << 63)]
)
def test_wrong_slots_have_no_key(namespace: str, generation: int) -> None:
    """There is no key for an unknown namespace or a generation out of range."""
    with pytest.raises(InvalidInputError):
        slot_key(namespace, "lenet", generation)


@pytest.mark.parametrize(
    "key",
    [
        "", "refs/heads/lenet", "refs/votes/lenet/0000000000000001", "refs/heads/lenet/1",
        "refs/heads/lenet/000000000000000A", "refs/heads/lenet/0000000000000000",
        "refs/heads/lenet/ffffffffffffffff", "objects/heads/lenet/0000000000000001",
        "refs/heads/../0000000000000001", "refs/heads/a/b/0000000000000001",
    ],
)  # fmt: skip
def test_foreign_keys_are_refused(key: str) -> None:
    """What no slot is stored under is corrupt."""
    with pytest.raises(CorruptError):
        parse_slot_key(key)


def test_names_fold_without_case() -> None:
    """Two names that differ only in case fold together."""
    assert fold_ref_name("LeNet/Prod") == fold_ref_name("lenet/prod")
