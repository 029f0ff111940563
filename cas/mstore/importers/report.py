"""What an import did, whatever it read."""

from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.ids import ObjectId


class ImportedVersion(NamedTuple):
    """One version, "new" or "there" since before; no number or id in a dry run."""

    model: str
    number: int | None
    version: ObjectId | None
    metrics: int
    params: int
    state: Literal["new", "there"]


class ImportReport(Struct, frozen=True):
    """What was imported from ``place``; ``remarks`` say what could be kept in part only."""

    source: Literal["huggingface", "mlflow"]
    place: Path
    dry_run: bool
    versions: list[ImportedVersion]
    remarks: list[str]
