"""Whether a folder is under git, found without running it."""

from pathlib import Path
from typing import NamedTuple

from mstore.objects import Code


class CapturedCode(NamedTuple):
    """What was found of the source; ``remark`` says what is missing, and why."""

    code: Code | None = None
    remark: str = ""


def work_tree_of(folder: Path) -> Path | None:
    """The nearest folder upwards that has a ``.git``; costs no program."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
