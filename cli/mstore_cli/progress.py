"""A progress bar on a terminal; nothing in a pipe.

It appears after half a second, so that quick work draws nothing and rich is not imported for it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mstore_cli.render import size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Callback = Callable[[int, int, int], None]

DELAY_SECONDS = 0.5
_REDRAW_SECONDS = 0.1


@contextlib.contextmanager
def progress(
    verb: str, *, counts_new: bool = True, delay: float = DELAY_SECONDS
) -> Iterator[Callback | None]:
    """Give what a verb calls with (bytes done, bytes in all, bytes new); None in a pipe.

    Without ``counts_new`` the verb's third number is not shown.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    bar = _Bar(verb, delay, counts_new=counts_new)
    try:
        yield bar.update
    finally:
        bar.stop()


class _Bar:
    """A bar drawn only once there was something to wait for."""

    def __init__(self, verb: str, delay: float, *, counts_new: bool) -> None:
        self.verb = verb
        self.counts_new = counts_new
        self.due = time.monotonic() + delay
        self.drawn: tuple[Progress, TaskID] | None = None

    def update(self, done: int, total: int, new: int) -> None:
        """Redraw, at most ten times a second."""
        now = time.monotonic()
        if now < self.due and not (self.drawn and done >= total):
            return
        self.due = now + _REDRAW_SECONDS
        if self.drawn is None:
            self.drawn = _draw(self.verb)
        bar, task = self.drawn
        split = f"{size(new)} new, {size(max(0, done - new))} already stored"
        bar.update(task, completed=done, total=total, split=split if self.counts_new else "")

    def stop(self) -> None:
        """Leave the last state of the bar standing."""
        if self.drawn is not None:
            self.drawn[0].stop()


def _draw(verb: str) -> "tuple[Progress, TaskID]":
    from rich import progress as parts  # noqa: PLC0415 (only on a terminal, for long work)
    from rich.console import Console  # noqa: PLC0415 (as above)

    bar = parts.Progress(
        parts.TextColumn("{task.description}"),
        parts.BarColumn(),
        parts.DownloadColumn(binary_units=True),
        parts.TransferSpeedColumn(),
        parts.TimeRemainingColumn(),
        parts.TextColumn("{task.fields[split]}"),
        console=Console(file=sys.stderr),
    )
    task = bar.add_task(verb, total=None, split="")
    bar.start()
    return bar, task
