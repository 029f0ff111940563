"""What a search asks for, as values; pure. ``str()`` of each is text that parses to it again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from mstore.units import Quantity, format_quantity

Comparator = Literal["=", "!=", "<", "<=", ">", ">="]
KinRelation = Literal["derived from", "ancestor of", "parent of", "child of"]

KEYWORDS: Final = frozenset(
    [
        "and",
        "or",
        "not",
        "between",
        "in",
        "like",
        "has",
        "exists",
        "derived",
        "from",
        "ancestor",
        "parent",
        "child",
        "of",
        "runs",
        "on",
        "within",
        "order",
        "by",
        "asc",
        "desc",
        "limit",
    ]
)
"""Words that a field or value must be quoted to be called by."""

BARE: Final = re.compile(r"[^\s()\[\],=<>!~'\"`]+")
"""What stands for itself without quotes, unless it is a keyword."""

Span = tuple[int, int]
"""Where in the text something stands, half open."""


@dataclass(frozen=True, slots=True)
class Field:
    """What is asked of a version, as it was written; ``dataset`` after ``on``."""

    name: str
    dataset: str = ""
    span: Span = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        # What begins like a number could be one.
        bare = BARE.fullmatch(self.name) and self.name[0] not in "+-.0123456789"
        bare = bare and self.name.casefold() not in KEYWORDS
        named = self.name if bare else "`" + self.name.replace("`", "``") + "`"
        return f"{named} on {quote(self.dataset)}" if self.dataset else named


@dataclass(frozen=True, slots=True)
class Value:
    """A text, or a number in base units; ``text`` is what was written."""

    text: str
    quantity: Quantity | None = None
    span: Span = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        if self.quantity is None:
            return quote(self.text)
        value, kind = self.quantity
        return format_quantity(value, "" if kind == "fraction" else kind)


@dataclass(frozen=True, slots=True)
class Compare:
    """A field beside a value."""

    field: Field
    comparator: Comparator
    value: Value

    def __str__(self) -> str:
        return f"{self.field} {self.comparator} {self.value}"


@dataclass(frozen=True, slots=True)
class Between:
    """A field in a range, both ends included."""

    field: Field
    low: Value
    high: Value

    def __str__(self) -> str:
        return f"{self.field} between {self.low} and {self.high}"


@dataclass(frozen=True, slots=True)
class Among:
    """A field that is one of several values."""

    field: Field
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.field} in [{', '.join(map(str, self.values))}]"


@dataclass(frozen=True, slots=True)
class Like:
    """A text field and a pattern of SQL: ``%`` is anything, ``_`` one character."""

    field: Field
    pattern: Value

    def __str__(self) -> str:
        return f"{self.field} like {self.pattern}"


@dataclass(frozen=True, slots=True)
class Words:
    """All of some words in any order, in one of the searched texts or in any."""

    field: Field | None
    words: Value

    def __str__(self) -> str:
        return f"{self.field} ~ {self.words}" if self.field else f"~ {self.words}"


@dataclass(frozen=True, slots=True)
class Has:
    """That a value is known."""

    field: Field

    def __str__(self) -> str:
        return f"has {self.field}"


@dataclass(frozen=True, slots=True)
class Kin:
    """How a version stands to one that is named by a revision."""

    relation: KinRelation
    revision: Value

    def __str__(self) -> str:
        return f"{self.relation} {quote(self.revision.text)}"


@dataclass(frozen=True, slots=True)
class Runs:
    """That inference is possible at a clock rate in hertz, and within so many seconds."""

    clock: Value
    deadline: Value | None = None

    def __str__(self) -> str:
        within = f" within {self.deadline}" if self.deadline else ""
        return f"runs on {self.clock}{within}"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: "Condition"

    def __str__(self) -> str:
        return f"not {_inner(self.inner)}"


@dataclass(frozen=True, slots=True)
class Both:
    """All of several conditions."""

    inner: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return " and ".join(map(_inner, self.inner))


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of several conditions."""

    inner: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return " or ".join(map(_inner, self.inner))


Atom = Compare | Between | Among | Like | Words | Has | Kin | Runs
Condition = Atom | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Key:
    """What matches are ordered by."""

    field: Field
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.field}{' desc' if self.descending else ''}"


@dataclass(frozen=True, slots=True)
class Query:
    """A whole search; without a condition every version matches."""

    condition: Condition | None = None
    order: tuple[Key, ...] = ()
    limit: int | None = None

    def __str__(self) -> str:
        order = f"order by {', '.join(map(str, self.order))}" if self.order else ""
        limit = f"limit {self.limit}" if self.limit is not None else ""
        condition = str(self.condition) if self.condition else ""
        return " ".join(part for part in (condition, order, limit) if part)


def quote(text: str) -> str:
    """``text`` between single quotes, those in it doubled."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def atoms(condition: Condition | None) -> Iterator[Atom]:
    """The conditions that a condition is made of, from left to right."""
    match condition:
        case None:
            return
        case Not(inner):
            yield from atoms(inner)
        case Both(several) | Either(several):
            for one in several:
                yield from atoms(one)
        case _:
            yield condition


def fields(query: Query) -> list[Field]:
    """The fields whose values a query asks for, in order and each once."""
    asking = [atom for atom in atoms(query.condition) if not isinstance(atom, Kin | Runs | Words)]
    named = [atom.field for atom in asking] + [key.field for key in query.order]
    return list(dict.fromkeys(named))


def _inner(condition: Condition) -> str:
    return f"({condition})" if isinstance(condition, Both | Either | Not) else str(condition)
