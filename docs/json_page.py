"""Write docs/json.md from the schemas that the tests use: ``python docs/json_page.py``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("json.md")
SCHEMAS = PAGE.parent.parent / "tests" / "cli" / "schemas"
ID, TIME = "^[0-9a-f]{64}$", "T"
OPENING = """\
# What `--json` prints

Made by `python docs/json_page.py` from `tests/cli/schemas/`, which the tests hold against every
command.

With `--json` a command prints one object on one line, and nothing else on stdout. A command that
fails prints the object `error` in its place, nothing on stderr, and has the same exit code as
without `--json`.

* An **id** is 64 lower-case hex digits.
* A **time** is ISO 8601 in UTC with six decimals, such as `2026-11-22T22:14:46.123456Z`: nothing of
  the stored microseconds is lost, and times sort as text.
* Sizes are bytes. Fields that end in `_bytes` are whole numbers.
* Numbers that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`.
* Fields may be added; none changes its meaning or goes away within format version 1.
"""


def type_name(schema: dict[str, Any]) -> str:
    """What a field holds, in a word or two."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(type_name(choice) for choice in schema["anyOf"])
    named = {"string": _text_name(schema.get("pattern", "")), "integer": "whole number"}
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {type_name(schema['items'])}"
    if kind == "object" and "properties" not in schema:
        return "object of any keys"
    return named.get(kind, kind)


def _text_name(pattern: str) -> str:
    if pattern == ID:
        return "id"
    return "time" if TIME in pattern else "text"


def rows(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """One row for each field, those inside others after them."""
    for choice in schema.get("anyOf", []):
        yield from rows(choice, prefix)
    if "items" in schema:
        yield from rows(schema["items"], f"{prefix}[]")
    for name, inner in schema.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield f"| `{path}` | {type_name(inner)} | {inner.get('description', '')} |"
        yield from rows(inner, path)


def section(path: Path) -> str:
    """The table of one command."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    table = "\n".join(dict.fromkeys(rows(schema)))
    title = schema["title"]
    opening = f"{title[:1].upper()}{title[1:]}."
    return f"## {path.stem}\n\n{opening}\n\n| field | type | meaning |\n|---|---|---|\n{table}\n"


def page() -> str:
    """The whole page."""
    sections = [section(path) for path in sorted(SCHEMAS.glob("*.json"))]
    return "\n".join([OPENING, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
