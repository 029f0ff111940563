"""The language of searches: what parses, where an error stands, and that any text is an answer."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.catalog import expression as ex
from mstore.catalog.english import understand
from mstore.catalog.syntax import MAX_TEXT, QueryError, parse

QUERIES = [
    "task = 'object-detection' and val/accuracy > 0.9 order by val/accuracy desc limit 5",
    "memory < 100 MB and derived from 'resnet18'",
    "(a > 1 and b between 1 and 2) or (not c in [1, 'x'])",
    "has x and (not `exists` = 1) and name like 'a%' and (not name like 'b_')",
    "~ 'two words' and card ~ 'it''s'",
    "ancestor of 'a' or parent of 'b@3' or child of 'c~1' or derived from 'cafecafe'",
    "runs on 1 GHz within 20 ms",
    "accuracy on 'cats and dogs' >= 0.5",
    "time >= '2026-11-01' and latency < 1.5 ms and loss = 'nan'",
    "order by loss, time desc",
    "limit 3",
]

PIECES = [
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
    "of",
    "parent",
    "child",
    "runs",
    "on",
    "within",
    "order",
    "by",
    "asc",
    "desc",
    "limit",
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    "==",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "~",
    "!~",
    "≤",
    "'",
    '"',
    "`",
    "'a",
    "b'",
    '"c"',
    "`d`",
    "1",
    "-2.5e3",
    "100MB",
    "20",
    "ms",
    "1GHz",
    "90%",
    "1e999",
    "nan",
    "name",
    "val/accuracy",
    "task",
    "object",
    "detection",
    "model",
    "dataset",
    "with",
    "accuracy",
    "memory",
    "footprint",
    "at",
    "least",
    "best",
    "newest",
    "since",
    "2026-11-01",
    "é",
    "\x1b[31m",
    "<b>",
    ";",
    "--",
    "\t",
    "\n",
    "%s",
]


@pytest.mark.parametrize("text", QUERIES)
def test_a_query_is_written_as_it_is_read(text: str) -> None:
    """What a query is shown as parses to a query that is shown the same."""
    shown = str(parse(text))
    assert str(parse(shown)) == shown


def test_the_structure_of_a_query() -> None:
    """``and`` binds more closely than ``or``, ``not`` most closely, and parentheses decide."""
    a, b, c = (ex.Has(ex.Field(name)) for name in "abc")
    assert parse("has a or has b and has c").condition == ex.Either((a, ex.Both((b, c))))
    assert parse("(has a or has b) and has c").condition == ex.Both((ex.Either((a, b)), c))
    assert parse("not has a and has b").condition == ex.Both((ex.Not(a), b))
    assert parse("HAS a AND b EXISTS").condition == ex.Both((a, b))


def test_numbers_have_units() -> None:
    """A number and its unit are read in base units, with a space between them or not."""
    for text in ("m < 100MB", "m < 100 MB", "m < 100\tmb"):
        condition = parse(text).condition
        assert isinstance(condition, ex.Compare)
        assert condition.value.quantity == (1e8, "bytes")


def test_words_of_the_language_are_quoted_to_be_names() -> None:
    """A field that is called like a keyword stands in backquotes, a value in quotes."""
    condition = parse("`order` = 'and'").condition
    assert condition == ex.Compare(ex.Field("order"), "=", ex.Value("and"))
    assert str(condition) == "`order` = 'and'"


@pytest.mark.parametrize(
    ("text", "marked", "said"),
    [
        ("a > 0.9 adn b < 3", "adn", "did you mean 'and'?"),
        ("a > ", " ", None),
        ("a > 1 and (b < 2", "", None),
        ("limit 1.5", "1.5", None),
        ("a = 'x", "'", "close it, or double it"),
        ("a ! b", "!", None),
        ("runs on 5MB", "5MB", "write: runs on 1GHz within 20ms"),
        ("order = 1", "=", None),
        ("a > 1e999", "1e999", None),
        ("a = 1 order by and", "and", "'and' is a word of the language: as a name write `and`"),
    ],
)
def test_an_error_has_its_place(text: str, marked: str, said: str | None) -> None:
    """The place that is not understood is marked, and what may have been meant is said."""
    with pytest.raises(QueryError) as refused:
        parse(text)
    error = refused.value
    assert text[error.start : error.stop].strip() == marked.strip()
    if said is not None:
        assert error.hint == said


def test_an_error_says_what_was_expected() -> None:
    """What could have stood in the place is named in words that people use."""
    with pytest.raises(QueryError, match="'c' stands where") as refused:
        parse("a in [b c]")
    assert refused.value.message == "'c' stands where a comma or ] was expected"


def test_a_search_is_bounded() -> None:
    """A text that is too long, too deep or no text at all is refused at once."""
    for text in ("a = 1 " * MAX_TEXT, "(" * 51 + "has a" + ")" * 51, "not " * 51 + "has a"):
        with pytest.raises(QueryError):
            parse(text)
    for text in ("a = '\ud800'", "a = '\0'"):
        with pytest.raises(QueryError, match="a character that is no text"):
            parse(text)


def read(text: str) -> ex.Query | None:
    """The query that a text is, or None when it is refused in every language."""
    for language in (parse, lambda other: understand(other)[0]):
        try:
            return language(text)
        except QueryError as error:
            place = slice(error.start, error.stop)
            if not 0 <= place.start <= place.stop <= len(text) + 1:
                raise
    return None


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text does anything but give a query or an error with a place in it."""
    query = read(text)
    if query is not None:
        assert str(parse(str(query))) == str(query)


def test_ten_thousand_texts_are_read_or_refused() -> None:
    """Nothing that is put together from pieces of both languages does anything else."""
    rng = random.Random(17)
    understood = 0
    for _ in range(10_000):
        text = " ".join(rng.choices(PIECES, k=rng.randint(1, 9)))
        query = read(text)
        understood += query is not None
        if query is not None and understood % 10 == 0:
            assert str(parse(str(query))) == str(query), text
    assert understood > 1000
