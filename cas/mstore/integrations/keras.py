"""A callback for ``keras.Model.fit``: every epoch a checkpoint, stored in the background."""

from collections.abc import Mapping
from typing import Any

from mstore.extras import needs
from mstore.integrations.results import numbers, plain
from mstore.integrations.run import Run
from mstore.objects import Value
from mstore.store import Store

with needs("keras"):
    import keras

    from mstore.adapters.keras import weights


class MstoreCallback(keras.callbacks.Callback):  # type: ignore[misc] # Keras' types are not read
    """Stores the weights after every ``every`` epochs as the next version of ``run``.

    Tensors have the names that ``put`` gives them; a step is an epoch. Training
    waits for the copy only; when ``fit`` returns all is durable.

    With ``resume`` a run that has steps goes on from the last: its weights and its optimizer's
    variables; ``fit`` counts its epochs from nought, the run counts on. Without it ExistsError
    comes before the first epoch.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        *,
        every: int = 1,
        optimizer: bool = True,
        resume: bool = False,
        params: Mapping[str, Value] | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._run = Run(store, run, resume=resume)
        self._every = every
        self._optimizer = optimizer
        self._given = dict(params or {})
        self._tags = tags
        self._trained = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Go on from the last step, where that is wanted."""
        del logs
        self._trained = 0
        found = self._run.begin(0)
        if found is None:
            return
        self._run.count_on(found)
        _assign(weights(self.model), found.model)
        if found.optimizer is not None:
            _assign(_kept(self.model.optimizer), found.optimizer)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Store the epoch."""
        self._trained += 1
        if self._trained % self._every == 0:
            self._store_epoch(epoch, logs or {})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Store the last epoch if it was passed over, and wait until all is durable."""
        if self._trained:
            self._store_epoch(self.params["epochs"] - 1, logs or {})
        self._run.store.flush()

    def _store_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        step = self._run.take(self._trained)
        if step is None:
            return
        optimizer = _arrays(_kept(self.model.optimizer)) if self._optimizer else None
        rate = plain(float(self.model.optimizer.learning_rate))
        self._run.store.checkpoint(
            _arrays(weights(self.model)),
            self._run.name,
            step,
            optimizer=optimizer,
            params={"optimizer": self.model.optimizer.name, "learning_rate": rate, **self._given},
            metrics=numbers(logs),
            metadata={"epoch": epoch},
            tags=self._tags,
        )


def _arrays(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: held.numpy() for name, held in variables.items()}


def _assign(variables: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, held in variables.items():
        held.assign(values[name])


def _kept(optimizer: Any) -> dict[str, Any]:  # noqa: ANN401 - a keras.Optimizer
    """The variables of an optimizer by their places: the paths count the optimizers made."""
    return {str(at): held for at, held in enumerate(optimizer.variables)}
