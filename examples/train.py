"""Train the checkpoints that the demo stores: a small digit classifier and what comes of it.

Run it as ``python examples/train.py`` after ``pip install '.[examples]'``. It writes the folders
of ``examples/checkpoints`` again, in a few seconds. The seed is fixed, so the
same versions of torch and scikit-learn on the same kind of processor give the same bytes.

The data are the 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

SEED = 20_261_122
CHECKPOINTS = Path(__file__).parent / "checkpoints"
KEPT_EPOCHS = (1, 2, 4, 8)
BATCH = 64
LEARNING_RATE = 1e-3

Split = tuple[torch.Tensor, torch.Tensor]


class Digits(nn.Module):
    """Two convolutions, one hidden layer and a head; about 118,000 parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * 4 * 4, 96)
        self.head = nn.Linear(96, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]`` of images ``[batch, 1, 8, 8]`` with values in [0, 1]."""
        found = functional.relu(self.conv1(images))
        found = functional.max_pool2d(functional.relu(self.conv2(found)), 2)
        found = functional.relu(self.hidden(found.flatten(1)))
        logits: torch.Tensor = self.head(found)
        return logits


def split_digits() -> tuple[Split, Split]:
    """The digits, shuffled: four fifths to train on, one fifth to validate."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    targets = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(targets))
    cut = len(targets) * 4 // 5
    train, held = order[:cut], order[cut:]
    return (images[train], targets[train]), (images[held], targets[held])


def train_epochs(model: nn.Module, train: Split, held: Split) -> Iterator[dict[str, float]]:
    """Train for ever; after each epoch, its metrics. Frozen parameters stay as they are."""
    trainable = [weights for weights in model.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=LEARNING_RATE)
    images, targets = train
    epoch = 0
    while True:
        epoch += 1
        total = 0.0
        for batch in torch.randperm(len(targets)).split(BATCH):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images[batch]), targets[batch])
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        yield {"epoch": epoch, "train/loss": total / len(targets), **validate(model, held)}


@torch.no_grad()
def validate(model: nn.Module, held: Split) -> dict[str, float]:
    """Loss and accuracy on the held-out images."""
    images, targets = held
    logits = model(images)
    right = (logits.argmax(1) == targets).float().mean()
    loss = functional.cross_entropy(logits, targets)
    return {"val/loss": loss.item(), "val/accuracy": right.item()}


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as a person would lay it out."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_checkpoint(
    folder: Path, model: nn.Module, metrics: dict[str, float], task: str, **config: object
) -> None:
    """Write the weights, how they came about and how well they do."""
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    common = {"architecture": "Digits", "learning_rate": LEARNING_RATE, "seed": SEED}
    write_json(folder / "config.json", {**common, "batch": BATCH, "task": task, **config})
    write_json(folder / "metrics.json", metrics)


def train_series(train: Split, held: Split) -> tuple[Digits, dict[str, float]]:
    """Train from scratch and keep some of the epochs."""
    model = Digits(classes=10)
    metrics: dict[str, float] = {}
    for metrics in train_epochs(model, train, held):
        epoch = int(metrics["epoch"])
        if epoch in KEPT_EPOCHS:
            folder = CHECKPOINTS / "digits" / f"epoch-{epoch}"
            save_checkpoint(folder, model, metrics, "which digit", epoch=epoch)
        if epoch == max(KEPT_EPOCHS):
            break
    return model, metrics


def fine_tune(model: Digits, train: Split, held: Split) -> None:
    """Teach the frozen backbone another question: is the digit odd."""
    tuned = Digits(classes=2)
    backbone = {name: value for name, value in model.state_dict().items() if "head" not in name}
    tuned.load_state_dict(backbone, strict=False)
    for name, weights in tuned.named_parameters():
        weights.requires_grad = "head" in name
    epochs = train_epochs(tuned, (train[0], train[1] % 2), (held[0], held[1] % 2))
    metrics = next(metrics for metrics in epochs if metrics["epoch"] == max(KEPT_EPOCHS))
    save_checkpoint(CHECKPOINTS / "parity", tuned, metrics, "odd or even", frozen="backbone")


def save_renamed(model: Digits, metrics: dict[str, float]) -> None:
    """The last epoch as another framework would name its tensors: same numbers, other keys."""
    folder = CHECKPOINTS / "renamed"
    folder.mkdir()
    renamed = {f"backbone.{name}": value for name, value in model.state_dict().items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt", "keys": "backbone"})
    write_json(folder / "metrics.json", metrics)


def save_sharded(model: Digits) -> None:
    """The last epoch cut into two files and an index, as large models are shipped."""
    folder = CHECKPOINTS / "sharded"
    folder.mkdir()
    weights = model.state_dict()
    shards = (("conv1", "conv2", "head"), ("hidden",))
    places: dict[str, str] = {}
    for number, parts in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        shard = {name: weights[name] for name in weights if name.partition(".")[0] in parts}
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    total = sum(value.nbytes for value in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    write_json(folder / "model.safetensors.index.json", index)


def main() -> None:
    """Make every folder of ``examples/checkpoints`` again."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)
    train, held = split_digits()
    model, metrics = train_series(train, held)
    fine_tune(model, train, held)
    save_renamed(model, metrics)
    save_sharded(model)
    for path in sorted(CHECKPOINTS.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>9,}  {path.relative_to(CHECKPOINTS)}")


if __name__ == "__main__":
    main()
