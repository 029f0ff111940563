"""Neurons in another order: where that may be, and finding the order again."""

from itertools import permutations

import numpy as np
import pytest
import torch

from mstore.numerics.align import align, permute
from mstore.numerics.assign import assign
from mstore.numerics.seams import find_seams, natural


@pytest.mark.parametrize("count", range(7))
def test_assign_is_the_best_of_all_pairings(count: int) -> None:
    """No other pairing is worth more, ties and negative worths included."""
    rng = np.random.default_rng(count)
    for trial in range(20):
        worth = rng.integers(-4, 5, (count, count)) + rng.random((count, count)) * (trial % 2)
        found = assign(worth)
        assert sorted(found) == list(range(count))
        ways = permutations(range(count))
        best = max(sum(worth[row, column] for row, column in enumerate(way)) for way in ways)
        assert worth[np.arange(count), found].sum() == pytest.approx(best)


def network() -> torch.nn.Sequential:
    """Convolutions with norms, flattened into linear layers."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 24, 3),
        torch.nn.BatchNorm2d(24),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(24 * 4 * 4, 40),
        torch.nn.ReLU(),
        torch.nn.Linear(40, 5),
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net.eval()


def arrays(net: torch.nn.Module) -> dict[str, np.ndarray]:
    """The weights as float32."""
    return {name: value.numpy().astype(np.float32) for name, value in net.state_dict().items()}


def test_a_seam_takes_all_that_must_follow() -> None:
    """Permuting every seam at random leaves the network the same function."""
    net = network().double()
    points = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    expected = net(points)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    seams = find_seams({name: value.shape for name, value in weights.items()})
    assert [seam.width for seam in seams] == [16, 24, 40]
    rng = np.random.default_rng(1)
    for seam in seams:
        permute(weights, seam, rng.permutation(seam.width))
    assert not np.array_equal(weights["7.weight"], net.state_dict()["7.weight"].numpy())
    net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    torch.testing.assert_close(net(points), expected)


def test_a_permuted_copy_is_found_again() -> None:
    """The order of a copy whose neurons were all permuted is undone exactly, noise or not."""
    first = arrays(network())
    seams = find_seams({name: value.shape for name, value in first.items()})
    rng = np.random.default_rng(2)
    noisy = {name: value + rng.normal(0, 1e-3, value.shape) for name, value in first.items()}
    for seam in seams:
        permute(noisy, seam, rng.permutation(seam.width))
    for seam, order in zip(seams, align(first, noisy, seams), strict=True):
        assert order is not None
        permute(noisy, seam, order)
    for name, value in first.items():
        np.testing.assert_allclose(noisy[name], value, atol=0.01)


def test_what_is_in_order_stays() -> None:
    """A fine-tune whose neurons did not move is left as it is."""
    first = arrays(network())
    seams = find_seams({name: value.shape for name, value in first.items()})
    second = {name: value * np.float32(1.01) for name, value in first.items()}
    assert align(first, second, seams) == [None, None, None]


def test_layers_are_ordered_by_what_fits() -> None:
    """Where names are in another order than the layers, shapes say what follows what."""
    shapes = {
        "head.weight": (3, 7),
        "head.bias": (3,),
        "body.weight": (7, 5),
        "body.bias": (7,),
        "input.weight": (5, 2),
    }
    seams = find_seams(shapes)
    assert [seam.width for seam in seams] == [5, 7]
    assert {side.name for side in seams[1].sides} == {"body.weight", "body.bias", "head.weight"}


def test_what_does_not_fit_has_no_seam() -> None:
    """Layers that do not follow from one another are no chain."""
    assert find_seams({"a.weight": (3, 4), "b.weight": (5, 6), "c": (9,)}) == []
    assert find_seams({}) == []


def test_numbers_in_names_count() -> None:
    """Layer 10 comes after layer 2."""
    names = ["layer.10.weight", "layer.2.weight", "layer.1.weight"]
    assert sorted(names, key=natural) == [names[2], names[1], names[0]]
