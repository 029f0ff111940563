"""Whether versions fulfil a condition: yes, no, or not known, exactly (Kleene's three values).

A condition is asked of all versions at once. What is known of a field is fetched from the tables
with bound values only; which versions fulfil which condition are sets.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from mstore.catalog import expression as ex
from mstore.catalog.answers import Answers, Versions
from mstore.catalog.fields import SEARCHED, Asked, metric_names
from mstore.catalog.predicates import Comparison, bounds, make_test, numeric_condition
from mstore.catalog.syntax import QueryError
from mstore.errors import InvalidInputError, MstoreError
from mstore.ids import ObjectId
from mstore.latency import Latency
from mstore.notes import ESTIMATE, NoteRow
from mstore.ops.estimate import estimated_time
from mstore.parts import Parts
from mstore.revision import resolve
from mstore.units import Quantity, format_quantity, parse_quantity


class Outcome(Struct, frozen=True):
    """For which versions a condition is true, and for which that is not known.

    ``lacks`` names the value that the latter lack; ``query`` and ``plan`` say how SQLite found it.
    """

    condition: ex.Condition
    true: Versions
    unknown: Versions
    inner: "tuple[Outcome, ...]" = ()
    lacks: str = ""
    query: str = ""
    plan: tuple[str, ...] = ()


class Evaluation:
    """Evaluates the conditions of one search."""

    def __init__(self, answers: Answers, parts: Parts) -> None:
        self._answers = answers
        self._parts = parts
        self._text = answers.text
        self._all = answers.all

    def evaluate(self, condition: ex.Condition) -> Outcome:
        """The outcome of a condition, with those of its parts; QueryError for unknown names."""
        match condition:
            case ex.Not(inner):
                return self._opposite(condition, self.evaluate(inner))
            case ex.Both(several):
                parts = self._evaluate_all(several)
                true = self._all.intersection(*(part.true for part in parts))
                possible = self._all.intersection(*(part.true | part.unknown for part in parts))
            case ex.Either(several):
                parts = tuple(map(self.evaluate, several))
                true = frozenset[bytes]().union(*(part.true for part in parts))
                possible = true.union(*(part.unknown for part in parts))
            case _:
                return self._ask(condition)
        return Outcome(condition, true, possible - true, parts)

    def _evaluate_all(self, several: Iterable[ex.Condition]) -> tuple[Outcome, ...]:
        """The parts of a conjunction; whether a version runs is asked only where it matters."""
        cheap = {one: self.evaluate(one) for one in several if not isinstance(one, ex.Runs)}
        possible = self._all.intersection(*(part.true | part.unknown for part in cheap.values()))
        return tuple(
            self._runs(one, possible) if isinstance(one, ex.Runs) else cheap[one] for one in several
        )

    def _opposite(self, condition: ex.Condition, found: Outcome) -> Outcome:
        return Outcome(
            condition, self._all - found.true - found.unknown, found.unknown, inner=(found,)
        )

    def _ask(self, atom: ex.Atom) -> Outcome:
        match atom:
            case ex.Kin(relation, revision):
                found = self._kin(atom, relation, revision)
            case ex.Runs():
                found = self._runs(atom, self._all)
            case ex.Words(field, words) if field is None or field.name in SEARCHED:
                found = self._words(atom, field, words)
            case ex.Has(field):
                asked = self._answers.find(field)
                found = self._leaf(atom, self._answers.known(asked), frozenset(), asked)
            case ex.Compare(field, "!=", value):
                found = self._opposite(atom, self._ask(ex.Compare(field, "=", value)))
            case _:
                found = self._compare(atom)
        return found

    def _compare(self, atom: Comparison) -> Outcome:
        asked = self._answers.find(_field_of(atom))
        condition = numeric_condition(atom, asked, self._text)
        if condition is not None:
            true = self._answers.having(asked, *condition)
        else:
            test = make_test(atom, asked, self._text)
            rows = self._answers.rows(asked)
            # Many versions have few values: a task, an author.
            passed = {value for value in {value for _, value in rows} if test(value)}
            true = self._all.intersection([version for version, value in rows if value in passed])
        unknown: Versions = frozenset()
        if asked.is_optional:
            unknown = self._all - self._answers.known(asked)
        if asked.label == "memory" and isinstance(atom, ex.Compare | ex.Between | ex.Among):
            return self._compare_memory(atom, asked, true, unknown)
        return self._leaf(atom, true, unknown, asked)

    def _compare_memory(
        self,
        atom: ex.Compare | ex.Between | ex.Among,
        asked: Asked,
        true: Versions,
        unknown: Versions,
    ) -> Outcome:
        """Memory that nobody has measured is at least that of the weights, which may decide it."""
        low, high = bounds(atom, asked, self._text)
        test = make_test(atom, asked, self._text)
        weights = self._answers.rows_of(self._answers.find(ex.Field("weights")), unknown)
        least = {version: size for version, size in weights if size}
        always = high == float("inf")
        enough = {
            version
            for version, size in least.items()
            if always and isinstance(size, int | float) and (size > low or test(size))
        }
        too_much = {
            version
            for version, size in least.items()
            if isinstance(size, int | float) and (size > high or (size == high and not test(size)))
        }
        return self._leaf(atom, true | enough, unknown - enough - too_much, asked)

    def _words(self, condition: ex.Condition, field: ex.Field | None, words: ex.Value) -> Outcome:
        terms = [_fts_term(word) for word in words.text.split() if re.search(r"\w", word)]
        if not terms:
            raise QueryError(f"'{words.text}' has no word in it", self._text, words.span)
        match = " AND ".join(terms)
        if field is not None:
            match = f"{{{SEARCHED[field.name]}}} : ({match})"
        asked = Asked("words", "text", _WORDS, (match,), is_optional=False)
        true = self._answers.having(asked, "1", ())
        return self._leaf(condition, true, frozenset(), asked)

    def _kin(self, condition: ex.Condition, relation: str, revision: ex.Value) -> Outcome:
        """Lineage: who has which parents is recorded or not, so this is always known."""
        named = "SELECT version FROM numbered WHERE model = ?"
        model = self._answers.connection.execute(f"{named} LIMIT 1", (revision.text,)).fetchone()
        # SQLite has no unhex() before 3.41, so the table is asked for the one version.
        target = named if model else "SELECT id FROM described WHERE lower(hex(id)) = ?"
        value = revision.text if model else self._resolve(revision)
        asked = Asked(relation, "text", _KIN[relation].format(target=target), (value,))
        true = self._answers.having(asked, "1", ())
        return self._leaf(condition, true, frozenset(), asked)

    def _resolve(self, revision: ex.Value) -> str:
        try:
            return str(resolve(self._parts, revision.text).version)
        except MstoreError as error:
            names = [name for (name,) in self._answers.connection.execute(_MODELS)]
            near = difflib.get_close_matches(revision.text, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else error.hint
            raise QueryError(str(error), self._text, revision.span, hint) from None

    def _runs(self, atom: ex.Runs, among: Versions) -> Outcome:
        """Which of some versions are known to be quick enough at a clock rate.

        By the metric ``latency@1GHz``, else by a pass that was traced, else by ``latency``, which
        is taken as it is. An estimate whose interval holds the deadline does not tell.
        """
        assert atom.clock.quantity is not None
        clock, every = atom.clock.quantity, metric_names(self._answers.connection)
        names = [name for name in every if _is_at(name, clock)]
        own = f"latency@{format_quantity(*clock).replace(' ', '')}"
        exact, plain = self._latencies(names), self._latencies(["latency"])
        estimated = self._estimates(among - exact.keys(), clock.value)
        if among & (plain.keys() - exact.keys() - estimated.keys()):
            self._answers.remarks.append(f"where there is no '{own}', 'latency' is taken as it is")
        found = plain | estimated | exact
        limit = atom.deadline.quantity.value if atom.deadline and atom.deadline.quantity else None
        true = {one for one, time in found.items() if limit is None or time.high <= limit}
        false = {one for one, time in found.items() if limit is not None and time.low > limit}
        asked = _latency_asked([*names, "latency"])
        return self._leaf(atom, among & true, among - true - false, asked, own)

    def _latencies(self, names: Iterable[str]) -> dict[bytes, Latency]:
        rows = self._answers.rows(_latency_asked(list(names)))
        return {one: Latency(time, time, time) for one, time in rows if isinstance(time, float)}

    def _estimates(self, versions: Versions, hertz: float) -> dict[bytes, Latency]:
        """The time of passes that were traced, at a clock rate; reads their notes."""
        found: dict[bytes, Latency] = {}
        for oid, version in self._answers.connection.execute(_TRACED, (ESTIMATE,)):
            if version in versions:
                note = NoteRow(ObjectId(oid), self._parts.odb.note(oid))
                time = estimated_time([note], hertz)
                found |= {version: time} if time else {}
        return found

    def _leaf(
        self,
        condition: ex.Condition,
        true: Versions,
        unknown: Versions,
        asked: Asked,
        lacks: str = "",
    ) -> Outcome:
        found = lacks or asked.label
        plan = self._answers.explain(asked)
        return Outcome(condition, true, unknown, lacks=found, query=asked.query, plan=plan)


def blame(outcome: Outcome, versions: Versions) -> dict[str, Versions]:
    """Which value each of some versions lacks, for which the outcome is not known.

    A part whose answer is known is not to blame, whatever it lacks.
    """
    undecided = versions & outcome.unknown
    if not undecided:
        return {}
    if not outcome.inner:
        return {outcome.lacks: undecided}
    found: dict[str, Versions] = {}
    for part in outcome.inner:
        for lacks, some in blame(part, undecided).items():
            found[lacks] = found.get(lacks, frozenset()) | some
    return found


_TRACED: Final = "SELECT id, version FROM said WHERE topic = ? ORDER BY time, id"
_MODELS: Final = "SELECT DISTINCT model FROM numbered"
_WORDS: Final = """
SELECT version, '' FROM words JOIN document ON document.number = words.rowid WHERE words MATCH ?
"""
_KIN: Final = {
    "derived from": """
WITH RECURSIVE target (id) AS ({target}), kin (id) AS (
  SELECT derived FROM lineage WHERE base IN (SELECT id FROM target)
  UNION SELECT derived FROM lineage JOIN kin ON base = kin.id
) SELECT id, '' FROM kin""",
    "ancestor of": """
WITH RECURSIVE target (id) AS ({target}), kin (id) AS (
  SELECT base FROM lineage WHERE derived IN (SELECT id FROM target)
  UNION SELECT base FROM lineage JOIN kin ON derived = kin.id
) SELECT id, '' FROM kin""",
    "parent of": """
WITH target (id) AS ({target})
SELECT base, '' FROM lineage WHERE derived IN (SELECT id FROM target)""",
    "child of": """
WITH target (id) AS ({target})
SELECT derived, '' FROM lineage WHERE base IN (SELECT id FROM target)""",
}


def _latency_asked(names: list[str]) -> Asked:
    marks = ", ".join("?" * len(names))
    query = f"SELECT version, value FROM metric WHERE is_current = 1 AND name IN ({marks})"  # noqa: S608 - only marks
    return Asked("latency", "number", query, tuple(names), "seconds")


def _is_at(name: str, clock: Quantity) -> bool:
    """Whether a metric is the latency at this clock rate."""
    stem, _, rate = name.rpartition("@")
    try:
        return stem.rpartition("/")[2] == "latency" and parse_quantity(rate) == clock
    except InvalidInputError:
        return False


def _field_of(atom: Comparison) -> ex.Field:
    assert atom.field is not None
    return atom.field


def _fts_term(word: str) -> str:
    """A word as the index takes it, whatever is in it; ``*`` at the end is any ending."""
    stem = word.rstrip("*")
    doubled = stem.replace('"', '""')
    return f'"{doubled}" *' if stem != word else f'"{doubled}"'
