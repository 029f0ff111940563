"""What every page of ``Store`` stands on."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mstore.parts import Parts
from mstore.revision import Resolved, resolve

if TYPE_CHECKING:
    from mstore.catalog.catalogue import Catalogue
    from mstore.ops.steplog.log import StepLog

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike] | Mapping[str, object] | object
"""A path, several, a state dict, or a live model of a framework."""


class Opened:
    """An open store: its parts, and the steps of training runs that wait to be stored."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._steps: StepLog | None = None
        self._catalogue: Catalogue | None = None

    @property
    def path(self) -> str:
        """Where the store is."""
        return self.parts.backend.location

    def resolve(self, revision: str) -> Resolved:
        """The version that a revision names; NotFoundError, InvalidInputError."""
        return resolve(self.parts, revision)
