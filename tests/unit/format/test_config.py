"""The file that says what a store is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.config import MAX_CONFIG, Config, decode_config, encode_config

ID = "0123456789abcdef0123456789abcdef"
HEX_IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
CONFIGS = st.builds(
    Config,
    id=HEX_IDS,
    created=st.integers(0, (1 << 63) - 1),
    origin=st.none() | st.tuples(st.text(max_size=50), HEX_IDS),
)


def written(**fields: object) -> bytes:
    """A config file with these fields and no check."""
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode() + b"\n"


@given(CONFIGS)
def test_round_trip(config: Config) -> None:
    """What is written is read back, and is one line of JSON."""
    content = encode_config(config)
    assert decode_config(content) == config
    assert content.count(b"\n") == 1
    assert json.loads(content)["format"] == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_cleanly(content: bytes) -> None:
    """Arbitrary bytes raise CorruptError or UnsupportedError and nothing else."""
    with pytest.raises((CorruptError, UnsupportedError)):
        decode_config(content)


def test_every_bit_flip_is_found() -> None:
    """No single flipped bit leaves a config that is accepted."""
    content = encode_config(Config(id=ID, created=1_700_000_000_000_000))
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptError, UnsupportedError)):
            decode_config(bytes(changed))


def test_newer_format_is_unsupported() -> None:
    """A store of a newer format is refused as such, whatever else its config says."""
    with pytest.raises(UnsupportedError, match="format 2 is newer than 1"):
        decode_config(written(format=2, new_field=[1]))


def test_unknown_field_is_unsupported() -> None:
    """A field that this build does not know is refused, not dropped."""
    with pytest.raises(UnsupportedError, match="unknown field `sharding`"):
        decode_config(written(format=1, id=ID, created=0, sharding=True))


@pytest.mark.parametrize("number", [0, -1])
def test_older_format_is_corrupt(number: int) -> None:
    """There is no format before 1."""
    with pytest.raises(CorruptError, match="is unknown"):
        decode_config(written(format=number, id=ID, created=0))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "UPPER" * 6 + "ab"},
        {"id": ID[:-1]},
        {"created": -1},
        {"created": 1 << 63},
        {"origin": ("here", "short")},
    ],
    ids=str,
)
def test_bad_values_are_refused(fields: dict[str, object]) -> None:
    """A malformed id or time is refused when written and when read."""
    values = {"id": ID, "created": 0} | fields
    with pytest.raises(InvalidInputError):
        encode_config(Config(**values))
    with pytest.raises(CorruptError):
        decode_config(written(format=1, **values))


def test_size_is_bounded() -> None:
    """A config over its limit is refused unread."""
    with pytest.raises(CorruptError, match="at most"):
        decode_config(b" " * (MAX_CONFIG + 1))


def test_other_spelling_is_refused() -> None:
    """The same values with a space more are not the config that was written."""
    content = encode_config(Config(id=ID, created=5))
    with pytest.raises(CorruptError, match="canonical"):
        decode_config(content.replace(b":", b": "))
