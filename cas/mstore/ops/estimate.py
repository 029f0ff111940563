"""What running a version takes: memory, arithmetic and time, estimated where it is not measured.

The work of a forward pass is traced once, with the module at hand, and kept in a note; from then
on the time on any processor follows from it. What one thread of this machine does in a second is
kept in ``cache/processor``, which may be deleted at any time.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct

from mstore.backends.base import Backend
from mstore.errors import InvalidInputError, MstoreError
from mstore.format.dtypes import tensor_size
from mstore.ids import Kind, ObjectId
from mstore.latency import KINDS, Latency, Operation, Processor, Work, latency
from mstore.notes import ESTIMATE, NoteRow, metrics_of, notes_of
from mstore.objects import Value
from mstore.ops.notes import Said, add_note
from mstore.ops.walk import walk_version
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

KEY: Final = "cache/processor"
METHOD: Final = "roofline of each operation, one thread"
MAX_OPERATIONS: Final = 4096
"""Kinds of operations that are kept of a pass; the smallest beyond are taken together."""
_CPUINFO = Path("/proc/cpuinfo")

Verdict = Literal["fits", "does not fit", "uncertain"]


class Estimate(Struct, frozen=True):
    """What running a version takes. None where nothing is known.

    ``memory_bytes`` are weights and ``activations_bytes`` together; ``seconds`` lie between
    ``low`` and ``high``. ``measured`` names what was not estimated. ``hertz`` is the clock that
    it is for, and ``verdict`` whether the pass takes no longer than ``deadline``.
    """

    label: str
    version: ObjectId
    weights_bytes: int
    activations_bytes: int | None
    memory_bytes: int | None
    flops: int | None
    seconds: float | None
    low: float | None
    high: float | None
    hertz: float | None
    deadline: float | None
    verdict: Verdict | None
    measured: tuple[str, ...]
    method: str


def estimate(
    parts: Parts, text: str, *, hertz: float | None = None, deadline: float | None = None
) -> Estimate:
    """What is known of running a version, on a processor of ``hertz`` if given.

    Without a traced pass only the weights are known, and what was measured.
    """
    target = resolve(parts, text)
    version = parts.odb.version(target.version)
    notes = notes_of(parts, target.version)
    found = metrics_of(version, [row for row in notes if row.note.topic != ESTIMATE])
    traced = _traced(notes)
    weights = weights_bytes(parts, target.version)
    time = _time(traced, found, hertz)
    memory = found.get("memory")
    if memory is None and traced is not None:
        memory = weights + traced[0].activations
    return Estimate(
        label=target.label,
        version=target.version,
        weights_bytes=weights,
        activations_bytes=None if traced is None else traced[0].activations,
        memory_bytes=None if memory is None else int(memory),
        flops=None if traced is None else traced[0].flops,
        seconds=None if time is None else time.seconds,
        low=None if time is None else time.low,
        high=None if time is None else time.high,
        hertz=hertz or (None if traced is None else traced[1].hertz),
        deadline=deadline,
        verdict=_verdict(time, deadline),
        measured=tuple(sorted({"memory", "latency"} & found.keys())),
        method=METHOD,
    )


def record_work(
    parts: Parts, text: str, work: Work, processor: Processor, *, author: str = ""
) -> Resolved:
    """Keep what a forward pass of a version is made of, as a note with its estimates."""
    target = resolve(parts, text)
    time = latency(work, processor)
    kept = Work(_fewer(work.operations), work.activations)
    said = Said(
        topic=ESTIMATE,
        author=author,
        metrics={
            "memory": weights_bytes(parts, target.version) + work.activations,
            "flops": work.flops,
            "latency": time.seconds,
        },
        metadata={
            "method": METHOD,
            "interval": {"latency": [time.low, time.high]},
            "work": _plain_work(kept),
            "processor": _plain_processor(processor),
        },
    )
    add_note(parts, text, said)
    return target


def weights_bytes(parts: Parts, version: ObjectId) -> int:
    """The bytes of all tensors of a version, each counted once."""
    tensors = (oid for kind, oid in walk_version(parts, version) if kind is Kind.TENSOR)
    found = (parts.odb.tensor(oid) for oid in tensors)
    return sum(tensor_size(tensor.dtype, tensor.shape) for tensor in found)


def estimated_time(notes: list[NoteRow], hertz: float) -> Latency | None:
    """How long a pass takes on a processor of ``hertz``, by the newest that was traced, if any."""
    traced = _traced(notes)
    return None if traced is None else latency(*traced, hertz)


def known_processor(backend: Backend) -> Processor | None:
    """What was measured of this machine; None when it was not, or is not kept."""
    try:
        return _processor(json.loads(backend.read(KEY)))
    except (MstoreError, ValueError, KeyError, TypeError):
        # Not there or not whole: it is measured again.
        return None


def keep_processor(backend: Backend, processor: Processor) -> None:
    """Keep what was measured, where that is possible."""
    with suppress(MstoreError):
        backend.replace_cache(KEY, json.dumps(_plain_processor(processor)).encode())


def clock(cpuinfo: Path = _CPUINFO) -> float:
    """The clock of this machine in hertz, the fastest that a core runs at now.

    InvalidInputError where the system does not say it.
    """
    found = []
    with suppress(OSError, ValueError):
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "cpu MHz":
                found.append(float(value) * 1e6)
    if not found:
        raise InvalidInputError(
            "the clock of this machine is not known", hint="say it: --clock 2.4GHz"
        )
    return max(found)


def _time(
    traced: tuple[Work, Processor] | None, found: Mapping[str, float], hertz: float | None
) -> Latency | None:
    """What was measured for this clock, else what follows from the work."""
    if hertz is None and "latency" in found:
        return Latency(found["latency"], found["latency"], found["latency"])
    return None if traced is None else latency(*traced, hertz)


def _verdict(time: Latency | None, deadline: float | None) -> Verdict | None:
    if time is None or deadline is None:
        return None
    if time.high <= deadline:
        return "fits"
    return "does not fit" if time.low > deadline else "uncertain"


def _traced(notes: list[NoteRow]) -> tuple[Work, Processor] | None:
    """The newest pass that was traced, and the machine that it was calibrated on."""
    for row in reversed(notes):
        if row.note.topic == ESTIMATE:
            with suppress(KeyError, TypeError, ValueError):
                said: Any = row.note.metadata
                return _work(said["work"]), _processor(said["processor"])
    return None


def _fewer(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The operations, the smallest beyond ``MAX_OPERATIONS`` as some of an average size."""
    ordered = sorted(operations, key=lambda one: one.times * (one.flops + one.bytes), reverse=True)
    kept, rest = ordered[:MAX_OPERATIONS], ordered[MAX_OPERATIONS:]
    for kind in sorted({one.kind for one in rest}):
        same = [one for one in rest if one.kind == kind]
        count = sum(one.times for one in same)
        flops = sum(one.times * one.flops for one in same) // count
        kept.append(Operation(kind, count, flops, sum(o.times * o.bytes for o in same) // count))
    return tuple(kept)


def _plain_work(work: Work) -> Value:
    return {"activations": work.activations, "operations": [list(one) for one in work.operations]}


def _work(plain: Any) -> Work:  # noqa: ANN401 - JSON that anybody may have written
    operations = tuple(
        Operation(_kind(kind), _natural(count), _natural(flops), _natural(size))
        for kind, count, flops, size in plain["operations"]
    )
    return Work(operations, _natural(plain["activations"]))


def _plain_processor(processor: Processor) -> dict[str, Value]:
    return {
        "hertz": processor.hertz,
        "flops": dict(processor.flops),
        "overhead": dict(processor.overhead),
        "cached": processor.cached,
        "memory": processor.memory,
    }


def _processor(plain: Any) -> Processor:  # noqa: ANN401 - JSON that anybody may have written
    return Processor(
        _rate(plain["hertz"]),
        {kind: _rate(plain["flops"][kind]) for kind in KINDS if kind},
        {kind: _rate(plain["overhead"][kind]) for kind in KINDS},
        _rate(plain["cached"]),
        _rate(plain["memory"]),
    )


def _kind(value: object) -> str:
    if value not in KINDS:
        message = f"{value!r} is no kind of operation"
        raise ValueError(message)
    return str(value)


def _natural(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        message = f"{value!r} is no count"
        raise ValueError(message)
    return value


def _rate(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        message = f"{value!r} is no rate"
        raise ValueError(message)
    return float(value)
