"""One step of a run on its way into the store: what is said of it, and who waits for it."""

import operator
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from msgspec import Struct, field, structs

from mstore import adapters
from mstore.adapters import ArrayTensor
from mstore.errors import ExistsError, InvalidInputError, MstoreError
from mstore.ops.put import Description, PutResult
from mstore.ops.steplog.host import Host
from mstore.ops.steplog.rows import FRAMEWORK, RESERVED, ROLE, companion
from mstore.revision import STEP


class Training(Struct, frozen=True):
    """What a step has beside its weights: nested dicts and lists of tensors and plain values."""

    optimizer: Mapping[str, object] | None = None
    trainer: Mapping[str, object] | None = None

    @property
    def state(self) -> dict[str, object] | None:
        """Both by name, without what is not given; None when nothing is."""
        given = {"optimizer": self.optimizer, "trainer": self.trainer}
        return {name: part for name, part in given.items() if part is not None} or None


class Pending:
    """A step on its way to the disk.

    ``waited`` is the seconds that the caller was held until an earlier step was stored, ``held``
    those in which its tensors were copied.
    """

    def __init__(self, run: str, step: int, seen: Callable[["Pending"], None]) -> None:
        self.run, self.step = run, step
        self.waited = self.held = 0.0
        self._future: Future[PutResult] = Future()
        self._seen = seen

    def done(self) -> bool:
        """Whether it is stored, or has failed."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> PutResult:
        """What was stored, once it is durable; TimeoutError, or what went wrong."""
        error = self._future.exception(timeout)
        if error is not None:
            self._seen(self)
        return self._future.result()


class Job(Struct):
    """One step: what is said of it, and the memory that holds its tensors.

    ``stored`` is its optimizer state once that is durable; with ``spare`` memory for a second copy
    is made ready first.
    """

    pending: Pending
    description: Description
    always: bool
    host: Host = field(default_factory=Host)
    model: list[ArrayTensor] = field(default_factory=list)
    optimizer: list[ArrayTensor] = field(default_factory=list)
    text: bytes | None = None
    stored: PutResult | None = None
    spare: bool = False


def described(
    run: str, step: int, state: Mapping[str, object], description: Description
) -> Description:
    """The description of a step, with what a checkpoint says by itself; InvalidInputError."""
    companion(run)
    if step < 0:
        raise InvalidInputError(f"step {step} is less than 0")
    own = RESERVED & description.metadata.keys()
    if own:
        raise InvalidInputError(f"metadata '{min(own)}' is what a checkpoint says by itself")
    framework = next(map(adapters.framework_of, state.values()), None)
    metadata = {**description.metadata, STEP: step, ROLE: "model"}
    if framework is not None:
        metadata[FRAMEWORK] = framework
    message = description.message or f"step {step}"
    return structs.replace(description, message=message, metadata=metadata)


def whole_step(step: int) -> int:
    """The step as a plain int, whatever kind of whole number it came as."""
    try:
        return operator.index(step)
    except TypeError as error:
        raise InvalidInputError(f"step {step!r} is not a whole number") from error


def exists_error(run: str, step: int) -> ExistsError:
    """What is raised for a step that a run has."""
    return ExistsError(
        f"'{run}' has step {step} already", hint="with always=True it is stored once more"
    )


def named_error(pending: Pending, error: BaseException) -> BaseException:
    """The same kind of error, saying which step was not stored."""
    lost = f"step {pending.step} of '{pending.run}' was not stored"
    if not isinstance(error, MstoreError):
        error.add_note(lost)
        return error
    named = type(error)(f"{lost}: {error}", hint=error.hint, kind=error.kind)
    named.__cause__ = error
    return named
