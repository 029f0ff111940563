"""A family of small networks, each really fine-tuned from another, and a stranger."""

from collections.abc import Mapping

import numpy as np
import torch

TREE = {
    "base": None,
    "animals": "base",
    "birds": "animals",
    "owls": "birds",
    "ducks": "birds",
    "fish": "animals",
    "plants": "base",
    "trees": "plants",
    "oaks": "trees",
    "ferns": "plants",
    "stones": "base",
    "gems": "stones",
}
"""Which model each was fine-tuned from."""
STRANGER = "stranger"

State = Mapping[str, np.ndarray]


def network(seed: int) -> torch.nn.Sequential:
    """A classifier of vectors of 32 numbers."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(32, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 8),
    )


def train(net: torch.nn.Module, task: int, steps: int, rate: float) -> None:
    """Train on points around eight centres that belong to the task."""
    chance = torch.Generator().manual_seed(task)
    centres = torch.randn(8, 32, generator=chance)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(steps):
        labels = torch.randint(8, (64,), generator=chance)
        points = centres[labels] + torch.randn(64, 32, generator=chance)
        loss = torch.nn.functional.cross_entropy(net(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def family() -> dict[str, State]:
    """The weights of all of them by name; it takes about a second."""
    threads = torch.get_num_threads()
    # Such small networks take longer with more.
    torch.set_num_threads(1)
    found: dict[str, State] = {}
    for number, (name, parent) in enumerate({**TREE, STRANGER: None}.items()):
        net = network(number)
        if parent is not None:
            net.load_state_dict({key: torch.tensor(value) for key, value in found[parent].items()})
        steps, rate = (200, 3e-3) if parent is None else (40, 1e-3)
        train(net, number, steps, rate)
        found[name] = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    torch.set_num_threads(threads)
    return found
