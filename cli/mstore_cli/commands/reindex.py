"""``mstore reindex``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mstore_cli import render
from mstore_cli.run import Run, verb
from mstore_cli.texts import tell

if TYPE_CHECKING:
    from mstore.catalog.catalogue import ReindexReport


@verb("reindex", "mstore reindex")
def command(run: Run) -> None:
    """Make the catalogue anew, which searches are answered from.

    It is brought up to date by itself; this is for whoever doubts it.
    """
    report = run.store().reindex()
    if not run.as_json:
        tell(report.notices)
    run.answer(report, _text)


def _text(report: "ReindexReport") -> Iterator[render.Part]:
    counted = (
        render.count(report.names, "name"),
        render.count(report.versions, "version"),
        render.count(report.metrics, "metric"),
        render.count(report.tensors, "tensor"),
    )
    yield f"{report.place}: {', '.join(counted)} in {report.seconds:.1f} s"
