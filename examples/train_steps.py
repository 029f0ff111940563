"""Keep every step of a training run, and go on from any of them as if nothing had happened.

Run it as ``python examples/train_steps.py [STORE]`` after ``pip install '.[torch]'``. A small
classifier is trained for 20 steps, each of which is stored while the next is computed. Then
training goes on from step 10 once more and has to arrive at the same weights, bit for bit.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import mstore
from mstore.ops.steplog.step import Pending
from mstore.store import Store

RUN = "teacher-student"
STEPS = 20
BATCH = 256
SEED = 20_261_123


class Trainer:
    """A model, its optimizer and its learning rate; batches come from torch's random numbers."""

    def __init__(self) -> None:
        torch.manual_seed(SEED)
        self.teacher = nn.Linear(256, 10)
        self.model = nn.Sequential(
            nn.Linear(256, 512), nn.GELU(), nn.Dropout(0.1), nn.Linear(512, 10)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS)

    def train_step(self) -> float:
        """One step on a fresh batch; the loss."""
        images = torch.randn(BATCH, 256)
        with torch.no_grad():
            labels = self.teacher(images).argmax(1)
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def checkpoint(self, store: Store, step: int, loss: float) -> Pending:
        """Hand everything that the next step depends on to the store."""
        return store.checkpoint(
            self.model.state_dict(),
            run=RUN,
            step=step,
            optimizer=self.optimizer.state_dict(),
            trainer={"schedule": self.schedule.state_dict(), "random": torch.get_rng_state()},
            metrics={"train/loss": loss},
            params={"batch": BATCH, "seed": SEED},
        )

    def resume(self, store: Store, step: int) -> None:
        """Become what was handed over at ``step``."""
        found = store.resume(RUN, step)
        assert found.optimizer is not None
        assert found.trainer is not None
        self.model.load_state_dict(found.model)
        self.optimizer.load_state_dict(found.optimizer)
        self.schedule.load_state_dict(found.trainer["schedule"])
        torch.set_rng_state(found.trainer["random"])


def train(store: Store) -> dict[str, torch.Tensor]:
    """Train from the start, storing every step; the last weights."""
    trainer = Trainer()
    for step in range(1, STEPS + 1):
        loss = trainer.train_step()
        pending = trainer.checkpoint(store, step, loss)
        held, waited = 1000 * pending.held, 1000 * pending.waited
        print(f"step {step:2}: loss {loss:.3f}, held {held:.1f} ms, waited {waited:.1f} ms")
    store.flush()
    return trainer.model.state_dict()


def train_again(store: Store, start: int) -> dict[str, torch.Tensor]:
    """Train from a stored step to the end; the last weights."""
    trainer = Trainer()
    trainer.resume(store, start)
    for _ in range(start, STEPS):
        trainer.train_step()
    return trainer.model.state_dict()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def show_sizes(store: Store, folder: Path) -> None:
    """What the steps would take as files, and what the store takes."""
    given = sum(row.size_bytes for row in store.du())
    taken = folder_bytes(folder) - folder_bytes(folder / "cache")
    print(f"{STEPS} steps: {given:,} bytes given, {taken:,} bytes stored ({taken / given:.0%})")


def clean_up(store: Store) -> None:
    """Keep the last 2 steps, every 10th and the best, and the optimizer state of the last."""
    plan = store.retain(RUN, last=2, every=10, best=["train/loss:min"], optimizer_last=1)
    for row in plan.kept:
        print(f"kept {row.label} (step {row.step}): {', '.join(row.reasons)}")
    print(f"{len(plan.removed)} others go with the next gc")
    store.gc(now=True)


def main() -> int:
    """Train, go back, train again and compare."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()) / ".mstore"
    store, _ = mstore.init(folder)
    with store:
        once = train(store)
        again = train_again(store, STEPS // 2)
        same = all(torch.equal(once[name], again[name]) for name in once)
        print(f"from step {STEPS // 2} again:", "identical" if same else "DIFFERENT")
        show_sizes(store, folder)
        clean_up(store)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
