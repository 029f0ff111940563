"""Putting the copies of a step as ordinary versions, its optimizer's state first."""

from collections.abc import Callable

from msgspec import structs

from mstore.errors import ConflictError
from mstore.ops.put import Description, PutResult, put
from mstore.ops.sources import ArrayFile, NamedFile, SourceTree, scan_arrays
from mstore.ops.steplog.rows import OPTIMIZER, ROLE, StepRows, companion
from mstore.ops.steplog.step import Job, exists_error
from mstore.parts import Parts
from mstore.revision import STEP

TRAINER_TEXT = "trainer.json"
OPTIMIZER_TENSORS = "optimizer.safetensors"

_ATTEMPTS = 3
"""How often a step is put when a gc breaks its lease, which it does after a day's pause only."""


class Putter:
    """Puts steps into one store; ``give_way`` is called between chunks."""

    def __init__(self, parts: Parts, give_way: Callable[..., None]) -> None:
        self._parts = parts
        self._rows = StepRows(parts)
        self._give_way = give_way

    def put(self, job: Job) -> PutResult:
        """Store a step; ExistsError where the run has it and it is not wanted again."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._put_once(job)
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _put_once(self, job: Job) -> PutResult:
        run, step = job.pending.run, job.pending.step
        if not job.always and any(row.step == step for row in self._rows.of(run)):
            raise exists_error(run, step)
        said = job.description
        if job.text is not None:
            job.stored = job.stored or self._put_optimizer(job, job.text)
            metadata = {**said.metadata, OPTIMIZER: str(job.stored.version)}
            said = structs.replace(said, metadata=metadata)
        return put(
            self._parts,
            scan_arrays(job.model, "model"),
            run,
            said,
            always=True,
            progress=self._give_way,
        )

    def _put_optimizer(self, job: Job, text: bytes) -> PutResult:
        run, step = job.pending.run, job.pending.step
        tensors = scan_arrays(job.optimizer, "optimizer").files[0]
        files = [
            tensors._replace(parts=(OPTIMIZER_TENSORS,)),
            NamedFile((TRAINER_TEXT,), len(text), executable=False, origin=ArrayFile(text, ())),
        ]
        said = Description(
            message=f"optimizer of step {step}",
            author=job.description.author,
            metadata={STEP: step, ROLE: "optimizer"},
        )
        tree = SourceTree(files, [], single=False, name="optimizer")
        return put(self._parts, tree, companion(run), said, always=True, progress=self._give_way)
