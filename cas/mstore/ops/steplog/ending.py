"""Steps that are not stored yet when the interpreter ends are stored first.

``put`` has thread pools, which close before threads are joined and before ``atexit``. They use this
way to be called, for which there is no public one; what registers later is called earlier.
"""

import concurrent.futures.thread  # noqa: F401 - before this registers for the end, see above
import os
import threading
from typing import Protocol


class Unfinished(Protocol):
    """What has something to store, or to say."""

    def finish(self) -> None:
        """Store it; what goes wrong is shown."""


UNFINISHED: set[Unfinished] = set()
"""What is finished at the end."""

_registered: list[bool] = []


def watch() -> None:
    """Have the end of the interpreter finish what is unfinished then, while ``put`` still can."""
    if not _registered:
        _registered.append(True)
        register = getattr(threading, "_register_atexit")  # noqa: B009 - private: no stub has it
        register(_finish_all)
        os.register_at_fork(after_in_child=UNFINISHED.clear)


def _finish_all() -> None:
    for log in list(UNFINISHED):
        log.finish()
