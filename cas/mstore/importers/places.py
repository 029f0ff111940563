"""Telling what a place is that somebody wants to import."""

from contextlib import closing
from pathlib import Path
from typing import Final

from mstore.errors import InvalidInputError, NotFoundError
from mstore.importers.huggingface import import_folder, is_model_folder
from mstore.importers.report import ImportReport
from mstore.store import Store

_SQLITE: Final = b"SQLite format 3\0"
_TABLES: Final = {"alembic_version", "experiments", "metrics", "params", "runs"}


def import_place(
    store: Store, place: Path, name: str | None = None, *, author: str = "", dry_run: bool = False
) -> ImportReport:
    """Import a Hugging Face folder or an MLflow tracking store.

    NotFoundError where nothing is; InvalidInputError for what is neither.
    """
    if not place.exists():
        raise NotFoundError(f"no file or folder '{place}'", hint="look at the path")
    if is_model_folder(place):
        return import_folder(store, place, name, author=author, dry_run=dry_run)
    if _is_tracking_store(place):
        from mstore.importers.mlflow_store import import_runs  # noqa: PLC0415 - loads MLflow

        return import_runs(store, place, name or "", author=author, dry_run=dry_run)
    raise InvalidInputError(
        f"'{place}' is neither a Hugging Face folder nor a tracking store of MLflow",
        hint="for a folder of checkpoints: mstore adopt",
    )


def _is_tracking_store(place: Path) -> bool:
    if place.is_dir():
        return any(place.glob("*/meta.yaml"))
    if not place.is_file():
        return False
    with place.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE and _has_tables(place)


def _has_tables(place: Path) -> bool:
    """Whether a database has MLflow's tables; MLflow itself would make them in any other."""
    import sqlite3  # noqa: PLC0415 - only for a database

    address = f"{place.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows} >= _TABLES
    except sqlite3.Error as error:
        raise InvalidInputError(f"database '{place}' cannot be read: {error}") from error
