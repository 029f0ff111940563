"""Putting models in: files, state dicts, and the steps of a training run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstore.objects import Relation, Value
from mstore.ops import captured
from mstore.ops.models import parentage, scan_model
from mstore.ops.origins import origin
from mstore.ops.put import Description, PutResult, put
from mstore.ops.schemas import schema_of, set_schema
from mstore.ops.sources import SourceTree, scan_paths
from mstore.ops.steplog.step import Pending, Training
from mstore.schema import Schema
from mstore.store.opened import Opened, PathLike, Source

if TYPE_CHECKING:
    from mstore.numerics.schemes import Codebook, Rounding
    from mstore.ops.encoding import Policy
    from mstore.ops.intake import Progress
    from mstore.ops.quantise import QuantiseReport
    from mstore.ops.steplog.log import StepLog
    from mstore.ops.steplog.resume import Resumed

WAITING = 2
"""Copies of states in memory at a time: one is stored while the next is made."""


class Storing(Opened):
    """Putting models in: files, state dicts, and the steps of a training run."""

    def put(
        self,
        source: Source,
        name: str | None = None,
        *,
        message: str = "",
        parents: Sequence[str] | None = None,
        relation: Relation | None = None,
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        datasets: Sequence[str] | Mapping[str, PathLike | None] = (),
        tags: Sequence[str] = (),
        task: str = "",
        metadata: Mapping[str, Value] | None = None,
        author: str = "",
        capture: bool | None = None,
        seeds: Mapping[str, int] | None = None,
        logs: Sequence[PathLike] = (),
        codec: "Policy" = "auto",
        always: bool = False,
        follow: bool = False,
        progress: "Progress | None" = None,
    ) -> PutResult:
        """Store a path, several, a state dict or a live model as the next version of ``name``.

        If not given, ``name`` is the path's own, and the parent the version that the model was
        loaded from ("fine-tuned" where all tensors have its names and shapes, else "derived"), or
        else the version before. With ``codec`` "raw" tensors can be mapped, with "small" they take
        the least space. An unchanged model makes no new version unless ``always``. Durable on
        return.

        The code around the working directory, the machine and the packages are taken down unless
        ``capture`` is False or ``$MSTORE_CAPTURE`` is 0; ``seeds`` are kept with them. ``logs``
        are training logs, kept as series. ``datasets`` are names, or names with paths whose files
        are hashed. What could not be taken down is in the ``remarks`` of the result.

        Values are brought to base units ("90%" is 0.9); InvalidInputError names one that is not
        what the schema of the store says of it, and nothing is stored.
        """
        tree = _scan(source, follow=follow)
        found, how = parentage(self.parts, source, tree)
        description = Description(
            message=message,
            author=author,
            task=task,
            tags=tuple(tags),
            parents=found if parents is None else tuple(parents),
            relation=relation or how,
            parameters=params or {},
            metrics=metrics or {},
            metadata=metadata or {},
        )
        wish = captured.Wish(capture, seeds, _paths(source) or [], [Path(log) for log in logs])
        taken = captured.take_down(self.parts, description, datasets, wish)
        named = name or tree.name
        return put(self.parts, tree, named, *taken, codec=codec, always=always, progress=progress)

    def set_schema(self, path: PathLike, *, author: str = "") -> PutResult:
        """Let the fields of a TOML file hold for every put from now on; it is stored itself.

        InvalidInputError says what is wrong with which field; then the old schema stays.
        """
        return set_schema(self.parts, Path(path), author=author)

    def schema(self) -> Schema:
        """The fields that values are held against, the team's own first."""
        return schema_of(self.parts)

    def quantise(
        self,
        revision: str,
        to: str,
        *,
        rounding: "Rounding" = "nearest",
        codebook: "Codebook | None" = None,
        per_channel: bool = False,
        clamp: bool = False,
        seed: int = 0,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        name: str | None = None,
        author: str = "",
        dry_run: bool = False,
        progress: "Progress | None" = None,
    ) -> "QuantiseReport":
        """Store a version in fewer bits, as the next version of ``name``, else of MODEL-``to``.

        ``to`` is "fp16", "bf16", "fixed4" to "fixed24", "int8" or "int4"; ``include`` and
        ``exclude`` are patterns of tensor names. The version itself stays as it is. What "int8"
        and "int4" store, ``mstore.dequantise`` turns back. InvalidInputError names a tensor that
        holds what the scheme cannot; then nothing was stored.
        """
        from mstore.numerics.schemes import make_scheme  # noqa: PLC0415 (only when it is wanted)
        from mstore.ops.quantise import Selection, quantise  # noqa: PLC0415 (as above)

        scheme = make_scheme(
            to,
            rounding=rounding,
            codebook=codebook,
            per_channel=per_channel,
            clamp=clamp,
            seed=seed,
        )
        return quantise(
            self.parts,
            revision,
            scheme,
            Selection(tuple(include), tuple(exclude)),
            name=name,
            author=author,
            dry_run=dry_run,
            progress=progress,
        )

    def checkpoint(
        self,
        state: Mapping[str, object],
        run: str,
        step: int,
        *,
        optimizer: Mapping[str, object] | None = None,
        trainer: Mapping[str, object] | None = None,
        message: str = "",
        parents: Sequence[str] | None = None,
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        datasets: Sequence[str] | Mapping[str, PathLike | None] = (),
        tags: Sequence[str] = (),
        task: str = "",
        metadata: Mapping[str, Value] | None = None,
        author: str = "",
        capture: bool | None = None,
        seeds: Mapping[str, int] | None = None,
        always: bool = False,
        waiting: int = WAITING,
    ) -> Pending:
        """Copy a state dict and store it in the background as the next version of ``run``.

        ``optimizer`` and ``trainer`` may be nested; they go to the model ``RUN/optimizer``. Returns
        when all is copied; with ``waiting`` copies in memory, first waits until one is stored.
        The parent is the step before; of the first one the version that ``state`` was loaded from.
        ExistsError for a step that the run has, unless ``always``. Raises what went wrong with an
        earlier step, and then takes nothing. Several threads may call it.

        Code and environment are taken down as ``put`` does, the code once for the program.
        """
        description = Description(
            message=message,
            author=author,
            task=task,
            tags=tuple(tags),
            parents=None if parents is None else tuple(parents),
            parameters=params or {},
            metrics=metrics or {},
            metadata=metadata or {},
            begun_from=origin(state),
        )
        wish = captured.Wish(capture, seeds, once=True)
        said, complete = captured.take_down(self.parts, description, datasets, wish)
        training = Training(optimizer, trainer)
        return self._step_log().add(
            run, step, state, training, said, complete=complete, always=always, waiting=waiting
        )

    def _step_log(self) -> "StepLog":
        if self._steps is None:
            from mstore.ops.steplog.log import StepLog  # noqa: PLC0415 (only when it is wanted)

            self._steps = StepLog(self.parts)
        return self._steps

    def flush(self) -> None:
        """Wait until every checkpoint is durable; raises what went wrong with one."""
        if self._steps is not None:
            self._steps.flush()

    def close(self) -> None:
        """``flush``, and give back the memory of checkpoints. The store can still be used."""
        if self._steps is not None:
            self._steps.close()

    def resume(
        self,
        run: str,
        step: int | None = None,
        *,
        framework: str | None = None,
        training: bool = True,
    ) -> "Resumed":
        """Give back a checkpoint, the newest if no step is named, as it was given.

        Without ``training`` the optimizer's state stays where it is. NotFoundError for a step that
        is not there.
        """
        from mstore.ops.steplog.resume import resume  # noqa: PLC0415 (only when it is wanted)

        return resume(self.parts, run, step, framework=framework, training=training)


def _scan(source: Source, *, follow: bool) -> SourceTree:
    paths = _paths(source)
    return scan_model(source) if paths is None else scan_paths(paths, follow=follow)


def _paths(source: Source) -> list[Path] | None:
    """The paths that are to be stored; None when it is a model."""
    given = [source] if isinstance(source, str | os.PathLike) else source
    if isinstance(given, list | tuple) and all(isinstance(p, str | os.PathLike) for p in given):
        return [Path(path) for path in given]
    return None
