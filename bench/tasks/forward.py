"""Estimates and times the forward pass of five networks on one thread: forward.py STORE."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import mstore
from mstore.ops.estimate import clock

ROUNDS = 20


class Residual(nn.Module):
    """Two convolutions with a connection around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        same = {"kernel_size": 3, "padding": 1}
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, **same),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, **same),
            nn.BatchNorm2d(channels),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The image and what the convolutions add to it."""
        return torch.relu(image + self.body(image))


def perceptron() -> tuple[nn.Module, torch.Tensor]:
    """Three linear layers."""
    layers = (nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(1024, 10)), torch.rand(1, 784)


def lenet() -> tuple[nn.Module, torch.Tensor]:
    """LeNet-5, in which starting an operation costs more than the operation."""
    front = (nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU())
    back = (nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return nn.Sequential(*front, nn.MaxPool2d(2), nn.Flatten(), *back), torch.rand(1, 1, 28, 28)


def resnet() -> tuple[nn.Module, torch.Tensor]:
    """The first stage of ResNet-18."""
    stem = (nn.Conv2d(3, 64, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1000))
    return nn.Sequential(*stem, *(Residual(64) for _ in range(4)), *head), torch.rand(
        1, 3, 224, 224
    )


def vgg() -> tuple[nn.Module, torch.Tensor]:
    """The first two stages of VGG-16, and a linear layer of 100 MB."""
    layers: list[nn.Module] = []
    for before, after in ((3, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    head = (nn.Flatten(), nn.Linear(128 * 28 * 28, 256))
    return nn.Sequential(*layers, *head), torch.rand(1, 3, 112, 112)


def transformer() -> tuple[nn.Module, torch.Tensor]:
    """The encoder of MiniLM: six layers over 128 tokens."""
    layer = nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), torch.rand(1, 128, 384)


NETWORKS: tuple[Callable[[], tuple[nn.Module, torch.Tensor]], ...] = (
    perceptron,
    lenet,
    resnet,
    vgg,
    transformer,
)


def timed(module: nn.Module, given: torch.Tensor) -> float:
    """The median time of a pass in seconds."""
    found = []
    module.eval()
    with torch.no_grad():
        module(given)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            module(given)
            found.append(time.perf_counter() - start)
    return sorted(found)[ROUNDS // 2]


def main(place: Path) -> None:
    """Prints what was estimated and what was measured, as JSON."""
    torch.set_num_threads(1)
    store, _ = mstore.init(place)
    found = {}
    for make in NETWORKS:
        module, given = make()
        store.put(module.state_dict(), make.__name__)
        said = store.trace(make.__name__, module, [given])
        assert said.seconds is not None
        found[make.__name__] = {
            "estimated": said.seconds,
            "timed": timed(module, given),
            "flops": said.flops,
            "activations": said.activations_bytes,
        }
    print(json.dumps({"hertz": clock(), "networks": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
