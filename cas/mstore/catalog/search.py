"""Search: from a text to the versions that fit, and those of which that is not known."""

import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import structs

from mstore.catalog import expression as ex
from mstore.catalog.answers import Answers, Versions
from mstore.catalog.catalogue import Catalogue
from mstore.catalog.english import understand
from mstore.catalog.evaluation import Evaluation, Outcome, blame
from mstore.catalog.fields import Asked
from mstore.catalog.reports import (
    Answer,
    Column,
    Lacking,
    Language,
    Match,
    SearchReport,
    Step,
)
from mstore.catalog.syntax import QueryError, parse
from mstore.ids import ObjectId
from mstore.ops.schemas import schema_of
from mstore.parts import Parts

MAX_MATCHES: Final = 1000
"""Matches that are given where the search has no limit of its own; all are counted."""
MAX_LISTED: Final = 100
"""Labels of versions that lack a value which are listed; all are counted."""


def search(catalogue: Catalogue, parts: Parts, text: str, *, explain: bool = False) -> SearchReport:
    """The versions for which ``text`` is true, and those that lack a value to tell.

    ``text`` is a query (docs/guide/search.md), else plain English. QueryError for what is neither.
    """
    query, language, strange = _read(text)
    notices: list[str] = []
    with catalogue.reading(notices.append) as connection:
        found = answer(catalogue, connection, parts, text, query, explain=explain)
    return structs.replace(
        found,
        language=language,
        not_understood=strange,
        notices=(*notices, *found.notices),
    )


def _read(text: str) -> tuple[ex.Query, Language, tuple[str, ...]]:
    try:
        return parse(text), "query", ()
    except QueryError as error:
        if not _is_prose(text, error):
            raise
        return understand(text)


def _is_prose(text: str, error: QueryError) -> bool:
    """Whether a text that is no query is read as English: it begins with two plain words.

    Whoever has written a whole condition wants to hear what is wrong with the next.
    """
    first = text.split(maxsplit=2)[:2]
    begun = len(text) - len(text.lstrip()) + len(" ".join(first))
    plain = all(ex.BARE.fullmatch(word.rstrip(",;:.")) for word in first)
    return plain and error.start <= begun


def answer(
    catalogue: Catalogue,
    connection: sqlite3.Connection,
    parts: Parts,
    text: str,
    query: ex.Query,
    *,
    among: Versions | None = None,
    explain: bool = False,
) -> SearchReport:
    """What the tables say to a query that was read from ``text``, of all versions or of some."""
    places = catalogue.kept("places", lambda: _Places(connection))
    every = places.all if among is None else places.all & among
    answers = Answers(connection, schema_of(parts), text, every)
    evaluation = Evaluation(answers, parts)
    outcome = evaluation.evaluate(query.condition) if query.condition else None
    true = answers.all if outcome is None else outcome.true
    # A match has its time anyway, and in the form of a time.
    named = [asked for asked in map(answers.find, ex.fields(query)) if asked.kind != "time"]
    ordered = _ordered(answers, query.order, places.sort(true))
    limit = MAX_MATCHES if query.limit is None else query.limit
    return SearchReport(
        query=str(query),
        language="query",
        not_understood=(),
        remarks=tuple(dict.fromkeys(answers.remarks)),
        searched=len(answers.all),
        total=len(ordered),
        columns=tuple(Column(asked.label, asked.unit) for asked in named),
        matches=tuple(_matches(answers, places, named, ordered[:limit])),
        lacking=tuple(_lacking(places, outcome)) if outcome else (),
        steps=tuple(_steps(outcome)) if explain and outcome else (),
        notices=places.troubles,
    )


class _Places:
    """The names of all versions, and the order in which these stand without any other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.named: dict[bytes, list[tuple[str, int, str]]] = {}
        for version, model, number, state in connection.execute(_PLACES):
            self.named.setdefault(version, []).append((model, number, state))
        tags = connection.execute("SELECT version, tag, 0, state FROM alias ORDER BY tag")
        for version, tag, number, state in tags:
            self.named.setdefault(version, []).append((tag, number, state))
        ordered = sorted(self.named, key=lambda version: self.named[version][0][:2])
        self.ranks = {version: rank for rank, version in enumerate(ordered)}
        self.all = frozenset(version for (version,) in connection.execute(_CANDIDATES))
        troubles = connection.execute("SELECT trouble FROM described WHERE trouble <> ''")
        self.troubles = tuple(trouble for (trouble,) in troubles)

    def sort(self, versions: Iterable[bytes]) -> list[bytes]:
        """Versions by name and number."""
        return sorted(versions, key=self.ranks.__getitem__)

    def labels(self, version: bytes) -> list[str]:
        """``lenet@3`` for each number, then its tags."""
        named = self.named[version]
        return [f"{name}@{number}" if number else name for name, number, _ in named]

    def match(
        self, version: bytes, shown: tuple[int, int, str], values: dict[str, Answer | list[Answer]]
    ) -> Match:
        """A match with everything that is shown of it."""
        named = self.named[version]
        name, number, state = named[0]
        state = "kept" if any(found == "kept" for _, _, found in named) else state
        labels = tuple(self.labels(version))
        return Match(name, number or None, ObjectId(version), state, labels, *shown, values)


_PLACES: Final = """
SELECT version, model, number, state FROM numbered WHERE model NOT LIKE 'mstore/%'
ORDER BY model, number DESC
"""
_CANDIDATES: Final = """
SELECT version FROM numbered WHERE model NOT LIKE 'mstore/%'
UNION SELECT version FROM alias
EXCEPT SELECT version FROM numbered WHERE model LIKE 'mstore/%'
"""
_SHOWN: Final = "SELECT time, size, message FROM described WHERE id = ?"


def _ordered(answers: Answers, keys: Sequence[ex.Key], versions: list[bytes]) -> list[bytes]:
    """Versions in the order of the keys; those without a number last, whichever the direction."""
    for key in reversed(keys):
        asked = answers.find(key.field)
        best = _best(answers.rows_of(asked, versions), max if key.descending else min)
        texts = sorted({value for value in best.values() if isinstance(value, str)}, key=_fold)
        ranks = {text: rank for rank, text in enumerate(texts)}
        place = _placing(best, ranks, -1 if key.descending else 1)
        versions = sorted(versions, key=place)
    return versions


def _placing(
    best: dict[bytes, Answer], ranks: dict[str, int], sign: int
) -> Callable[[bytes], tuple[int, float]]:
    def place(version: bytes) -> tuple[int, float]:
        value = best.get(version)
        if isinstance(value, str):
            return (1, sign * ranks[value])
        if value is None:
            # NaN is a value, if none that can be ordered: before versions that have none.
            return (2 if version in best else 3, 0.0)
        return (0, sign * value)

    return place


def _best(
    rows: Iterable[tuple[bytes, Answer]], choose: Callable[..., Answer]
) -> dict[bytes, Answer]:
    """Of each version the value that decides its place; NaN only where there is no other."""
    best: dict[bytes, Answer] = {}
    for version, value in rows:
        other = best.get(version)
        comparable = other is not None and type(other) is type(value)
        best[version] = choose(other, value) if comparable else value if other is None else other
    return best


def _fold(text: str) -> tuple[str, str]:
    return text.casefold(), text


def _matches(
    answers: Answers, places: _Places, named: Sequence[Asked], versions: Sequence[bytes]
) -> Iterable[Match]:
    values: dict[bytes, dict[str, Answer | list[Answer]]] = {version: {} for version in versions}
    for asked in named:
        found: dict[bytes, list[Answer]] = {}
        for version, value in answers.rows_of(asked, versions):
            found.setdefault(version, []).append(math.nan if value is None else value)
        for version, several in found.items():
            values[version][asked.label] = several[0] if len(several) == 1 else several
    for version in versions:
        shown = answers.one(_SHOWN, version) or (0, 0, "")
        yield places.match(version, shown, values[version])


def _lacking(places: _Places, outcome: Outcome) -> Iterable[Lacking]:
    """The undecided versions by what they lack, the largest group first."""
    lacks: dict[bytes, tuple[str, ...]] = {}
    for value, versions in sorted(blame(outcome, outcome.unknown).items()):
        for version in versions:
            lacks[version] = (*lacks.get(version, ()), value)
    groups: dict[tuple[str, ...], list[bytes]] = {}
    for version in places.sort(lacks):
        groups.setdefault(lacks[version], []).append(version)
    for group, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        labels = tuple(places.labels(version)[0] for version in members[:MAX_LISTED])
        yield Lacking(group, len(members), labels)


def _steps(outcome: Outcome, depth: int = 0) -> Iterable[Step]:
    true, unknown = len(outcome.true), len(outcome.unknown)
    query = " ".join(outcome.query.split())
    yield Step(str(outcome.condition), depth, true, unknown, query, outcome.plan)
    for part in outcome.inner:
        yield from _steps(part, depth + 1)
