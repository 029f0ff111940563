"""What the command line says when something goes wrong, and the exit code it leaves with.

Errors that mstore raises on purpose, those of the operating system, an interruption and a wrong
command line are said in two lines without a traceback. Anything else is a bug and shows one.
"""

import difflib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import click

INTERRUPTED = 130

Found = TypeVar("Found")

EXIT_CODES = {
    "MstoreError": 1,
    "InvalidInputError": 2,
    "UsageError": 2,
    "NotFoundError": 3,
    "FileNotFoundError": 3,
    "ExistsError": 4,
    "ConflictError": 4,
    "CorruptError": 5,
    "UnsupportedError": 6,
    "StorageError": 7,
    "OSError": 7,
    "Abort": INTERRUPTED,
}
"""Exit code by the name of the error's class, or of the nearest class above it.

By name, because looking a code up must not import the library.
"""


HINTS = {
    "NotFoundError": "see what there is: mstore list",
    "ExistsError": "choose another place or name",
    "ConflictError": "look again, then run it again",
    "CorruptError": "look at the file; for the store itself: mstore fsck",
    "UnsupportedError": "a newer mstore may know it",
    "InvalidInputError": "see the command's --help",
    "StorageError": "look at the disk and its permissions, then run it again",
    "MstoreError": "run: mstore fsck",
}
"""What to do next, by the name of the error's class, where the error itself does not say."""


class UnknownCommandError(click.UsageError):
    """There is no such command; ``possibilities`` are those that are spelled nearly so."""

    def __init__(self, name: str, known: Iterable[str], ctx: click.Context) -> None:
        super().__init__(f"no such command '{name}'", ctx)
        self.possibilities = difflib.get_close_matches(name, known)


def expected() -> tuple[type[BaseException], ...]:
    """Give the errors that are reported, not traced; imports the library only when asked."""
    from mstore.errors import MstoreError  # noqa: PLC0415 (only once something has failed)

    return (MstoreError, OSError, click.ClickException, click.Abort, KeyboardInterrupt)


def exit_code(error: BaseException) -> int:
    """Give the exit code that belongs to ``error``."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return _nearest(EXIT_CODES, error, 1)


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what failed and what to do next; give the exit code.

    With ``as_json`` one object goes to stdout and nothing anywhere else (docs/json.md).
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        error.show()
        return exit_code(error)
    kind, message, hint = describe(error)
    if as_json:
        text = json.dumps({"error": {"kind": kind, "message": message, "hint": hint}})
        click.echo(text)
        return exit_code(error)
    click.echo(f"mstore: {plain(message)}", err=True)
    for line in marked(error):
        click.echo(line, err=True)
    if hint:
        click.echo(f"hint: {plain(hint)}", err=True)
    return exit_code(error)


MARKED = 60
"""Characters before and after the place that is marked in a text."""


def marked(error: BaseException) -> Iterator[str]:
    """Give the text that an error is about and a line of carets under the place, if it has one."""
    text, start, stop = (getattr(error, name, None) for name in ("text", "start", "stop"))
    if not isinstance(text, str) or not isinstance(start, int) or not isinstance(stop, int):
        return
    before, found = plain(text[:start])[-MARKED:], plain(text[start:stop])[:MARKED]
    yield f"  {before}{found}{plain(text[stop:])[:MARKED]}"
    yield f"  {' ' * len(before)}{'^' * max(1, len(found))}"


def describe(error: BaseException) -> tuple[str, str, str | None]:
    """Give the stable code, the message and the hint of an error."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted", "interrupted", "nothing half done is kept; run it again"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return "usage", "no command given", _usage_hint(error)
    if isinstance(error, click.ClickException):
        return "usage", _sentence(error), _usage_hint(error)
    if isinstance(error, OSError):
        return _describe_os_error(error)
    hint = getattr(error, "hint", None) or _nearest(HINTS, error, "")
    return str(getattr(error, "kind", "error")), str(error), hint


def plain(text: str) -> str:
    """Escape what could steer a terminal or what stdout cannot encode; keep everything else."""
    if text.isprintable():
        return text
    kept = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(kept)


def hush() -> int:
    """Point stdout at nothing, so that the reader's leaving is not reported again at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return 1


def _nearest(table: Mapping[str, Found], error: BaseException, default: Found) -> Found:
    """Look up the error's class, or the nearest class above it that the table has."""
    names = (ancestor.__name__ for ancestor in type(error).__mro__)
    return next((table[name] for name in names if name in table), default)


def _sentence(error: click.ClickException) -> str:
    message = str(getattr(error, "message", "")) if _has_guesses(error) else error.format_message()
    words = " ".join(message.split()).rstrip(".")
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def _has_guesses(error: click.ClickException) -> bool:
    return bool(getattr(error, "possibilities", None))


def _usage_hint(error: click.ClickException) -> str | None:
    if _has_guesses(error):
        guesses = ", ".join(f"'{guess}'" for guess in getattr(error, "possibilities", []))
        return f"did you mean {guesses}?"
    context = getattr(error, "ctx", None)
    return f"see '{context.command_path} --help'" if context is not None else None


def _describe_os_error(error: OSError) -> tuple[str, str, str | None]:
    reason = (error.strerror or str(error)).lower()
    subject = f" '{os.fsdecode(error.filename)}'" if isinstance(error.filename, str | bytes) else ""
    kind = "not-found" if isinstance(error, FileNotFoundError) else "storage"
    return kind, f"{reason}{subject}", "look at the path, its permissions and the space left"
