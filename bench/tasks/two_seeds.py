"""Trains one small convolutional network from two seeds, on pictures made up on the spot.

Usage: two_seeds.py TARGET. Writes TARGET/{one,two}/model.safetensors, fp32, about 1 MB each: two
models of the same shapes that have nothing in common.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

SIDE, CLASSES, STEPS, BATCH = 16, 8, 150, 64
SEEDS = {"one": 1, "two": 2}


def network() -> nn.Sequential:
    """Three convolutions and a head."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(128 * (SIDE // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    )


def pictures(patterns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of noisy patterns [BATCH, 1, SIDE, SIDE] and which pattern each shows."""
    shown = torch.randint(CLASSES, (BATCH,))
    return patterns[shown] + torch.randn(BATCH, 1, SIDE, SIDE), shown


def train(seed: int, patterns: torch.Tensor) -> nn.Sequential:
    """One network, from its seed."""
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(STEPS):
        given, wanted = pictures(patterns)
        loss = nn.functional.cross_entropy(model(given), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(seed, step, loss.item())
    return model


def main(target: Path) -> None:
    """Trains and saves both; the same bytes each time on one machine."""
    torch.set_num_threads(1)
    patterns = torch.randn(CLASSES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    unfinished = target.with_name(target.name + ".unfinished")
    for name, seed in SEEDS.items():
        folder = unfinished / name
        folder.mkdir(parents=True)
        save_file(train(seed, patterns).state_dict(), folder / "model.safetensors")
    unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
