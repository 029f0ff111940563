"""``mstore put``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mstore_cli import render
from mstore_cli.allocation import keep_freed_memory
from mstore_cli.parameters import Metric, ModelName, Pair, Revision, collect
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.put import PutResult

RELATIONS = (
    "derived",
    "trained",
    "fine-tuned",
    "merged",
    "quantised",
    "sliced",
    "converted",
    "stripped",
    "reverted",
    "copied",
)
"""Those of mstore.objects.Relation, written out so that --help need not import it."""
POLICIES = ("raw", "auto", "small")
"""Those of mstore.ops.encoding.Policy, likewise."""


def read_metadata(
    _: click.Context, param: click.Parameter, path: Path | None
) -> dict[str, Any] | None:
    """Read the JSON object in the file."""
    if path is None:
        return None
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        message = f"'{path}' is not JSON: {error}"
        raise click.BadParameter(message, param=param) from error
    if not isinstance(value, dict):
        message = f"'{path}' holds no JSON object"
        raise click.BadParameter(message, param=param)
    return value


@verb(
    "put",
    "mstore put lenet.safetensors",
    "mstore put out/ --name team/lenet -m 'epoch 3' --param lr=0.1 --metric val/accuracy=0.98",
    "mstore put tuned.safetensors --name lenet-cats --parent lenet@3 --relation fine-tuned",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--name", type=ModelName(), help="The model; else the path's own name.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What is new in this version.")
@click.option(
    "--parent",
    "parents",
    multiple=True,
    type=Revision(),
    help="Where it came from; else the version before. May be repeated.",
)
@click.option(
    "--relation",
    type=click.Choice(RELATIONS),
    default="derived",
    help="How it came from its parents.",
    show_default=True,
)
@click.option(
    "--param",
    "params",
    multiple=True,
    type=Pair(),
    callback=collect,
    help="A parameter of the training; the value is a JSON scalar, else text. May be repeated.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=Metric(),
    callback=collect,
    help="A result, as a number. May be repeated.",
)
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="What it was trained on."
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag for this version.")
@click.option("--task", default="", metavar="TEXT", help="What the model is for.")
@click.option(
    "--meta",
    "metadata",
    metavar="FILE",
    callback=read_metadata,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with one JSON object to keep with the version.",
)
@click.option(
    "--author", metavar="TEXT", help="Who stores it; else $MSTORE_AUTHOR, else your login name."
)
@click.option(
    "--codec",
    type=click.Choice(POLICIES),
    default="auto",
    help="How tensors are stored: raw can be mapped, small takes the longest.",
    show_default=True,
)
@click.option("--always", is_flag=True, help="Make a version even when nothing changed.")
@click.option("--follow", is_flag=True, help="Store what symbolic links point at.")
def command(
    run: Run,
    *,
    paths: tuple[Path, ...],
    author: str | None,
    parents: tuple[str, ...],
    **said: Any,  # noqa: ANN401 (every other option goes to Store.put under its own name)
) -> None:
    """Store files or a folder as the next version of a model.

    What the store already holds takes no space again. Files that are unchanged make no new
    version. Several PATHs are stored together as one folder.
    """
    keep_freed_memory()
    store = run.store()
    with progress("put") as report:
        result = store.put(
            paths,
            author=run.author if author is None else author,
            parents=list(parents) or None,
            progress=report,
            **said,
        )
    run.answer(result, put_text)


def put_text(result: "PutResult") -> Iterator[render.Part]:
    """Give ``NAME@N HASH`` and what it took."""
    yield f"{result.name}@{result.number} {result.version}"
    if result.unchanged:
        yield "unchanged: no new version was made (--always makes one)"
        return
    yield (
        f"{render.count(result.tensors, 'tensor')} in {render.count(result.files, 'file')}, "
        f"{render.size(result.size_bytes)}; {render.size(result.new_bytes)} new, "
        f"{render.size(result.stored_bytes)} stored{share(result)}"
    )
    if result.tags:
        yield f"tagged {', '.join(result.tags)}"


def share(result: "PutResult") -> str:
    """What was stored of the files' bytes, and how many tensors as differences."""
    if not result.size_bytes:
        return ""
    percent = f"{100 * result.stored_bytes / result.size_bytes:.1f} %"
    deltas = f", {render.count(result.deltas, 'delta')}" if result.deltas else ""
    return f" ({percent}{deltas})"
