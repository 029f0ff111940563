"""``mstore why``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.usage import Reason


@verb("why", "mstore why 3f9a0c71e2b4")
@click.argument("digits", metavar="HASH")
def command(run: Run, *, digits: str) -> None:
    """Say what keeps an object alive: each version that holds it, and the path there."""
    reasons = run.store().why(digits)
    run.answer(reasons, _text, reasons=reasons)


def _text(reasons: "Sequence[Reason]") -> Iterator[render.Part]:
    return map(str, reasons)
