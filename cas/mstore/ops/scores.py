"""What is better: metrics by name and direction, and the best among some values; pure."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from mstore.best import LESS_IS_MORE, Direction
from mstore.schema import Schema

SETTINGS = ("learning_rate", "lr", "epoch", "step", "grad_norm")
"""What trainers log beside their metrics; no value of it is best."""

COSTS = ("memory", "flops", "latency")
"""What running a model takes; less is better."""

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "eval",
    "test": "test",
}
_NAME = re.compile(rf"({'|'.join(_SPLITS)})[/_.\-](.+)", re.IGNORECASE)

BUILT_IN_SCHEMA = Schema()
"""What is known of metrics where a store says nothing."""


class Measured(NamedTuple):
    """A metric's name taken apart: what is measured, and on which split if the name says so."""

    quantity: str
    split: str


def direction_of(metric: str, schema: Schema = BUILT_IN_SCHEMA) -> Direction:
    """Which end of a metric is best: as the schema says, else by its name.

    Less is better of what sounds like a loss, an error or a perplexity and of what running a model
    takes, more of all else.
    """
    field = schema.find(metric)
    if field is not None and field.direction:
        return "min" if field.direction == "lower" else "max"
    less = metric in COSTS or any(word in metric.casefold() for word in LESS_IS_MORE)
    return "min" if less else "max"


def measured(metric: str) -> Measured:
    """``val/loss`` and ``train_loss`` are both "loss", each on its split."""
    match = _NAME.fullmatch(metric)
    if match is None:
        return Measured(metric, "")
    return Measured(match[2], _SPLITS[match[1].casefold()])


def is_setting(metric: str) -> bool:
    """Whether no value of it is better than another, on whichever split it stands."""
    return measured(metric).quantity in SETTINGS


def best_of(
    metric: str, values: Sequence[float | None], schema: Schema = BUILT_IN_SCHEMA
) -> tuple[int, ...]:
    """The places of the best values of a metric; of a setting, NaN and nothing none is best."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known or is_setting(metric):
        return ()
    best = min(known) if direction_of(metric, schema) == "min" else max(known)
    return tuple(at for at, value in enumerate(values) if value == best)


def headline(metrics: Mapping[str, float]) -> str | None:
    """The metric that says most of a version: on val or test, and neither a loss nor a setting."""
    return min(metrics, key=_importance, default=None)


@lru_cache(maxsize=1024)
def _importance(metric: str) -> tuple[bool, int, bool, str]:
    order = ("val", "eval", "test", "", "train")
    place = order.index(measured(metric).split)
    return is_setting(metric), place, direction_of(metric) == "min", metric
