"""``mstore estimate``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Quantity, Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.estimate import Estimate


@verb(
    "estimate",
    "mstore estimate lenet",
    "mstore estimate lenet@3 --cpu 1GHz --deadline 200ms",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.option("--cpu", "hertz", type=Quantity("hertz"), help="The clock of the processor.")
@click.option(
    "--deadline", type=Quantity("seconds"), help="How long a forward pass may take at most."
)
def command(run: Run, *, revision: str, hertz: float | None, deadline: float | None) -> None:
    """Say what running a version takes: memory, arithmetic and time.

    What was measured comes first. The rest follows from a forward pass that Store.trace has seen
    in Python, with the module at hand; without one, only the weights are known. Time is that of
    one thread of the machine that was calibrated, or of one like it at another clock.
    """
    run.answer(run.store().estimate(revision, hertz=hertz, deadline=deadline), _text)


def _text(found: "Estimate") -> Iterator[render.Part]:
    yield f"weights      {render.size(found.weights_bytes)}"
    if found.activations_bytes is not None:
        yield f"activations  {render.size(found.activations_bytes)}"
    if found.memory_bytes is not None:
        yield f"memory       {render.size(found.memory_bytes)}{_how(found, 'memory')}"
    if found.flops is not None:
        yield f"arithmetic   {_quantity(found.flops, 'operations')} a pass"
    if found.seconds is None:
        yield "no pass was traced: give the module to Store.trace once, in Python"
        return
    clock = f" at {_quantity(found.hertz, 'hertz')}" if found.hertz else ""
    between = "" if found.low == found.high else f" [{_time(found.low)}, {_time(found.high)}]"
    yield f"time         {_time(found.seconds)}{between}{clock}{_how(found, 'latency')}"
    if found.deadline is not None:
        yield f"deadline     {_time(found.deadline)}: {found.verdict}"


def _how(found: "Estimate", name: str) -> str:
    return " (measured)" if name in found.measured else f" (estimated: {found.method})"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else _quantity(seconds, "seconds")


def _quantity(value: float, kind: str) -> str:
    from mstore.units import format_quantity  # noqa: PLC0415 (only when something is shown)

    return format_quantity(value, kind, digits=3)  # type: ignore[arg-type] # one of its kinds
