"""A small grammar of English phrases, for searches that are typed as one would say them; pure.

``Object detection model on imagenet dataset with accuracy>90% and memory footprint<100MB and can
perform inference on a 1GHz processor`` is cut into phrases that are known, from left to right, the
longest first. What is left over is named, never dropped; what the phrases say are conditions of
the language of searches, all of which have to be true.
"""

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from mstore.catalog import expression as ex
from mstore.catalog.syntax import QueryError, check_text
from mstore.catalog.vocabulary import FRAMEWORKS, GLUE, NAMES, OPERATORS, TASKS
from mstore.errors import InvalidInputError
from mstore.units import Quantity, parse_quantity

MAX_WORDS: Final = 200

_WORD = r"[^\s,;<>=≤≥≠\"']+"
_VALUE = r"(?P<value>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?(?:\s?[a-zµμ%/]+)?)"
_NAME_OF = rf"(?P<name>{_WORD}(?:\s(?:footprint|usage|time|count|size))?|number\sof\s\w+)"
_SAID_AS = "|".join(re.escape(words).replace("\\ ", r"\s") for words in OPERATORS)


class Phrase(NamedTuple):
    """A pattern, and what it says; None where the words do not mean that after all."""

    pattern: re.Pattern[str]
    meaning: "Callable[[re.Match[str]], ex.Condition | ex.Key | None]"


def understand(text: str) -> tuple[ex.Query, Literal["english", "words"], tuple[str, ...]]:
    """The query that an English text says, how it was read, and the words that say nothing.

    Where no phrase of it is known, all its words are looked for as they are. QueryError for a text
    without a word.
    """
    check_text(text)
    found: list[ex.Condition | ex.Key] = []
    strange: list[str] = []
    rest = text.strip()
    while rest:
        meaning, length = _next(rest)
        if meaning is not None:
            found.append(meaning)
        elif (word := rest[:length].strip(" \t\r\n.,;:!?()")) and word.casefold() not in GLUE:
            strange.append(word)
        rest = rest[length:].lstrip()
        if len(found) + len(strange) > MAX_WORDS:
            message = f"more than {MAX_WORDS} words and phrases"
            raise QueryError(message, text, (0, len(text)), "write fewer, or a query")
    return _whole(text, found, strange)


def _whole(
    text: str, found: list[ex.Condition | ex.Key], strange: list[str]
) -> tuple[ex.Query, Literal["english", "words"], tuple[str, ...]]:
    conditions = [one for one in found if not isinstance(one, ex.Key)]
    order = tuple(one for one in found if isinstance(one, ex.Key))
    if not conditions and not order:
        if not strange:
            raise QueryError("no word to search for", text, (0, len(text)), _HINT)
        words = ex.Words(None, ex.Value(" ".join(strange)))
        return ex.Query(words), "words", ()
    condition = ex.Both(tuple(conditions)) if len(conditions) > 1 else next(iter(conditions), None)
    return ex.Query(condition, order), "english", tuple(strange)


_HINT: Final = "write a condition: val/accuracy > 0.9"


def _next(rest: str) -> tuple[ex.Condition | ex.Key | None, int]:
    """The meaning of the phrase at the beginning and its length; of one word if none is known."""
    for pattern, meaning in PHRASES:
        match = pattern.match(rest)
        said = meaning(match) if match else None
        if match and said is not None:
            return said, match.end()
    word = re.match(rf"{_WORD}|.", rest, re.DOTALL)
    assert word is not None
    return None, word.end()


def _task(match: re.Match[str]) -> ex.Condition | None:
    """A task is known by name, or it is what stands before "model"."""
    words = re.split(r"[\s-]+", match["task"].casefold())
    task = "-".join(words)
    return _equal("task", task) if task in TASKS else None


def _compare(match: re.Match[str]) -> ex.Condition | None:
    quantity = _quantity(match["value"])
    if quantity is None:
        return None
    said = re.sub(r"\s+", " ", match["name"].casefold())
    sign = re.sub(r"\s+", " ", match["sign"].casefold())
    comparator = OPERATORS.get(sign) or _SIGNS.get(sign)
    assert comparator is not None
    name = NAMES.get(said, match["name"])
    return ex.Compare(ex.Field(name), comparator, ex.Value(match["value"], quantity))


_SIGNS: Final[dict[str, ex.Comparator]] = {
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "=": "=",
    "==": "=",
    "!=": "!=",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
}


def _runs(match: re.Match[str]) -> ex.Condition | None:
    clock = _quantity(match["clock"])
    said = match.groupdict().get("deadline")
    deadline = _quantity(said) if said else None
    if clock is None or clock.kind != "hertz" or (deadline and deadline.kind != "seconds"):
        return None
    within = ex.Value(said, deadline) if said and deadline else None
    return ex.Runs(ex.Value(match["clock"], clock), within)


def _since(match: re.Match[str]) -> ex.Condition:
    comparator: ex.Comparator = "<" if match["when"].casefold() == "before" else ">="
    return ex.Compare(ex.Field("time"), comparator, ex.Value(match["date"]))


def _derived(match: re.Match[str]) -> ex.Condition:
    return ex.Kin("derived from", ex.Value(match["base"]))


def _order(match: re.Match[str]) -> ex.Key:
    said = match["how"].casefold()
    name, descending = _ORDERS[said]
    if not name:
        descending = descending and match["name"].casefold().rpartition("/")[2] not in _LOW
    return ex.Key(ex.Field(name or match["name"]), descending=descending)


_LOW: Final = frozenset({"loss", "latency", "memory", "size", "perplexity", "error", "flops"})
"""Of these the best is the lowest."""
_ORDERS: Final = {
    "best": ("", True),
    "highest": ("", True),
    "lowest": ("", False),
    "newest": ("time", True),
    "latest": ("time", True),
    "oldest": ("time", False),
    "smallest": ("size", False),
    "largest": ("size", True),
}


def _equal(name: str, value: str) -> ex.Condition:
    return ex.Compare(ex.Field(name), "=", ex.Value(value))


def _quantity(text: str) -> Quantity | None:
    try:
        return parse_quantity(text)
    except InvalidInputError:
        return None


def _named(field: str) -> Callable[[re.Match[str]], ex.Condition]:
    return lambda match: _equal(field, match["value"])


def _framework(match: re.Match[str]) -> ex.Condition | None:
    name = match["value"].casefold()
    return _equal("framework", name) if name in FRAMEWORKS else None


def _phrase(
    pattern: str, meaning: "Callable[[re.Match[str]], ex.Condition | ex.Key | None]"
) -> Phrase:
    return Phrase(re.compile(rf"{pattern}(?!\w)", re.IGNORECASE), meaning)


_ARTICLE = r"(?:(?:a|an|the)\s)?"
PHRASES: Final = (
    _phrase(
        rf"(?:(?:that\s|which\s)?can\s)?(?:perform|do|make|run|runs)\s(?:inference\s|inferences\s)?"
        rf"on\s{_ARTICLE}(?P<clock>[0-9.]+\s?[kmgt]?hz)(?:\s(?:processor|cpu|core|machine))?"
        rf"(?:\s(?:in|within|under)\s(?P<deadline>[0-9.]+\s?[a-zµμ]+))?",
        _runs,
    ),
    _phrase(rf"{_NAME_OF}\s?(?P<sign><=|>=|==|!=|[<>=≤≥≠])\s?{_VALUE}", _compare),
    _phrase(rf"{_NAME_OF}\s(?:of\s|is\s|are\s|to\sbe\s)?(?P<sign>{_SAID_AS})\s{_VALUE}", _compare),
    _phrase(
        rf"(?:(?:trained|evaluated|tested|fine-?tuned)\s)?(?:on|with|using|for)\s{_ARTICLE}"
        rf"(?P<value>{_WORD})\s(?:dataset|data\sset|data)",
        _named("dataset"),
    ),
    _phrase(rf"(?:on\s)?{_ARTICLE}(?:dataset|data\sset)\s(?P<value>{_WORD})", _named("dataset")),
    _phrase(rf"(?:trained|evaluated|tested)\son\s{_ARTICLE}(?P<value>{_WORD})", _named("dataset")),
    _phrase(
        rf"(?:derived|made|fine-?tuned|distilled|quanti[sz]ed|pruned)\sfrom\s{_ARTICLE}"
        rf"(?P<base>{_WORD})",
        _derived,
    ),
    _phrase(rf"based\son\s{_ARTICLE}(?P<base>{_WORD})", _derived),
    _phrase(r"(?P<when>since|after|before|from)\s(?P<date>[0-9]{4}(?:-[0-9]{2}){0,2})", _since),
    _phrase(rf"(?:written|stored|made|trained|put)?\s?by\s(?P<value>{_WORD})", _named("author")),
    _phrase(rf"(?:named|called)\s(?P<value>{_WORD})", _named("name")),
    _phrase(rf"tagged\s(?:as\s|with\s)?(?P<value>{_WORD})", _named("tag")),
    _phrase(rf"(?:in|for|with|using)?\s?(?P<value>{_WORD})", _framework),
    _phrase(rf"(?P<how>best|highest|lowest)\s(?P<name>{_WORD})(?:\sfirst)?", _order),
    _phrase(r"(?P<how>newest|latest|oldest|smallest|largest)(?:\sfirst)?", _order),
    *(_phrase(rf"(?P<task>(?:[a-z]+[\s-]){{{count}}}[a-z]+)", _task) for count in (3, 2, 1, 0)),
)
"""The phrases that are known; of two that fit in one place the first counts."""
