"""``mstore plan``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mstore_cli import render
from mstore_cli.commands.archive import terms_of, terms_options, text_of
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.archive import ArchiveReport


@verb(
    "plan",
    "mstore plan --graph plan.json",
    "mstore plan lenet@1 lenet@2 --alpha 2 --graph plan.json",
)
@click.argument("revisions", metavar="[REV]...", nargs=-1, type=Revision())
@click.option(
    "--graph",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the JSON.",
)
@click.option("--force", is_flag=True, help="Replace what stands there.")
@terms_options
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    graph: Path,
    force: bool,
    **asked: Any,  # noqa: ANN401 (as the options give them)
) -> None:
    """Write the storage graph of an archive, and the plan over it, as JSON.

    Vertices are tensors, named as 'mstore cat' takes them; edges are the ways to keep them, groups
    are versions. For people who want to solve it by other means.
    """
    result = run.store().plan(graph, revisions, terms=terms_of(asked), force=force)
    if run.as_json:
        render.write_json({"path": str(graph.absolute()), **render.jsonable(result)})
    else:
        render.write(_text(graph, result))


def _text(graph: Path, report: "ArchiveReport") -> Iterator[render.Part]:
    yield from text_of(report)
    yield f"written to {graph}"
