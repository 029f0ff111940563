"""What running a version takes: traced once with the real module, and known from then on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mstore.errors import InvalidInputError
from mstore.ops.estimate import clock, known_processor
from mstore.store import Store


def network() -> torch.nn.Module:
    """A convolution, a pool and a linear layer."""
    layers = torch.nn.Conv2d(1, 4, 3), torch.nn.MaxPool2d(2), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(676, 10))


@pytest.fixture
def lenet(store: Store) -> Store:
    """A store with a network and the traces of one pass of it."""
    module = network()
    store.put(module.state_dict(), "lenet")
    store.trace("lenet", module, [torch.rand(1, 1, 28, 28)], clock=2e9)
    return store


def test_the_pass_is_counted_exactly(lenet: Store) -> None:
    """Arithmetic and memory are those of the layers."""
    found = lenet.estimate("lenet")
    convolution, linear = 2 * 9 * 4 * 26 * 26, 2 * 676 * 10
    assert found.flops == convolution + linear
    assert found.weights_bytes == 4 * (4 * 9 + 4 + 676 * 10 + 10)
    # The image, the convolution's result and the pool's, which come with the places of the maxima.
    assert found.activations_bytes is not None
    assert 4 * 28 * 28 + 4 * 4 * 26 * 26 <= found.activations_bytes <= 4 * 4 * 26 * 26 * 3
    assert found.memory_bytes == found.weights_bytes + found.activations_bytes
    assert found.measured == ()


def test_a_slower_processor_takes_longer(lenet: Store) -> None:
    """The time at half the clock lies above, and whether it fits is said."""
    here, slow = lenet.estimate("lenet"), lenet.estimate("lenet", hertz=1e9, deadline=60)
    assert here.seconds is not None
    assert slow.seconds is not None
    assert here.seconds < slow.seconds
    assert (slow.verdict, here.verdict) == ("fits", None)
    assert lenet.estimate("lenet", deadline=1e-9).verdict == "does not fit"
    assert lenet.estimate("lenet", deadline=here.seconds).verdict == "uncertain"


def test_what_was_measured_wins(lenet: Store) -> None:
    """A measured time and memory stand in place of the estimates."""
    lenet.note("lenet", metrics={"latency": 0.125, "memory": 4096})
    found = lenet.estimate("lenet", deadline=0.2)
    assert (found.seconds, found.memory_bytes, found.verdict) == (0.125, 4096, "fits")
    assert found.measured == ("latency", "memory")


def test_estimates_stand_back_in_revisions(lenet: Store) -> None:
    """An estimate never outvotes a measured value where the best is looked for."""
    lenet.put({"w": np.ones(3, np.float32)}, "lenet", metrics={"latency": 1e9})
    assert lenet.resolve("lenet@best(latency)").number == 2
    lenet.note("lenet@1", metrics={"latency": 1e10})
    assert lenet.resolve("lenet@best(latency)").number == 1


def test_without_a_trace_only_weights_are_known(store: Store) -> None:
    """Nothing is made up for a version whose pass nobody has traced."""
    store.put({"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}, "plain")
    found = store.estimate("plain", deadline=1)
    assert (found.weights_bytes, found.memory_bytes) == (12, None)
    assert (found.flops, found.seconds, found.verdict) == (None, None, None)


def test_a_trace_leaves_the_module_as_it_was(store: Store) -> None:
    """A module that was in training still is, and its weights get no gradients."""
    module = network().train()
    store.put(module.state_dict(), "lenet")
    store.trace("lenet", module, [torch.rand(2, 1, 28, 28)], clock=2e9)
    assert module.training
    assert all(weight.grad is None for weight in module.parameters())


def test_attention_and_recurrence_are_seen(store: Store) -> None:
    """Fused layers are counted by what they are made of."""
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    store.put(layer.state_dict(), "attention")
    found = store.trace("attention", layer, [torch.rand(1, 8, 16)], clock=2e9)
    # Four projections and two layers of the feed-forward part, and the products of attention.
    assert found.flops == 2 * 8 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * (2 * 8 * 8 * 16)
    lstm = torch.nn.LSTM(8, 8, batch_first=True)
    store.put(lstm.state_dict(), "recurrence")
    found = store.trace("recurrence", lstm, [torch.rand(1, 5, 8)], clock=2e9)
    assert found.flops == 5 * 2 * (4 * 8 * 8 + 4 * 8 * 8)


def test_inputs_that_do_not_fit_are_refused(store: Store) -> None:
    """A module that cannot run is said so, and nothing is noted."""
    store.put(network().state_dict(), "lenet")
    with pytest.raises(InvalidInputError):
        store.trace("lenet", network(), [torch.rand(3)], clock=2e9)
    assert store.notes("lenet") == []


def test_a_damaged_calibration_is_measured_again(lenet: Store) -> None:
    """What stands in the cache is believed only if it is whole."""
    assert known_processor(lenet.parts.backend) is not None
    for content in (b"", b"[]", b'{"hertz": -1}', b"\xff"):
        lenet.parts.backend.replace_cache("cache/processor", content)
        assert known_processor(lenet.parts.backend) is None
    found = lenet.trace("lenet", network(), [torch.rand(1, 1, 28, 28)], clock=2e9)
    assert found.seconds is not None


@pytest.mark.parametrize(
    "work",
    [
        {"operations": [["matmul", 1, 1]], "activations": 0},
        {"operations": [["sorcery", 1, 1, 1]], "activations": 0},
        {"operations": [["", -1, 1, 1]], "activations": 0},
        {"operations": 3, "activations": 0},
        {},
    ],
)
def test_a_note_that_only_looks_like_an_estimate_is_passed_over(store: Store, work: dict) -> None:
    """Metadata that anybody may have written is held against its form before it is used."""
    store.put({"w": np.ones(3, np.float32)}, "plain")
    store.note("plain", topic="estimate", metadata={"work": work, "processor": {}})
    assert store.estimate("plain").flops is None


def test_the_clock_is_the_fastest_of_the_cores(tmp_path: Path) -> None:
    """The clock is read from what the system says, and asked for where it says nothing."""
    path = tmp_path / "cpuinfo"
    path.write_text("cpu MHz\t\t: 1000.5\nbogomips: 9\ncpu MHz\t\t: 2000.0\n", encoding="utf-8")
    assert clock(path) == 2e9
    path.write_text("nothing of the kind", encoding="utf-8")
    with pytest.raises(InvalidInputError):
        clock(path)
