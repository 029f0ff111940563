"""Text becomes HTML in one place, and cannot become anything else."""

import html
from html.parser import HTMLParser
from importlib import resources

from hypothesis import given
from hypothesis import strategies as st

from mstore.report.frame import Head, Section, page
from mstore.report.markup import Markup, escape, join, tag


class Seen(HTMLParser):
    """The elements and the text of a page, as a parser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, text: str) -> None:
        """Keep a text."""
        self.texts.append(text)


@given(st.text())
def test_text_stays_text(text: str) -> None:
    """No text is markup, as a child or as an attribute, and every printable one comes back."""
    seen = Seen(tag("p", text, title=text))
    assert seen.tags == ["p"]
    shown = "".join(seen.texts)
    assert seen.attributes == [("title", shown)]
    assert all(character.isprintable() or character == "\n" for character in shown)
    if all(character.isprintable() for character in text):
        assert shown == text


@given(st.lists(st.text()))
def test_only_markup_passes_as_it_is(texts: list[str]) -> None:
    """Text is escaped once, markup never."""
    made = [escape(text) for text in texts]
    assert join(made) == join(texts) == join([join(made)])


def test_attributes_of_no_value() -> None:
    """True is an attribute alone, None and False are none, "_" is "-"."""
    made = tag("input", hidden=True, value=None, checked=False, aria_label="a", class_="b", x=0.5)
    assert made == '<input hidden aria-label="a" class="b" x="0.5">'


def test_a_page_forbids_everything_but_its_own_parts() -> None:
    """The policy names the hashes of the page's style and script, and nothing from elsewhere."""
    text = page(Head("kind", "title"), [Section("a", "A", "body")])
    policy = html.unescape(text.partition('Policy" content="')[2].partition('"')[0])
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_style_and_script_cannot_end_early() -> None:
    """Nothing in the style or the script closes its element or opens a comment in it."""
    for name in ("page.css", "page.js"):
        text = resources.files("mstore.report").joinpath(name).read_text(encoding="utf-8").lower()
        assert "</" not in text
        assert "<!--" not in text
        assert "innerhtml" not in text


def test_markup_is_made_by_hand_nowhere_else() -> None:
    """No module of the pages but ``markup`` and ``frame`` calls text markup."""
    folder = resources.files("mstore.report")
    users = {
        item.name
        for item in folder.iterdir()
        if item.name.endswith(".py") and "Markup(" in item.read_text(encoding="utf-8")
    }
    assert users == {"markup.py", "frame.py"}
    assert isinstance(escape("a"), Markup)
