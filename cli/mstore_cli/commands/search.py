"""``mstore search``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.run import Run, verb
from mstore_cli.texts import lacking, tell

if TYPE_CHECKING:
    from mstore.catalog.reports import Column, Match, SearchReport

SHOWN = frozenset({"name", "number", "state", "size", "message", "id"})
"""Fields that every match is shown with."""


@verb(
    "search",
    "mstore search \"task = 'object-detection' and val/accuracy > 0.9 and memory < 100MB\"",
    'mstore search "derived from resnet18 order by val/accuracy desc limit 5"',
    'mstore search "image classification model on imagenet with accuracy above 75%"',
)
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--explain", is_flag=True, help="Show how the text is read, and what each part finds."
)
def command(run: Run, *, text: tuple[str, ...], explain: bool) -> None:
    """Find versions by what is known of them.

    TEXT is a query, as in the examples, or plain English. Versions that lack a value which would
    decide are listed apart.
    """
    report = run.store().search(" ".join(text), explain=explain)
    if not run.as_json:
        tell(report.notices)
    run.answer(report, _text)


def _text(report: "SearchReport") -> Iterator[render.Part]:
    if report.language != "query" or report.steps:
        yield f"parsed: {report.query}"
    if report.not_understood:
        yield f"not understood: {', '.join(map(repr, report.not_understood))}"
    yield from report.remarks
    if report.matches:
        yield _table(report)
    shown = "" if len(report.matches) == report.total else f", {len(report.matches)} shown"
    yield f"{render.count(report.total, 'match')} among {report.searched:,}{shown}"
    yield from lacking(report.lacking)
    for step in report.steps:
        yield ""
        yield f"{'  ' * step.depth}{step.condition}: true {step.true:,}, not known {step.unknown:,}"
        yield from (f"{'  ' * step.depth}  {line}" for line in (step.query, *step.plan) if line)


def _table(report: "SearchReport") -> render.Table:
    columns = [column for column in report.columns if column.name not in SHOWN]
    headers = ("VERSION", "HASH", "STATE", "SIZE", "TIME", *(c.name for c in columns), "MESSAGE")
    rows = [(*_cells(match), *_values(match, columns), _message(match)) for match in report.matches]
    return render.Table(headers, rows, frozenset({"SIZE"}))


def _cells(match: "Match") -> tuple[str, ...]:
    label = match.name if match.number is None else f"{match.name}@{match.number}"
    state = "" if match.state == "kept" else match.state
    size, time = render.size(match.size_bytes), render.local_time(match.time)
    return label, render.short(match.version), state, size, time


def _values(match: "Match", columns: "list[Column]") -> Iterator[str]:
    from mstore.units import format_quantity  # noqa: PLC0415 (only once there is a match)

    for column in columns:
        value = match.values.get(column.name, "")
        several = value if isinstance(value, list) else [value]
        yield ", ".join(
            format_quantity(one, column.unit, 6) if isinstance(one, int | float) else str(one)
            for one in several
        )


def _message(match: "Match") -> str:
    return render.first_line(match.message)
