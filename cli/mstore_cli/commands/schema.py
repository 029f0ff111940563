"""``mstore schema``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.run import BriefHelp, Run, verb, write_examples

if TYPE_CHECKING:
    from mstore.schema import Schema


@verb("set", "mstore schema set fields.toml")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def set_(run: Run, *, file: Path) -> None:
    """Let the fields in FILE hold for every put from now on."""
    store = run.store()
    store.set_schema(file, author=run.author)
    run.answer(store.schema(), _text, **_fields(store.schema()))


@verb("show", "mstore schema show")
def show(run: Run) -> None:
    """Show the fields that put holds values against, the team's first."""
    schema = run.store().schema()
    run.answer(schema, _text, **_fields(schema))


def _fields(schema: "Schema") -> dict[str, object]:
    return {"fields": schema.fields}


def _text(schema: "Schema") -> Iterator[render.Part]:
    from mstore.schema import described  # noqa: PLC0415 (only when fields are shown)

    rows = [
        (
            field.name,
            described(field),
            field.unit,
            field.direction,
            "yes" if field.required else "",
            "built in" if field.built_in else "schema",
            field.description,
        )
        for field in schema.fields
    ]
    yield render.Table(
        ("FIELD", "VALUE", "UNIT", "BETTER", "REQUIRED", "FROM", "DESCRIPTION"), rows
    )


class SchemaGroup(BriefHelp, click.Group):
    """Both commands; the help ends with an example as that of every command does."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples of both."""
        write_examples(formatter, [*set_.examples, *show.examples])


command = SchemaGroup(
    "schema", [set_, show], help="Say what the fields of a version mean: type, unit, range."
)
