"""The run that a callback stores: where it goes on, and how its steps are counted."""

from mstore.errors import ExistsError
from mstore.ops.steplog.resume import Resumed
from mstore.ops.steplog.rows import StepRows
from mstore.store import Store


class Run:
    """One training of a framework as versions of the model ``name``.

    A framework that counts its steps from nought again after ``resume`` has them counted on from
    the last one stored.
    """

    def __init__(self, store: Store, name: str, *, resume: bool) -> None:
        self.store = store
        self.name = name
        self._resume = resume
        self._before = 0
        self._again = False
        self._stored: int | None = None

    def begin(self, step: int) -> Resumed | None:
        """What training goes on from, as it begins at ``step``; None from what it has.

        ExistsError for a run that has steps, unless it is resumed here or by the framework itself.
        """
        last = self._last()
        self._stored, self._before = None, 0
        # A framework that goes on from its own checkpoint may pass steps that are stored.
        self._again = step > 0
        if last is None or step > 0:
            return None
        if not self._resume:
            raise ExistsError(
                f"run '{self.name}' has steps up to {last}",
                hint="go on with resume=True, or name another run",
            )
        return self.store.resume(self.name, last)

    def count_on(self, found: Resumed) -> None:
        """Count the steps to come on from those of what was resumed."""
        self._before = found.step

    def take(self, step: int) -> int | None:
        """The number of a step in the run; None when it was stored already."""
        number = self._before + step
        if number == self._stored:
            return None
        self._stored = number
        return number

    @property
    def again(self) -> bool:
        """Whether steps may be stored a second time."""
        return self._again

    def _last(self) -> int | None:
        self.store.flush()
        rows = StepRows(self.store.parts).of(self.name)
        return max(
            (r.step for r in rows if r.step is not None and r.row.state == "kept"), default=None
        )
