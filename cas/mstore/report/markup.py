"""HTML and SVG as values: text is escaped unless it is ``Markup`` already.

``Markup`` comes out of ``escape``, ``tag`` and ``join`` and out of nothing else, so text of a store
can reach a page through ``escape`` alone. mypy tells the two apart, and so does the type at run
time.
"""

import html
from collections.abc import Iterable

_VOID = frozenset({"br", "col", "hr", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = None | str | int | Iterable["Child"]
"""What may stand in an element: markup as it is, other text escaped, nothing for None."""
Attribute = None | bool | int | float | str


def escape(text: str) -> Markup:
    """Any text as HTML, inert between tags and in quoted attributes.

    Characters that are not printable are shown as escapes, among them those that steer terminals
    and those that turn the direction of writing; line breaks stay.
    """
    shown = (c if c.isprintable() or c == "\n" else _visible(c) for c in text)
    return Markup(html.escape("".join(shown), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element. Attributes are written with "_" for "-" and with one at the end for keywords.

    True gives an attribute without a value; None and False give none at all.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Children one after another."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return escape(str(children))
    return Markup("".join(join(child) for child in children))


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
