"""What fields mean: their types, units and ranges, those of a team before those built in."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import InvalidInputError
from mstore.schema import BUILT_IN, MAX_FIELDS, Schema, described, parse_schema

TEAM = b"""
[fields."*/wer"]
type = "fraction"
max = 2
direction = "lower"
description = "word error rate"

[fields.latency]
type = "seconds"
unit = "ms"
min = "1 ms"

[fields.stage]
type = "choice"
choices = ["draft", "released"]
required = true

[fields.accuracy]
type = "text"
"""


@pytest.mark.parametrize(
    ("name", "given_", "kept"),
    [
        ("accuracy", "90%", 0.9),
        ("val/accuracy", 0.5, 0.5),
        ("val/accuracy", math.nan, math.nan),
        ("loss", "-inf", -math.inf),
        ("memory", "100MB", 1e8),
        ("test/memory", "1 KiB", 1024.0),
        ("latency", "20 ms", 0.02),
        ("latency", 0.02, 0.02),
        ("flops", "1.8 GFLOP", 1.8e9),
        ("anything", "1.5GHz", 1.5e9),
        ("anything", np.float32(0.5), 0.5),
        ("loss", 3, 3.0),
    ],
)
def test_metrics_come_in_base_units(name: str, given_: Any, kept: float) -> None:
    """A number, with a unit or without, is kept in the base unit of its field."""
    found = Schema().metrics({name: given_})[name]
    assert type(found) is float
    assert found == kept or (math.isnan(found) and math.isnan(kept))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "accuracy",
            "high",
            "metric 'accuracy' is 'high', not a fraction or a percentage from 0 to 1",
        ),
        ("accuracy", 91.3, "metric 'accuracy' is 91.3"),
        ("accuracy", True, "metric 'accuracy' is True"),
        ("val/accuracy", "100MB", "metric 'val/accuracy' is '100MB'"),
        ("memory", "20 ms", "not a number of bytes of at least 0 B"),
        ("memory", -1, "metric 'memory' is -1"),
        ("anything", "high", "metric 'anything' is 'high', not a number"),
        ("anything", None, "metric 'anything' is None"),
        ("loss", "x" * 1000, "metric 'loss' is 'xxx"),
    ],
)
def test_what_is_not_of_its_type_is_refused(name: str, value: Any, reason: str) -> None:
    """A value of another type, unit or range is refused by the name of its field."""
    with pytest.raises(InvalidInputError) as caught:
        Schema().metrics({name: value})
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_percentage_is_offered() -> None:
    """Who writes a percentage without its sign is told how to write it."""
    with pytest.raises(InvalidInputError) as caught:
        Schema().metrics({"accuracy": 91.3})
    assert caught.value.hint == "write 91.3% for a percentage"


def test_parameters_and_metadata_are_checked() -> None:
    """Parameters and metadata with a declared name keep its type; others may be anything."""
    values = {
        "lr": 0.1,
        "epochs": "3",
        "batch_size": 32.0,
        "free": [1, {"a": None}],
        "dropout": None,
    }
    found = Schema().values(values, "parameter")
    assert found == {**values, "epochs": 3.0, "batch_size": 32}
    assert isinstance(found["batch_size"], int)
    assert Schema().values({"memory": {"peak": 3}}, "metadata") == {"memory": {"peak": 3}}
    with pytest.raises(
        InvalidInputError, match=r"parameter 'batch_size' is 1.5, not a whole number"
    ):
        Schema().values({"batch_size": 1.5}, "parameter")
    with pytest.raises(InvalidInputError, match="metadata 'accuracy' is 'high'"):
        Schema().values({"accuracy": "high"}, "metadata")


def test_a_team_extends_it() -> None:
    """A team's fields have types, units, ranges, choices and patterns, and come before ours."""
    schema = parse_schema(TEAM, "fields.toml")
    assert schema.metrics({"val/wer": "150%", "latency": 20}) == {"val/wer": 1.5, "latency": 0.02}
    assert schema.metrics({"latency": "0.5 s"}) == {"latency": 0.5}
    with pytest.raises(InvalidInputError, match=r"'latency' is 0.5, not a number of seconds of at"):
        schema.metrics({"latency": 0.5})
    assert schema.values({"stage": "draft"}, "metadata") == {"stage": "draft"}
    with pytest.raises(InvalidInputError, match="'stage' is 'done', not one of draft, released"):
        schema.values({"stage": "done"}, "metadata")
    assert schema.values({"accuracy": "high"}, "metadata") == {"accuracy": "high"}
    with pytest.raises(InvalidInputError, match="metric 'accuracy' is 'high'"):
        schema.metrics({"accuracy": "high"})
    schema.require(["stage"])
    with pytest.raises(InvalidInputError, match="field 'stage' is missing"):
        schema.require(["accuracy"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = 1", "'a' where only tables"),
        ("fields = 3", "'fields' where only tables"),
        ("[fields", "is not TOML"),
        ("[fields.a]\ntype = 'colour'", "field 'a' has the type 'colour'"),
        ("[fields.a]", "field 'a' has the type None"),
        ("[fields]\na = 1", "field 'a' is not a table"),
        ("[fields.a]\ntype = 'number'\nrange = 3", "field 'a' has an unknown 'range'"),
        ("[fields.a]\ntype = 'seconds'\nunit = 'MB'", "not measured in 'MB'"),
        ("[fields.a]\ntype = 'seconds'\nunit = 3", "field 'a' has unit = 3, not a text"),
        ("[fields.a]\ntype = 'choice'", "has 0 choices"),
        ("[fields.a]\ntype = 'choice'\nchoices = [1]", "no list of texts"),
        ("[fields.a]\ntype = 'text'\nmin = 3", "which has no range"),
        ("[fields.a]\ntype = 'number'\nmin = 3\nmax = 1", "a min over its max"),
        ("[fields.a]\ntype = 'bytes'\nmin = '3 ms'", "field 'a' 'min' is '3 ms'"),
        ("[fields.a]\ntype = 'number'\nrequired = 1", "has required = 1, not true or false"),
        ("[fields.a]\ntype = 'number'\ndirection = 'up'", "has the direction 'up'"),
    ],
)
def test_a_wrong_schema_is_refused(text: str, reason: str) -> None:
    """What is wrong with a schema is said with the name of the field."""
    with pytest.raises(InvalidInputError) as caught:
        parse_schema(text.encode(), "fields.toml")
    assert reason in str(caught.value)


def test_a_schema_is_bounded() -> None:
    """A schema that is too large, or has too many fields, is refused."""
    with pytest.raises(InvalidInputError, match="has more than 1048576 bytes"):
        parse_schema(b"#" * (1 << 20) + b"\n", "fields.toml")
    many = "".join(f"[fields.f{number}]\ntype='text'\n" for number in range(MAX_FIELDS + 1))
    with pytest.raises(InvalidInputError, match="has 1001 fields, over 1000"):
        parse_schema(many.encode(), "fields.toml")


def test_every_field_is_described() -> None:
    """Each built-in field says what it means and what its values are."""
    assert all(field.description and described(field) for field in BUILT_IN)


@given(st.floats(allow_nan=False), st.sampled_from([field.name for field in BUILT_IN]))
def test_what_is_kept_is_kept_again(value: float, name: str) -> None:
    """What was brought to base units passes the same schema unchanged."""
    schema = Schema()
    try:
        found = schema.metrics({name: value})
    except InvalidInputError:
        return
    assert schema.metrics(found) == found
