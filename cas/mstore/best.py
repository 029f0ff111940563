"""Which of several versions is best by a metric, and which end of a metric is best."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from mstore.errors import InvalidInputError

Direction = Literal["min", "max"]

LESS_IS_MORE = ("loss", "error", "perplexity")
"""Words in the name of a metric of which less is better."""


class Rated(NamedTuple):
    """A version by the number that it has in its model, and its results by name."""

    number: int
    metrics: Mapping[str, float]


def metric(text: str) -> tuple[str, Direction]:
    """The name of a metric, and which end of it is best: NAME, NAME:min or NAME:max.

    The most is, unless it says otherwise; InvalidInputError for a name that sounds as if the least
    were when it does not say which.
    """
    name, _, direction = text.rpartition(":")
    if name and direction == "min":
        return name, "min"
    if name and direction == "max":
        return name, "max"
    if any(word in text.casefold() for word in LESS_IS_MORE):
        raise InvalidInputError(
            f"is '{text}' best where it is least or greatest",
            hint=f"write {text}:min or {text}:max",
        )
    return text, "max"


def best(versions: Iterable[Rated], name: str, direction: Direction) -> Rated | None:
    """The best of those that have the metric; of equally good ones the newest. NaN is none."""
    sign = 1 if direction == "max" else -1
    # What is not equal to itself is NaN: neither better nor worse than anything.
    rated = [v for v in versions if name in v.metrics and v.metrics[name] == v.metrics[name]]
    return max(rated, key=lambda v: (sign * v.metrics[name], v.number), default=None)
