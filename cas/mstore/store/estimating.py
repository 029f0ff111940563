"""What running a model takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mstore.store.opened import Opened

if TYPE_CHECKING:
    from mstore.ops.estimate import Estimate


class Estimating(Opened):
    """What running a model takes."""

    def estimate(
        self, revision: str, *, hertz: float | None = None, deadline: float | None = None
    ) -> "Estimate":
        """Memory, arithmetic and time of one forward pass, measured ones first.

        Time is in seconds on one thread of this machine, or of one like it with a clock of
        ``hertz``. What needs the module is known once it was given to ``trace``.
        """
        from mstore.ops.estimate import estimate  # noqa: PLC0415 (only when it is wanted)

        return estimate(self.parts, revision, hertz=hertz, deadline=deadline)

    def trace(
        self,
        revision: str,
        module: object,
        inputs: Sequence[Any],
        *,
        clock: float | None = None,
        author: str = "",
    ) -> "Estimate":
        """Run a torch module of this version once on ``inputs`` and keep what that took.

        The first time on a machine its speed is measured, for about a second; ``clock`` are its
        hertz where the system does not say them. InvalidInputError when the module cannot run.
        """
        from mstore.adapters import torch_work  # noqa: PLC0415 - torch is loaded only now
        from mstore.ops import estimate as ops  # noqa: PLC0415 (as above)

        work = torch_work.trace(module, inputs)
        processor = ops.known_processor(self.parts.backend)
        if processor is None:
            processor = torch_work.calibrate(clock or ops.clock())
            ops.keep_processor(self.parts.backend, processor)
        ops.record_work(self.parts, revision, work, processor, author=author)
        return ops.estimate(self.parts, revision)
