"""What the versions of a run say of their steps (SPEC §6.7)."""

from typing import NamedTuple

from mstore.errors import InvalidInputError
from mstore.format.slots import Row, check_ref_name
from mstore.ids import ObjectId
from mstore.objects import Version
from mstore.parts import Parts
from mstore.refs import HEADS
from mstore.revision import STEP, step_of

ROLE = "role"
OPTIMIZER = "optimizer"
FRAMEWORK = "framework"
RESERVED = frozenset({STEP, ROLE, OPTIMIZER, FRAMEWORK})
"""The keys of a version's metadata that the step log writes.

``step`` is a number, ``role`` is "model" or "optimizer"; a model has the id of its ``optimizer``
version in hex if it has one, and the ``framework`` of its state dict.
"""

_COMPANION = "/optimizer"


class StepRow(NamedTuple):
    """One version of a run; ``step`` is None for a version that was put otherwise."""

    row: Row
    version: Version
    step: int | None


def companion(run: str) -> str:
    """The model that holds a run's optimizer states; InvalidInputError for an unfit name."""
    check_ref_name(run)
    if run.endswith(_COMPANION):
        raise InvalidInputError(f"'{run}' would hold optimizer states", hint="choose another name")
    check_ref_name(run + _COMPANION)
    return run + _COMPANION


class StepRows:
    """The rows of runs with their steps; what was read once is remembered. One thread's own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._read: dict[bytes, Version] = {}

    def of(self, name: str) -> list[StepRow]:
        """The rows of a name that are not deleted, oldest first; none for an unknown name."""
        table = self._parts.refs.find(HEADS, name)
        rows = [] if table is None else [r for r in table.rows.values() if r.state != "deleted"]
        return [self._step_row(row) for row in rows]

    def _step_row(self, row: Row) -> StepRow:
        version = self._read.get(row.version)
        if version is None:
            version = self._read[row.version] = self._parts.odb.version(ObjectId(row.version))
        return StepRow(row, version, step_of(version))


def optimizer_of(version: Version) -> bytes | None:
    """The id of the version that holds the optimizer state of a step, where it has one."""
    text = version.metadata.get(OPTIMIZER)
    try:
        return bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        return None
