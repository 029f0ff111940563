"""Which store a command works on.

``--store`` (of the command, else of ``mstore``), else ``$MSTORE_STORE``, else the nearest
``.mstore`` upward from the working directory, else the user's own store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mstore import Store


def open_store(given: Path | None) -> "Store":
    """Open the store to work on; the user's own one is made on first use, and said so."""
    import mstore  # noqa: PLC0415 (a command that fails earlier does not need it)
    from mstore.discovery import nearest_store, store_directory, user_store  # noqa: PLC0415 (same)

    found = nearest_store(Path.cwd()) if given is None else store_directory(given)
    if found is not None:
        return mstore.open(found)
    own = user_store()
    if (own / "config").is_file():
        return mstore.open(own)
    store, created = mstore.init(own)
    if created:
        click.echo(f"mstore: made your own store in {own}", err=True)
    return store


def open_existing(given: Path | None) -> "Store | None":
    """Open the store as ``open_store`` does, but make none: None when there is none yet."""
    from mstore.discovery import nearest_store, user_store  # noqa: PLC0415 (only when completing)

    anywhere = given is not None or nearest_store(Path.cwd()) is not None
    return open_store(given) if anywhere or (user_store() / "config").is_file() else None
