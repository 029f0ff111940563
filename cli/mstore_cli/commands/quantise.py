"""``mstore quantise``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import ModelName, Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.numerics.schemes import Codebook, Rounding
    from mstore.ops.quantise import QuantiseReport

ROUNDINGS = ("nearest", "random")
"""Those of mstore.numerics.schemes.Rounding, written out so that --help need not import it."""
CODEBOOKS = ("uniform", "random")
"""Those of mstore.numerics.schemes.Codebook, likewise."""


@verb(
    "quantise",
    "mstore quantise lenet --to bf16 --dry-run",
    "mstore quantise lenet --to int8 --per-channel --exclude '*.bias'",
    "mstore quantise lenet@3 --to fixed12 --rounding random --seed 7 --name lenet-start",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.option(
    "--to",
    required=True,
    metavar="SCHEME",
    help="fp16, bf16, fixed4 to fixed24, int8 or int4.",
)
@click.option(
    "--rounding",
    type=click.Choice(ROUNDINGS),
    default="nearest",
    show_default=True,
    help="To the nearest number, or up or down by chance and right on the average.",
)
@click.option(
    "--codebook",
    type=click.Choice(CODEBOOKS),
    help="int8, int4: list the numbers, evenly spaced or drawn from the tensor's own.",
)
@click.option(
    "--per-channel", is_flag=True, help="int8, int4: a scale for each row, not for each tensor."
)
@click.option("--clamp", is_flag=True, help="fp16, bf16: numbers out of range become the last.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="What chance decides by.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Only tensors of such names, as '*.weight'. May be repeated.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="No tensors of such names. May be repeated."
)
@click.option("--name", type=ModelName(), help="The model that is made; else MODEL-SCHEME.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say the errors and the sizes.")
def command(
    run: Run,
    *,
    revision: str,
    to: str,
    rounding: "Rounding",
    codebook: "Codebook | None",
    per_channel: bool,
    clamp: bool,
    seed: int,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    name: str | None,
    dry_run: bool,
) -> None:
    """Store a version in fewer bits, as a new version that says what it came from.

    The version itself stays as it is. The greatest difference of any number from what it was is
    printed and kept with the new version. Tensors that are no floats, and files without tensors,
    are carried over.
    """
    store = run.store()
    with progress("quantise") as report:
        result = store.quantise(
            revision,
            to,
            rounding=rounding,
            codebook=codebook,
            per_channel=per_channel,
            clamp=clamp,
            seed=seed,
            include=include,
            exclude=exclude,
            name=name,
            author=run.author,
            dry_run=dry_run,
            progress=report,
        )
    run.answer(result, _text)


def _text(report: "QuantiseReport") -> Iterator[render.Part]:
    if report.version is None:
        yield f"{report.source} would become a version of {report.name}"
    else:
        yield f"{report.name}@{report.number} {report.version}"
    if report.unchanged:
        yield "unchanged: no new version was made"
    tensors = render.count(len(report.tensors), "tensor")
    carried = f", {report.carried} carried over" if report.carried else ""
    yield f"{tensors} of {report.source} to {report.scheme}{carried}"
    before, after = render.size(report.bytes_before), render.size(report.bytes_after)
    stored = "" if report.dry_run else f"; {render.size(report.stored_bytes)} stored"
    yield f"{before} before, {after} after{stored}"
    yield f"greatest error {report.max_error:.4g}, in '{report.max_error_in}'"
    share = f"{100 * report.max_relative_error:.4g} %"
    yield f"greatest error for a tensor's magnitude {share}, in '{report.max_relative_error_in}'"
    if report.clamped:
        yield f"{render.count(report.clamped, 'number')} out of range, clamped"
