"""One run of a command: which store, and how its answer is printed."""

import functools
import getpass
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from mstore_cli import render

if TYPE_CHECKING:
    from mstore import Store

Result = TypeVar("Result")


class Run(NamedTuple):
    """What every command is given: the store asked for, and whether JSON is wanted."""

    place: Path | None
    as_json: bool

    def store(self) -> "Store":
        """Open the store (see ``place``)."""
        from mstore_cli.place import open_store  # noqa: PLC0415 (only when a store is needed)

        return open_store(self.place)

    @property
    def author(self) -> str:
        """Who is working: ``$MSTORE_AUTHOR``, else the login name, else nobody."""
        named = os.environ.get("MSTORE_AUTHOR")
        if named is not None:
            return named
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return ""

    def answer(
        self, result: Result, text: Callable[[Result], Iterable[render.Part]], **named: object
    ) -> None:
        """Print the result: as the lines of ``text``, or as JSON.

        The object is ``named`` when given, else the fields of ``result``.
        """
        if self.as_json:
            render.write_json(render.jsonable(named or result))
        else:
            render.write(text(result))


class BriefHelp(click.Command):
    """A command that answers to ``-h`` too, in whatever context it is asked."""

    def get_help_option_names(self, _: click.Context) -> list[str]:
        """Give both names."""
        return ["-h", "--help"]


class Command(BriefHelp):
    """A command whose help ends with examples."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they would be typed."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
    """Write commands as they would be typed, none of them wrapped."""
    with formatter.section("Example"):
        for line in examples:
            formatter.write(f"  {line}\n")


def verb(name: str, *examples: str) -> Callable[[Callable[..., int | None]], Command]:
    """Make a command of a function ``(run, …)``, with ``--store``, ``--json`` and examples.

    What the function returns is the exit code; None is 0.
    """

    def wrap(function: Callable[..., int | None]) -> Command:
        @click.pass_context
        @functools.wraps(function)
        def call(
            context: click.Context,
            /,
            *,
            store: Path | None,
            as_json: bool,
            **given: Any,  # noqa: ANN401 (the command's own options)
        ) -> int | None:
            above: Mapping[str, Any] = context.obj or {}
            place = store or above.get("store")
            return function(Run(place, as_json or above.get("as_json", False)), **given)

        made = click.command(name, cls=Command)(_STORE(_JSON(call)))
        made.examples = examples
        # A person looks for the command's own options first.
        made.params = made.params[2:] + made.params[:2]
        return made

    return wrap


_STORE = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The store to work on.",
)
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
)
