"""Getting a step back: the weights, and what training needs to go on as if it had not stopped."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from mstore.errors import InvalidInputError, NotFoundError
from mstore.ids import ObjectId
from mstore.objects import Value, Version
from mstore.ops.get import cat
from mstore.ops.read import Reader
from mstore.ops.steplog.nested import frameworks, restore
from mstore.ops.steplog.putting import OPTIMIZER_TENSORS, TRAINER_TEXT
from mstore.ops.steplog.rows import FRAMEWORK, StepRow, StepRows, companion, optimizer_of
from mstore.parts import Parts
from mstore.revision import resolve, step_of

_SHOWN = 5


class Resumed(Struct, frozen=True):
    """A step as it was given: ``model`` by tensor name, ``optimizer`` and ``trainer`` nested."""

    label: str
    version: ObjectId
    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any] | None
    trainer: dict[str, Any] | None
    metrics: dict[str, float]
    params: dict[str, Value]


def resume(
    parts: Parts,
    run: str,
    step: int | None = None,
    *,
    framework: str | None = None,
    training: bool = True,
) -> Resumed:
    """A step of a run, the newest if none is named; with several of one number the last stored.

    Weights come in ``framework``, else in that they were given in; the rest always in its own.
    ``run`` may be any revision when no step is named. Without ``training`` only the weights are
    read. NotFoundError for a step that is not there, or whose optimizer state was dropped.
    """
    text = run if step is None else _at_step(parts, run, step)
    target = resolve(parts, text)
    version = parts.odb.version(target.version)
    found = step_of(version)
    if found is None:
        raise InvalidInputError(f"'{target.label}' is no checkpoint", hint="use load for a version")
    kind = framework or str(version.metadata.get(FRAMEWORK, "numpy"))
    model = Reader(parts, target.text, kind).load()
    state = _training(parts, version, target.label) if training else {}
    return Resumed(
        label=target.label,
        version=target.version,
        step=found,
        model=model,
        optimizer=state.get("optimizer"),
        trainer=state.get("trainer"),
        metrics=version.metrics,
        params=version.parameters,
    )


def _at_step(parts: Parts, run: str, step: int) -> str:
    companion(run)
    rows = StepRows(parts).of(run)
    found = [found for found in rows if found.step == step]
    if not found:
        raise NotFoundError(f"'{run}' has no step {step}", hint=_nearest(run, rows, step))
    kept = [row for row in found if row.row.state == "kept"]
    return f"{run}@{(kept or found)[-1].row.number}"


def _nearest(run: str, rows: list[StepRow], step: int) -> str:
    steps = {row.step for row in rows if row.step is not None and row.row.state == "kept"}
    if not steps:
        return f"see what there is: mstore log {run}"
    near = sorted(steps, key=lambda other: abs(other - step))[:_SHOWN]
    return f"it has steps {', '.join(map(str, sorted(near)))}"


def _training(parts: Parts, version: Version, label: str) -> dict[str, Any]:
    oid = optimizer_of(version)
    if oid is None:
        return {}
    text = f"blake3:{oid.hex()}"
    try:
        shape = _text(parts, text)
        return restore(shape, _tensors(parts, f"{text}:{OPTIMIZER_TENSORS}", shape))
    except NotFoundError as error:
        raise NotFoundError(
            f"the optimizer state of '{label}' is not here any more: {error}",
            hint="with training=False the weights come alone",
            kind=error.kind,
        ) from error


def _text(parts: Parts, version: str) -> bytes:
    pieces: list[bytes] = []
    cat(parts, f"{version}:{TRAINER_TEXT}", lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


def _tensors(parts: Parts, text: str, shape: bytes) -> Callable[[str, str], object]:
    """Gives tensors by framework and name; they are read once for each framework."""
    loaded = {name: Reader(parts, text, name).load() for name in frameworks(shape)}

    def tensor(framework: str, name: str) -> object:
        return loaded[framework][name]

    return tensor
