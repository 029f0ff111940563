"""How long a forward pass takes: the work it is made of, and what a processor does in a second.

A roofline for each operation (Williams et al., "Roofline", 2009): it takes as long as its
arithmetic or its traffic, whichever is longer, and something for being started at all. Pure.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

KINDS: Final = ("", "matmul", "convolution")
"""The kinds of operations: those of the first do no arithmetic that is worth counting."""
CACHED: Final = 8 << 20
"""Bytes of one operation up to which its traffic runs at the speed of the caches."""
MARGIN: Final = 2.0
"""How far an estimate may be off on the machine that was calibrated, as a factor.

Held against the time that five networks take (docs/benchmarks.md).
"""


class Operation(NamedTuple):
    """``times`` equal operations: floating-point operations and bytes that each takes.

    ``kind`` is one of ``KINDS``.
    """

    kind: str
    times: int
    flops: int
    bytes: int


class Work(NamedTuple):
    """One forward pass; ``activations`` are the most bytes alive at once beside the weights."""

    operations: tuple[Operation, ...]
    activations: int

    @property
    def flops(self) -> int:
        """Floating-point operations of the whole pass."""
        return sum(one.times * one.flops for one in self.operations)

    @property
    def bytes(self) -> int:
        """Bytes that all operations read and write."""
        return sum(one.times * one.bytes for one in self.operations)


class Processor(NamedTuple):
    """What one thread of a processor does in a second, and what starting an operation takes.

    ``flops`` and ``overhead`` (seconds) by the kind of operation; ``cached`` and ``memory`` are
    bytes per second.
    """

    hertz: float
    flops: Mapping[str, float]
    overhead: Mapping[str, float]
    cached: float
    memory: float

    def at(self, hertz: float, *, memory_too: bool) -> "Processor":
        """The same processor at another clock, its memory as fast as it is or scaled along."""
        ratio = hertz / self.hertz
        return Processor(
            hertz,
            {kind: rate * ratio for kind, rate in self.flops.items()},
            {kind: time / ratio for kind, time in self.overhead.items()},
            self.cached * ratio,
            self.memory * (ratio if memory_too else 1.0),
        )


class Latency(NamedTuple):
    """Seconds: the estimate, and between which it should lie."""

    seconds: float
    low: float
    high: float


def latency(work: Work, processor: Processor, hertz: float | None = None) -> Latency:
    """How long the work takes on a processor, or on one like it at ``hertz``."""
    if hertz is None:
        found = seconds(work, processor)
        return Latency(found, found / MARGIN, found * MARGIN)
    bounds = [seconds(work, processor.at(hertz, memory_too=scaled)) for scaled in (False, True)]
    low, high = min(bounds), max(bounds)
    return Latency(math.sqrt(low * high), low / MARGIN, high * MARGIN)


def seconds(work: Work, processor: Processor) -> float:
    """The sum over all operations of what bounds each."""
    return sum(one.times * _one(one, processor) for one in work.operations)


def _one(operation: Operation, processor: Processor) -> float:
    rate = processor.cached if operation.bytes <= CACHED else processor.memory
    traffic = operation.bytes / rate
    speed = processor.flops.get(operation.kind)
    arithmetic = operation.flops / speed if speed else 0.0
    return processor.overhead[operation.kind] + max(traffic, arithmetic)
