"""A callback for the ``Trainer`` of Hugging Face: every save is a checkpoint of a run."""

from typing import Any

from mstore.extras import needs
from mstore.integrations.results import numbers, plain
from mstore.integrations.run import Run
from mstore.store import Store

with needs("transformers"):
    from transformers import TrainerCallback

_COUNTERS = frozenset({"step", "epoch"})


class MstoreCallback(TrainerCallback):  # type: ignore[misc] # the types of transformers are not read
    """Stores the model whenever the trainer saves (``save_strategy``), as a version of ``run``.

    With the newest result of each kind and the arguments of the training. The trainer waits for
    the copy only; when ``train`` returns all is durable. Of several ranks the first stores.

    With ``resume`` a run that has steps goes on from the last: its weights, and the state of the
    optimizer if ``optimizer`` kept it. The trainer plans its epochs and learning rates anew;
    steps are counted on. Without it ExistsError comes before the first step. Training that the
    trainer resumes from its own folder is simply stored on.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        *,
        optimizer: bool = True,
        resume: bool = False,
        tags: tuple[str, ...] = (),
    ) -> None:
        self._run = Run(store, run, resume=resume)
        self._optimizer = optimizer
        self._tags = tags

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the trainer's own
        """Go on from the last step, where that is wanted."""
        del args, control
        found = self._run.begin(state.global_step)
        if found is None:
            return
        self._run.count_on(found)
        kwargs["model"].load_state_dict(found.model)
        if found.optimizer is not None:
            groups = kwargs["optimizer"].state_dict()["param_groups"]
            kwargs["optimizer"].load_state_dict({**found.optimizer, "param_groups": groups})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as above
        """Store what was just saved."""
        del control
        self._store_step(args, state, kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as above
        """Store the last step if it was not saved, and wait until all is durable."""
        del control
        self._store_step(args, state, kwargs)
        self._run.store.flush()

    def _store_step(self, args: Any, state: Any, given: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        if not state.is_world_process_zero:
            return
        step = self._run.take(state.global_step)
        if step is None:
            return
        held = given.get("optimizer") if self._optimizer else None
        self._run.store.checkpoint(
            given["model"].state_dict(),
            self._run.name,
            step,
            optimizer=None if held is None else {"state": held.state_dict()["state"]},
            params={str(name): plain(value) for name, value in args.to_dict().items()},
            metrics=_newest(state.log_history),
            metadata={"epoch": plain(state.epoch)},
            tags=self._tags,
            always=self._run.again,
        )


def _newest(history: list[dict[str, Any]]) -> dict[str, float]:
    """The last value of everything that was logged, but for what counts steps."""
    found: dict[str, float] = {}
    for entry in history:
        found |= numbers(entry)
    return {name: value for name, value in found.items() if name not in _COUNTERS}
