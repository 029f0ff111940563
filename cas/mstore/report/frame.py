"""The page around the sections: head, navigation, style and script."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from mstore.report.markup import Child, Markup, join, tag


class Section(NamedTuple):
    """A part of a page; ``anchor`` is its address in it."""

    anchor: str
    title: str
    body: Child
    tally: str = ""


class Head(NamedTuple):
    """What a page begins with."""

    kind: str
    title: str
    under: Child = None
    message: str = ""


def page(head: Head, sections: Sequence[Section]) -> str:
    """A whole page as text: it asks nothing of anyone, and forbids what it has not itself."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{head.title} · {head.kind}"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        _header(head, sections),
        tag("main", map(_section, sections), id="content", tabindex="-1"),
        tag("footer", tag("p", "Made by mstore. The page holds all that it shows.")),
        tag("script", script),
    )
    return join([Markup("<!doctype html>\n"), tag("html", top, body, lang="en"), Markup("\n")])


def _header(head: Head, sections: Sequence[Section]) -> Markup:
    links = [tag("li", tag("a", part.title, href=f"#{part.anchor}")) for part in sections]
    button = tag("button", "Dark colours", type="button", class_="theme", hidden=True)
    return tag(
        "header",
        tag("p", head.kind, class_="kind"),
        tag("div", tag("h1", head.title), button, class_="line"),
        tag("p", head.under, class_="under") if head.under else None,
        tag("p", head.message, class_="message") if head.message else None,
        tag("nav", tag("ul", links), aria_label="Sections") if len(links) > 1 else None,
    )


def _section(part: Section) -> Markup:
    count = tag("span", part.tally, class_="count") if part.tally else None
    title = tag("h2", part.title, count, id=f"{part.anchor}-title")
    return tag("section", title, part.body, id=part.anchor, aria_labelledby=f"{part.anchor}-title")


@cache
def _asset(name: str) -> Markup:
    """A part of this package. A test holds that it cannot end its element early."""
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256-{digest.decode()}"
