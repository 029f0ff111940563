"""From the text of a search to its expression; pure but for the grammar, which is read once."""

import difflib
import functools
import re
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from mstore.catalog import expression as ex
from mstore.errors import InvalidInputError
from mstore.units import Quantity, find_unit, parse_quantity

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

MAX_TEXT: Final = 4096
"""Characters of a search."""
MAX_DEPTH: Final = 50
"""Parentheses and negations inside one another."""
MAX_LIMIT: Final = 1 << 31

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<backquoted>`(?:[^`]|``)+`)
    |(?P<sign><=|>=|==|!=|<>|!~|[=<>~≤≥≠()\[\],])
    |(?P<word>[^\s()\[\],=<>!~'"`≤≥≠]+)""",
    re.VERBOSE,
)
_SIGNS: Final = {
    "(": "_OPEN",
    ")": "_CLOSE",
    "[": "_LIST",
    "]": "_END",
    ",": "_COMMA",
    "~": "TILDE",
    "!~": "TILDE",
}
_COMPARATORS: Final = {"==": "=", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!="}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIT = re.compile(r"[ \t]+(?P<unit>[^\s()\[\],=<>!~'\"`]+)")

_SAID: Final = {
    "NAME": "a name",
    "BACKQUOTED": "",
    "STRING": "a 'text'",
    "NUMBER": "a number",
    "COMPARATOR": "one of = != < <= > >=",
    "TILDE": "~",
    "DIRECTION": "asc or desc",
    "_OPEN": "(",
    "_CLOSE": ")",
    "_LIST": "[",
    "_END": "]",
    "_COMMA": "a comma",
    "_ORDER": "order by",
    "$END": "the end",
}
"""How the tokens that could have stood in a place are named to people."""


class QueryError(InvalidInputError):
    """A search that is not understood; ``text[start:stop]`` is the place."""

    kind = "query"

    def __init__(self, message: str, text: str, span: ex.Span, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.start, self.stop = span


class Word(NamedTuple):
    """A token: its type in the grammar, the text and where it stands, and a number if it is one."""

    type: str
    text: str
    span: ex.Span
    quantity: Quantity | None = None


def parse(text: str) -> ex.Query:
    """The query that ``text`` is; QueryError with the place and what was expected there."""
    check_text(text)
    tokens = list(tokenize(text))
    if not tokens:
        raise QueryError(
            "nothing to search for", text, (0, 0), "write a condition: val/accuracy > 0.9"
        )
    return _Building(text, tokens).query(_tree(text, tokens))


def check_text(text: str) -> None:
    """QueryError for what could be no search in any language."""
    if len(text) > MAX_TEXT:
        message = f"a search of {len(text)} characters; at most {MAX_TEXT} are taken"
        raise QueryError(message, text[:MAX_TEXT], (0, 0))
    strange = re.search(r"[\0\ud800-\udfff]", text)
    if strange:
        raise QueryError("a character that is no text", text, strange.span())


def tokenize(text: str) -> Iterator[Word]:
    """The tokens of a search; QueryError for a quote without an end."""
    at = depth = negations = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _untokenizable(text, at)
        at = match.end()
        if match.lastgroup == "space":
            continue
        word = _word(text, match)
        at = word.span[1]
        negations = negations + 1 if word.type == "_NOT" else 0
        depth += (word.type == "_OPEN") - (word.type == "_CLOSE")
        if depth > MAX_DEPTH or negations > MAX_DEPTH:
            message = f"more than {MAX_DEPTH} parentheses or negations inside one another"
            raise QueryError(message, text, word.span)
        yield word


def _untokenizable(text: str, at: int) -> QueryError:
    if text[at] in "'\"`":
        return QueryError("a quote without an end", text, (at, at + 1), "close it, or double it")
    return QueryError(f"'{text[at]}' means nothing here", text, (at, at + 1))


def _word(text: str, match: re.Match[str]) -> Word:
    found, span = match.group(), match.span()
    if match.lastgroup == "string":
        return Word("STRING", found[1:-1].replace(found[0] * 2, found[0]), span)
    if match.lastgroup == "backquoted":
        return Word("BACKQUOTED", found[1:-1].replace("``", "`"), span)
    if match.lastgroup == "sign":
        return Word(_SIGNS.get(found, "COMPARATOR"), _COMPARATORS.get(found, found), span)
    folded = found.casefold()
    if folded in ("asc", "desc"):
        return Word("DIRECTION", folded, span)
    if folded in ex.KEYWORDS:
        return Word(f"_{folded.upper()}", found, span)
    return _number(text, found, span) or Word("NAME", found, span)


def _number(text: str, found: str, span: ex.Span) -> Word | None:
    """A number and its unit, which may stand after spaces; None for any other word."""
    start, stop = span
    if not (found[0].isdigit() or found[0] in "+-."):
        return None
    if _NUMBER.fullmatch(found):
        unit = _UNIT.match(text, stop)
        if unit and unit["unit"].casefold() not in ex.KEYWORDS and _is_unit(unit["unit"]):
            stop = unit.end()
    try:
        quantity = parse_quantity(text[start:stop])
    except InvalidInputError as error:
        if _NUMBER.fullmatch(found):
            raise QueryError(str(error), text, (start, stop)) from None
        return None
    return Word("NUMBER", text[start:stop], (start, stop), quantity)


def _is_unit(text: str) -> bool:
    try:
        find_unit(text)
    except InvalidInputError:
        return False
    return True


def _tree(text: str, tokens: list[Word]) -> "Tree[Token]":
    from lark import Token, UnexpectedToken  # noqa: PLC0415 - only a search needs a parser

    parser = _parser().parse_interactive()
    place = 0
    try:
        for place, word in enumerate(tokens):
            parser.feed_token(Token(word.type, word.text, start_pos=place))
        place = len(tokens)
        return cast("Tree[Token]", parser.feed_eof())  # type: ignore[no-untyped-call]  # lark's own
    except UnexpectedToken:
        accepted: set[str] = parser.accepts()  # type: ignore[no-untyped-call]  # as above
        raise _unexpected(text, tokens, place, accepted) from None


def _unexpected(text: str, tokens: list[Word], place: int, accepted: set[str]) -> QueryError:
    expected = _expected(accepted)
    if place == len(tokens):
        end = len(text.rstrip())
        return QueryError(f"the search ends too early: expected {expected}", text, (end, end + 1))
    found = tokens[place]
    hint = _hint(found, accepted)
    written = text[slice(*found.span)]
    return QueryError(f"'{written}' stands where {expected} was expected", text, found.span, hint)


def _expected(accepted: set[str]) -> str:
    names = {_SAID.get(name, name.lower().strip("_")) for name in accepted} - {""}
    ordered = sorted(names, key=lambda name: (not name.startswith(("a ", "one")), name))
    return " or ".join([", ".join(ordered[:-1]), ordered[-1]] if ordered[1:] else ordered)


def _hint(found: Word, accepted: set[str]) -> str | None:
    if found.type.startswith("_") and "NAME" in accepted and found.text.casefold() in ex.KEYWORDS:
        return f"'{found.text}' is a word of the language: as a name write `{found.text}`"
    words = [name[1:].lower() for name in accepted if name.startswith("_")]
    known = [word for word in words if word in ex.KEYWORDS]
    near = difflib.get_close_matches(found.text.casefold(), known, 1)
    return f"did you mean '{near[0]}'?" if near else None


class _Building:
    """Makes expressions of the parser's tree; a method for each rule of the grammar."""

    def __init__(self, text: str, tokens: list[Word]) -> None:
        self._text = text
        self._tokens = tokens

    def query(self, tree: "Tree[Token]") -> ex.Query:
        condition: ex.Condition | None = None
        order: tuple[ex.Key, ...] = ()
        limit: int | None = None
        for part in _below(tree):
            if part.data == "order":
                order = tuple(map(self._key, _below(part)))
            elif part.data == "limit":
                limit = self._limit(part)
            else:
                condition = self._condition(part)
        return ex.Query(condition, order, limit)

    def _condition(self, tree: "Tree[Token]") -> ex.Condition:
        below = _below(tree)
        if tree.data == "negation":
            return ex.Not(self._condition(below[0]))
        if tree.data in ("either", "both"):
            several = tuple(map(self._condition, below))
            made = ex.Either if tree.data == "either" else ex.Both
            return several[0] if len(several) == 1 else made(several)
        opposite = str(tree.data).startswith("not_")
        atom = self._atom(str(tree.data).removeprefix("not_"), tree, below)
        return ex.Not(atom) if opposite else atom

    def _atom(self, rule: str, tree: "Tree[Token]", below: list[Any]) -> ex.Condition:
        if rule in _KIN:
            return ex.Kin(_KIN[rule], self._value(below[0]))
        if rule == "runs":
            return self._runs(list(map(self._value, below)))
        if rule == "anywhere":
            return self._words(tree, None, self._value(below[0]))
        field = self._field(below[0])
        if rule == "among":
            return ex.Among(field, tuple(map(self._value, _below(below[1]))))
        return self._about(rule, tree, field, list(map(self._value, below[1:])))

    def _about(
        self, rule: str, tree: "Tree[Token]", field: ex.Field, values: list[ex.Value]
    ) -> ex.Condition:
        match rule:
            case "has":
                found: ex.Condition = ex.Has(field)
            case "words":
                found = self._words(tree, field, values[0])
            case "between":
                found = ex.Between(field, values[0], values[1])
            case "like":
                found = ex.Like(field, values[0])
            case _:
                comparator = cast("ex.Comparator", self._token(tree.children[1]).text)
                found = ex.Compare(field, comparator, values[0])
        return found

    def _words(self, tree: "Tree[Token]", field: ex.Field | None, value: ex.Value) -> ex.Condition:
        sign = next(self._token(child) for child in tree.children if not _is_tree(child))
        words = ex.Words(field, value)
        return ex.Not(words) if sign.text == "!~" else words

    def _runs(self, values: list[ex.Value]) -> ex.Runs:
        for value, kind in zip(values, ("hertz", "seconds"), strict=False):
            if value.quantity is None or value.quantity.kind != kind:
                hint = "write: runs on 1GHz within 20ms"
                raise QueryError(f"'{value.text}' is not in {kind}", self._text, value.span, hint)
        return ex.Runs(*values)

    def _key(self, tree: "Tree[Token]") -> ex.Key:
        field = self._field(_below(tree)[0])
        directions = [self._token(child) for child in tree.children if not _is_tree(child)]
        return ex.Key(field, descending=any(word.text == "desc" for word in directions))

    def _limit(self, tree: "Tree[Token]") -> int:
        value = self._value(_below(tree)[0])
        if not value.text.isascii() or not value.text.isdigit() or int(value.text) > MAX_LIMIT:
            message = f"'{value.text}' is not a number of versions"
            raise QueryError(message, self._text, value.span)
        return int(value.text)

    def _field(self, tree: "Tree[Token]") -> ex.Field:
        below = _below(tree)
        word = self._token(below[0].children[0])
        dataset = self._value(below[1]).text if tree.data == "field_on" else ""
        return ex.Field(word.text, dataset, word.span)

    def _value(self, tree: "Tree[Token]") -> ex.Value:
        word = self._token(tree.children[0])
        return ex.Value(word.text, word.quantity, word.span)

    def _token(self, token: "Token | Tree[Token]") -> Word:
        return self._tokens[cast("int", getattr(token, "start_pos", 0))]


_KIN: Final[dict[str, ex.KinRelation]] = {
    "derived": "derived from",
    "ancestor": "ancestor of",
    "parent": "parent of",
    "child": "child of",
}


def _below(tree: "Tree[Token]") -> list[Any]:
    return [child for child in tree.children if _is_tree(child)]


def _is_tree(child: object) -> bool:
    return not isinstance(child, str)


@functools.cache
def _parser() -> "Lark":
    from lark import Lark  # noqa: PLC0415 - as above

    grammar = (resources.files("mstore.catalog") / "query.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr")
