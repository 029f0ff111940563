"""Short trainings with Lightning, stored by the callback."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from tests.frameworks.guide import run_blocks
from torch.utils.data import DataLoader, TensorDataset

from mstore import ExistsError
from mstore.integrations.lightning import MstoreCallback
from mstore.store import Store

pytestmark = pytest.mark.filterwarnings(
    # Lightning's own remarks about loaders and devices.
    "ignore::UserWarning",
    "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning",
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)

ROWS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LOADER = DataLoader(TensorDataset(ROWS, ROWS.sum(1, keepdim=True)), batch_size=4)


class Line(LightningModule):
    """A linear layer with momentum and a schedule."""

    def __init__(self, rate: float = 0.05, *, breaks_at: int = -1) -> None:
        super().__init__()
        self.rate = rate
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
        self.breaks_at = breaks_at

    def training_step(self, batch: Any, _: int) -> Any:
        """Give the loss of a batch."""
        if self.global_step == self.breaks_at:
            raise RuntimeError("broken")
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Log the loss of a batch."""
        self.log("val/loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        """Give both."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def fit(module: Line, folder: Path, epochs: int, *callbacks: Any) -> Line:
    """Train on one core."""
    trainer = Trainer(
        max_epochs=epochs, callbacks=list(callbacks), accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(module, LOADER, LOADER)
    return module


def made() -> Line:
    """Make the same module each time."""
    torch.manual_seed(0)
    return Line()


def same(state: Any, other: Any) -> bool:
    """Whether two state dicts are equal, bit for bit."""
    return state.keys() == other.keys() and all(torch.equal(state[n], other[n]) for n in state)


def test_three_epochs_are_three_versions(store: Store, tmp_path: Path) -> None:
    """Each epoch is a version with its step, results and hyperparameters; the last is the model."""
    module = fit(made(), tmp_path, 3, MstoreCallback(store, "line", tags=("demo",)))
    rows = list(store.log("line"))
    versions = [row.version for row in reversed(rows)]
    assert [version.metadata["step"] for version in versions] == [3, 6, 9]
    assert [version.metadata["epoch"] for version in versions] == [0, 1, 2]
    assert all({"train/loss", "val/loss"} <= set(version.metrics) for version in versions)
    assert len({version.metrics["val/loss"] for version in versions}) == 3
    assert versions[0].parameters["rate"] == 0.05
    assert versions[0].tags == ("demo",)
    assert same(store.load("line", "torch"), module.state_dict())
    assert not same(store.load("line@1", "torch"), module.state_dict())


def test_training_goes_on_as_if_it_had_not_stopped(store: Store, tmp_path: Path) -> None:
    """Two epochs, and two more in a new trainer, give the bits of four epochs in one."""
    whole = fit(made(), tmp_path, 4)
    fit(made(), tmp_path, 2, MstoreCallback(store, "line"))
    resumed = fit(Line(), tmp_path, 4, MstoreCallback(store, "line", resume=True))
    assert same(whole.state_dict(), resumed.state_dict())
    assert [store.resume("line", step).step for step in (3, 6, 9, 12)] == [3, 6, 9, 12]
    assert len(list(store.log("line"))) == 4


def test_without_training_state_the_weights_go_on(store: Store, tmp_path: Path) -> None:
    """Where only weights were kept, training begins with them and steps are counted on."""
    kept = MstoreCallback(store, "line", training=False)
    first = fit(made(), tmp_path, 1, kept).state_dict()
    begun: list[Any] = []

    class Seen(Line):
        def on_train_start(self) -> None:
            begun.append({name: value.clone() for name, value in self.state_dict().items()})

    fit(Seen(), tmp_path, 1, MstoreCallback(store, "line", training=False, resume=True))
    assert same(begun[0], first)
    assert store.resume("line").step == 6
    assert [row.name for row in store.models()] == ["line"]


def test_a_run_is_not_begun_twice(store: Store, tmp_path: Path) -> None:
    """A name that has steps is refused before the first epoch unless it is resumed."""
    fit(made(), tmp_path, 1, MstoreCallback(store, "line"))
    with pytest.raises(ExistsError, match="steps up to 3"):
        fit(made(), tmp_path, 1, MstoreCallback(store, "line"))
    assert len(list(store.log("line"))) == 1


def test_what_was_passed_over_is_stored_at_the_end(store: Store, tmp_path: Path) -> None:
    """Every second epoch of three, and the last."""
    module = fit(made(), tmp_path, 3, MstoreCallback(store, "line", every=2))
    assert [store.resume(f"line@{number}").step for number in (1, 2)] == [6, 9]
    assert same(store.load("line", "torch"), module.state_dict())


def test_a_training_that_breaks_keeps_its_epochs(store: Store, tmp_path: Path) -> None:
    """What was taken before an exception is durable."""
    with pytest.raises(RuntimeError, match="broken"):
        fit(Line(breaks_at=4), tmp_path, 3, MstoreCallback(store, "line"))
    assert store.resume("line").step == 3


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/integrations.md shows of it works as printed."""
    run_blocks("lightning", tmp_path)
