"""The library's look at the environment: which store is meant, and what git is run with.

The store is ``$MSTORE_STORE``, else the nearest ``.mstore`` upward from the working directory, else
the user's own store in the platform's directory for such things.
"""

import os
from pathlib import Path

STORE_NAME = ".mstore"
VARIABLE = "MSTORE_STORE"
CAPTURE_VARIABLE = "MSTORE_CAPTURE"


def store_directory(place: Path) -> Path:
    """The directory of the store named by ``place``: itself, or the ``.mstore`` in it."""
    inner = place / STORE_NAME
    return inner if inner.is_dir() and not (place / "config").is_file() else place


def nearest_store(start: Path) -> Path | None:
    """The nearest ``.mstore`` in ``start`` or a folder above it."""
    for folder in (start, *start.parents):
        if (folder / STORE_NAME).is_dir():
            return folder / STORE_NAME
    return None


def user_store() -> Path:
    """The path of the user's own store, which may not have been made yet."""
    import platformdirs  # noqa: PLC0415 - only when no store is given or near

    return platformdirs.user_data_path("mstore", appauthor=False) / "store"


def default_store() -> Path:
    """The directory of the store to use when none is named."""
    given = os.environ.get(VARIABLE)
    if given:
        return store_directory(Path(given))
    return nearest_store(Path.cwd()) or user_store()


GIT_KEPT = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_EXEC_PATH",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
    }
)
"""Variables that say how git works; all others of its own say on what."""


def captures() -> bool:
    """Whether ``put`` captures how a version was made where nobody says: not if it is ``0``."""
    return os.environ.get(CAPTURE_VARIABLE) != "0"


def git_environment() -> dict[str, str]:
    """The variables that git is run with: those of this program, but none that lead it astray.

    They are handed to git and kept nowhere.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in GIT_KEPT
    }
    return kept | {"LC_ALL": "C"}
