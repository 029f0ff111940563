"""A callback for Lightning's ``Trainer``: every epoch a checkpoint, stored in the background."""

from typing import Any

from mstore.extras import needs
from mstore.integrations.results import numbers, plain
from mstore.integrations.run import Run
from mstore.ops.steplog.resume import Resumed
from mstore.store import Store

with needs("lightning"):
    from lightning.pytorch import Callback


class MstoreCallback(Callback):  # type: ignore[misc] # Lightning's types are not read
    """Stores the module after every ``every`` epochs as the next version of ``run``.

    With its results and its hyperparameters; step numbers are the trainer's own. The trainer waits
    for the copy only; when ``fit`` returns all is durable. Of several ranks the first stores.

    With ``resume`` a run that has steps goes on from the last: weights, and what ``training``
    kept of optimizers, schedulers and loops. Without it ExistsError comes before the first epoch.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        *,
        every: int = 1,
        training: bool = True,
        resume: bool = False,
        tags: tuple[str, ...] = (),
    ) -> None:
        self._run = Run(store, run, resume=resume)
        self._every = every
        self._training = training
        self._tags = tags

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Go on from the last step, where that is wanted; optimizers exist by now."""
        found = self._run.begin(trainer.global_step)
        if found is None:
            return
        pl_module.load_state_dict(found.model)
        if found.optimizer is None or found.trainer is None:
            self._run.count_on(found)
        else:
            _restore(trainer, found)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Store the epoch; Lightning has validated by then."""
        if (trainer.current_epoch + 1) % self._every == 0:
            self._store_epoch(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401 - Lightning's own
        """Store the last epoch if it was passed over, and wait until all is durable."""
        self._store_epoch(trainer, pl_module)
        self._run.store.flush()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ANN401 - as above
        """Make durable what was taken before training failed."""
        del trainer, pl_module, exception
        self._run.store.flush()

    def _store_epoch(self, trainer: Any, module: Any) -> None:  # noqa: ANN401 - Lightning's own
        if not trainer.is_global_zero:
            return
        step = self._run.take(trainer.global_step)
        if step is None:
            return
        kept = _training(trainer) if self._training else {}
        self._run.store.checkpoint(
            module.state_dict(),
            self._run.name,
            step,
            params={str(name): plain(value) for name, value in dict(module.hparams).items()},
            metrics=numbers(trainer.callback_metrics),
            metadata={"epoch": trainer.current_epoch},
            tags=self._tags,
            always=self._run.again,
            **kept,
        )


def _training(trainer: Any) -> dict[str, Any]:  # noqa: ANN401 - Lightning's own
    """What training goes on from: Lightning restores the same from its own checkpoints."""
    schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    return {
        "optimizer": {"optimizers": [held.state_dict() for held in trainer.optimizers]},
        "trainer": {"loop": trainer.fit_loop.state_dict(), "schedules": schedules},
    }


def _restore(trainer: Any, found: Resumed) -> None:  # noqa: ANN401 - Lightning's own
    optimizer, kept = found.optimizer or {}, found.trainer or {}
    for held, state in zip(trainer.optimizers, optimizer["optimizers"], strict=True):
        held.load_state_dict(state)
    for config, state in zip(trainer.lr_scheduler_configs, kept["schedules"], strict=True):
        config.scheduler.load_state_dict(state)
    trainer.fit_loop.load_state_dict(kept["loop"])
