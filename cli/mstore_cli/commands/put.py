"""``mstore put``."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mstore_cli import render
from mstore_cli.allocation import keep_freed_memory
from mstore_cli.parameters import Metric, ModelName, Pair, Revision, Seed, collect
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


def read_paths(
    _: click.Context, param: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Notice a model's name among the paths, where ``git tag`` and its like have it."""
    del param
    missing = [path for path in paths if not os.path.lexists(path)]
    if len(missing) == 1 < len(paths):
        from mstore.errors import NotFoundError  # noqa: PLC0415 (only once something is amiss)

        message = f"no file or folder '{missing[0]}'"
        hint = f"look at the path; a model's name is given as --name {missing[0]}"
        raise NotFoundError(message, hint=hint)
    return paths


def read_datasets(
    _: click.Context, param: click.Parameter, words: tuple[str, ...]
) -> dict[str, Path | None]:
    """Tell the names of data sets from their paths; each name once."""
    if not words:
        return {}
    from mstore.ops.datasets import split_dataset  # noqa: PLC0415 (only when there are any)

    return collect(_, param, map(split_dataset, words))


def read_file(_: click.Context, param: click.Parameter, path: Path | None) -> dict[str, Any] | None:
    """Read what a file says of the version."""
    if path is None:
        return None
    from mstore.errors import InvalidInputError  # noqa: PLC0415 (only with a file)
    from mstore.ops.description_file import read_description  # noqa: PLC0415 (as above)

    try:
        return read_description(path)
    except InvalidInputError as error:
        raise click.BadParameter(str(error), param=param) from error


@verb(
    "put",
    "mstore put lenet.safetensors",
    "mstore put out/ --name team/lenet -m 'epoch 3' --param lr=0.1 --metric val/accuracy=0.98",
    "mstore put tuned.safetensors --name lenet-cats --parent lenet@3 --relation fine-tuned",
    "mstore put out/ --log out/trainer_state.json --dataset train=data/train --seed torch=1",
)
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    callback=read_paths,
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
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME[=PATH]",
    callback=read_datasets,
    help="What it was trained on; files at PATH are hashed. May be repeated.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A training log to keep as series of numbers. May be repeated.",
)
@click.option(
    "--seed", "seeds", multiple=True, type=Seed(), callback=collect, help="A seed. May be repeated."
)
@click.option(
    "--no-capture",
    is_flag=True,
    help="Do not take down the code, the machine and the packages; also $MSTORE_CAPTURE=0.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag for this version.")
@click.option("--task", default="", metavar="TEXT", help="What the model is for.")
@click.option(
    "--meta",
    metavar="FILE",
    callback=read_file,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON, YAML or TOML file: known fields, such as metrics, are the version's own.",
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
    no_capture: bool,
    meta: dict[str, Any] | None,
    **said: Any,  # noqa: ANN401 (every other option goes to Store.put under its own name)
) -> None:
    """Store files or a folder as the next version of a model.

    What the store already holds takes no space again. Files that are unchanged make no new
    version. Several PATHs are stored together as one folder.
    """
    keep_freed_memory()
    if meta is not None:
        said = _with_file(meta, {**said, "author": author})
        author = said.pop("author")
    store = run.store()
    with progress("put") as report:
        result = store.put(
            paths,
            author=run.author if author is None else author,
            parents=list(parents) or None,
            capture=False if no_capture else None,
            progress=report,
            **said,
        )
    run.answer(result, put_text)


def _with_file(meta: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What a file says of the version, and what the command line says, which counts more."""
    both = dict(said)
    for name, value in meta.items():
        given = said.get(name)
        if isinstance(value, dict):
            both[name] = {**value, **(given or {})}
        elif isinstance(value, list):
            both[name] = [*value, *(given or ())]
        else:
            both[name] = given or value
    return both


def put_text(result: "PutResult") -> Iterator[render.Part]:
    """Give ``NAME@N HASH`` and what it took."""
    yield f"{result.name}@{result.number} {result.version}"
    if result.unchanged:
        yield "unchanged: no new version was made (--always makes one)"
        yield from (f"note: {remark}" for remark in result.remarks)
        return
    yield (
        f"{render.count(result.tensors, 'tensor')} in {render.count(result.files, 'file')}, "
        f"{render.size(result.size_bytes)}; {render.size(result.new_bytes)} new, "
        f"{render.size(result.stored_bytes)} stored{share(result)}"
    )
    if result.tags:
        yield f"tagged {', '.join(result.tags)}"
    yield from (f"note: {remark}" for remark in result.remarks)


def share(result: "PutResult") -> str:
    """What was stored of the files' bytes, and how many tensors as differences."""
    if not result.size_bytes:
        return ""
    percent = f"{100 * result.stored_bytes / result.size_bytes:.1f} %"
    deltas = f", {render.count(result.deltas, 'delta')}" if result.deltas else ""
    return f" ({percent}{deltas})"
