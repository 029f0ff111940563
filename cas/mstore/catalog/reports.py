"""What searches and lists give: plain values, which need neither tables nor a parser to be made."""

from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.ids import ObjectId
from mstore.ops.describe import ModelRow
from mstore.units import UnitKind

Answer = None | float | str
"""A value of a version: a number, a text, or None for a number that is none."""
Language = Literal["query", "english", "words"]
"""How a text was read: "words" are looked for as they are."""


class Match(Struct, frozen=True):
    """A version that fits; ``values`` are those of the fields that the search names."""

    name: str
    number: int | None
    version: ObjectId
    state: str
    labels: tuple[str, ...]
    time: int
    size_bytes: int
    message: str
    values: dict[str, Answer | list[Answer]]


class Lacking(Struct, frozen=True):
    """Versions of which it is not known whether they fit, and the values that they lack.

    ``count`` is how many they are; the first of them are listed.
    """

    values: tuple[str, ...]
    count: int
    labels: tuple[str, ...]


class Column(NamedTuple):
    """A field that a search names, and what its numbers are in where that is known."""

    name: str
    unit: UnitKind


class Step(Struct, frozen=True):
    """One part of a search: what it asks, how, and of how many versions it is true or not known."""

    condition: str
    depth: int
    true: int
    unknown: int
    query: str
    plan: tuple[str, ...]


class SearchReport(Struct, frozen=True):
    """What was found.

    ``query`` is what was understood, in the language of searches; ``language`` says how the text
    was read, and ``not_understood`` are the words of an English one that say nothing to mstore.
    ``total`` counts the matches before ``limit``. ``steps`` are filled on request.
    """

    query: str
    language: Language
    not_understood: tuple[str, ...]
    remarks: tuple[str, ...]
    searched: int
    total: int
    columns: tuple[Column, ...]
    matches: tuple[Match, ...]
    lacking: tuple[Lacking, ...]
    steps: tuple[Step, ...]
    notices: tuple[str, ...]


class ModelsReport(Struct, frozen=True):
    """Models in the order that was asked for; ``lacking`` are newest versions that may fit."""

    models: tuple[ModelRow, ...]
    lacking: tuple[Lacking, ...] = ()
    remarks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
