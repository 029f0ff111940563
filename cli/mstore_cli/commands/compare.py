"""``mstore compare``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.drawing import number
from mstore_cli.html import html_options, write_page
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.objects import Value
    from mstore.ops.compare import Comparison, Result, Setting


@verb(
    "compare", "mstore compare lenet@1 lenet@2", "mstore compare a b c --on cifar10 --html out.html"
)
@click.argument("revisions", metavar="REV...", nargs=-1, required=True, type=Revision())
@click.option("--on", "dataset", metavar="DATASET", help="Only what was measured on this data set.")
@html_options
def command(
    run: Run, *, revisions: tuple[str, ...], dataset: str | None, html: Path | None, force: bool
) -> None:
    """Show versions beside each other: metrics by data set, parameters, sizes.

    The best value of each row is marked; less is better of a loss, an error or a perplexity.
    """
    found = run.store().compare(*revisions, dataset=dataset)
    page = write_page(html, lambda: _page(found), force=force)
    run.answer(found, lambda found: _text(found, page), **_fields(found), html=page)


def _page(found: "Comparison") -> str:
    from mstore.report.pages import compare_page  # noqa: PLC0415 (only when a page is wanted)

    return compare_page(found)


def _fields(found: "Comparison") -> dict[str, object]:
    fields: dict[str, object] = render.jsonable(found)
    return fields


def _text(found: "Comparison", page: str | None) -> Iterator[render.Part]:
    labels = [version.label for version in found.versions]
    numbers = frozenset(labels)
    yield render.Table(("", *labels), list(_sizes(found)), numbers)
    if found.results:
        yield ""
        yield render.Table(
            ("METRIC", "DATASET", *labels), list(map(_result, found.results)), numbers
        )
        if any(result.best for result in found.results):
            yield f"{render.BEST} best of its row"
    different = [setting for setting in found.settings if setting.differs]
    if different:
        yield ""
        yield render.Table(("PARAMETER", *labels), list(map(_setting, different)))
    same = [setting for setting in found.settings if not setting.differs]
    if same:
        yield ""
        yield "the same: " + ", ".join(f"{s.name} = {_said(s.values[0])}" for s in same)
    if page:
        yield f"written to {page}"


def _sizes(found: "Comparison") -> Iterator[Sequence[str]]:
    versions = found.versions
    yield "params", *(f"{each.parameter_count:,}" for each in versions)
    yield "size", *(render.size(each.size_bytes) for each in versions)
    yield "tensors", *(str(each.tensors) for each in versions)
    yield "time", *(render.local_time(each.time) for each in versions)
    yield "hash", *(render.short(each.id) for each in versions)


def _result(result: "Result") -> Sequence[str]:
    cells = (_value(value, is_best=at in result.best) for at, value in enumerate(result.values))
    return result.metric, result.dataset, *cells


def _value(value: float | None, *, is_best: bool) -> str:
    if value is None:
        return "-"
    return render.Strong(f"{render.BEST} {number(value)}") if is_best else number(value)


def _setting(setting: "Setting") -> Sequence[str]:
    return setting.name, *map(_said, setting.values)


def _said(value: "Value") -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else render.compact(value)
