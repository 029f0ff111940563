"""torch modules: what is stored of one, and how one is filled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mstore import InvalidInputError
from mstore.store import Store

LINES = torch.linspace(-1, 1, 12).reshape(4, 3)


class Tied(nn.Module):
    """An embedding and a head that are one parameter."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.full((), 2.0 + seed))
        self.register_buffer("mask", torch.ones(2), persistent=False)

    def forward(self, tokens: Any) -> Any:
        """Give a number for each token of the vocabulary."""
        return self.head(self.embed(tokens)) * self.scale


def bits(tensor: torch.Tensor) -> bytes:
    """Give the bytes of a tensor."""
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def test_a_shared_parameter_is_stored_once_and_stays_shared(store: Store) -> None:
    """Both names are there, the numbers once; a module that shares goes on sharing."""
    model, other = Tied(0), Tied(1)
    put = store.put(model, "tied")
    assert sorted(store.load("tied")) == ["embed.weight", "head.weight", "scale"]
    assert len({row.id for row in store.tensors("tied")}) == 2
    store.load("tied", into=other)
    assert other.head.weight is other.embed.weight
    tokens = torch.arange(6)
    assert bits(other(tokens)) == bits(model(tokens))
    assert put.tensors == 3


def test_one_name_of_a_shared_parameter_is_enough(store: Store) -> None:
    """A file that has only one of two shared names, as others write them, fills both."""
    state = Tied(0).state_dict()
    del state["head.weight"]
    store.put(state, "tied")
    other = Tied(1)
    store.load("tied", into=other)
    assert bits(other.embed.weight) == bits(state["embed.weight"])
    assert other.head.weight is other.embed.weight


def test_a_parameter_is_not_shared_over_two_that_differ(store: Store) -> None:
    """A version with two numbers where the module has one is refused, the module untouched."""
    state = Tied(0).state_dict()
    state["head.weight"] = state["embed.weight"] + 1
    store.put(state, "untied")
    other = Tied(1)
    before = bits(other.embed.weight)
    with pytest.raises(InvalidInputError, match=r"shares 'embed\.weight' and 'head\.weight'"):
        store.load("untied", into=other)
    assert bits(other.embed.weight) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), r"it lacks '0\.bias'"),
        (lambda state: state.update(extra=torch.ones(1)), "the model has no 'extra'"),
        (lambda state: state.update({"0.bias": torch.ones(5)}), r"'0\.bias' .* float32 \[5\]"),
        (lambda state: state.update({"0.bias": torch.ones(4).half()}), "float16"),
    ],
    ids=["missing", "unexpected", "shape", "dtype"],
)
def test_tensors_that_do_not_fit_are_named(store: Store, change: Any, message: str) -> None:
    """Missing and unexpected names, other shapes and other dtypes leave the module as it was."""
    model = nn.Sequential(nn.Linear(3, 4))
    state = dict(model.state_dict())
    change(state)
    store.put(state, "lenet")
    before = bits(model[0].weight)
    with pytest.raises(InvalidInputError, match=message):
        store.load("lenet", into=model)
    assert bits(model[0].weight) == before


def test_a_module_on_the_meta_device_gets_its_numbers(store: Store) -> None:
    """A module without memory is filled with the tensors that are loaded, shared ones once."""
    model = Tied(0)
    store.put(model, "tied")
    with torch.device("meta"):
        empty = Tied(1)
    store.load("tied", into=empty)
    assert bits(empty.embed.weight) == bits(model.embed.weight)
    assert empty.head.weight is empty.embed.weight
    assert isinstance(empty.embed.weight, nn.Parameter)
    assert empty.embed.weight.requires_grad


def test_wrapped_modules_have_the_names_of_the_inner_one(store: Store) -> None:
    """What torch.compile and data parallelism put before a name is not stored."""
    model = nn.Sequential(nn.Linear(3, 4))
    plain = store.put(model, "plain")
    for wrapped in (torch.compile(model, backend="eager"), nn.DataParallel(model)):
        again = store.put(wrapped, "plain")
        assert (again.unchanged, again.version) == (True, plain.version)
        store.load("plain", into=wrapped)


class Labelled(torch.Tensor):
    """A tensor of whoever calls, with plain numbers in it."""


def _views() -> dict[str, torch.Tensor]:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    complex_numbers = torch.tensor([1 + 2j, 3 - 4j])
    return {
        "transposed": base.T,
        "strided": base[::2, 1::2],
        "expanded": base[:1].expand(3, 6),
        "flipped": base.flip(0),
        "scalar": base[1, 2],
        "conjugate": complex_numbers.conj(),
        "negative": complex_numbers.conj().imag,
        "bf16": base.bfloat16().T,
        "fp8": base.to(torch.float8_e4m3fn),
        "subclass": base.as_subclass(Labelled),
        "parameter": nn.Parameter(base, requires_grad=True),
        "empty": base[:0],
    }


@pytest.mark.parametrize("name", _views())
def test_views_are_stored_by_their_numbers(store: Store, name: str) -> None:
    """Strides, lazy conjugates and negatives, subclasses and narrow floats come back by value."""
    value = _views()[name]
    store.put({"w": value}, "w")
    loaded = store.load("w", "torch")["w"]
    assert (loaded.dtype, loaded.shape) == (value.dtype, value.shape)
    plain = value.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    assert bits(loaded) == bits(plain)


ODD = {
    "qint8": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.empty(3, device="meta"),
    "complex128": lambda: torch.ones(2, dtype=torch.complex128),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "no shape": lambda: nn.LazyLinear(3).weight,
    "int": lambda: 3,
    "Linear": lambda: nn.Linear(2, 2),
}
"""What is no tensor of numbers, or not yet."""


# torch says of some of these that they are new, or will go.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_plain_tensor_is_refused(store: Store, what: str) -> None:
    """Quantised, sparse, nested, meta and wide complex tensors are named, nothing is stored."""
    with pytest.raises(InvalidInputError, match=f"'w'.*{what}"):
        store.put({"w": ODD[what]()}, "w")
    assert store.models() == []


def test_a_distributed_tensor_is_refused(store: Store, tmp_path: Path) -> None:
    """A tensor of which this program has a part is named, with the way to the whole."""
    program = (
        "import sys, torch, torch.distributed as dist, mstore\n"
        "from torch.distributed.tensor import distribute_tensor, init_device_mesh\n"
        "dist.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=0,"
        " world_size=1)\n"
        "tensor = distribute_tensor(torch.ones(4), init_device_mesh('cpu', (1,)))\n"
        "try:\n"
        "    mstore.open(sys.argv[1]).put({'w': tensor}, 'w')\n"
        "except mstore.InvalidInputError as error:\n"
        "    print(error, '|', error.hint)\n"
        "dist.destroy_process_group()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, store.path, tmp_path / "rendezvous"],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "'w' is a DTensor" in done.stdout
    assert "full_tensor" in done.stdout


def test_a_state_that_is_no_tensor_is_refused(store: Store) -> None:
    """A module whose state holds what is no tensor is named by it."""

    class Odd(nn.Module):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    with pytest.raises(InvalidInputError, match=r"'0\._extra_state' is a dict"):
        store.put(nn.Sequential(Odd()), "odd")


def test_a_sharded_checkpoint_fills_a_module(store: Store, tmp_path: Path) -> None:
    """A folder of shards with an index, as Hugging Face writes it, is one model."""
    model, other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), nn.Sequential()
    other.extend([nn.Linear(3, 4), nn.Linear(4, 2)])
    state, folder = model.state_dict(), tmp_path / "sharded"
    folder.mkdir()
    places = {name: f"model-0000{1 + int(name[0])}-of-00002.safetensors" for name in state}
    for shard in set(places.values()):
        save_file({n: t for n, t in state.items() if places[n] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    sharded, whole = store.put(folder, "sharded"), store.put(model, "whole")
    hashes = [store.parts.odb.version(put.version).model_hash for put in (sharded, whole)]
    assert hashes[0] == hashes[1]
    store.load("sharded", into=other)
    assert bits(other(LINES)) == bits(model(LINES))


def test_a_tensor_alone_has_no_name(store: Store) -> None:
    """A lone tensor is refused, as nothing says what to call it."""
    with pytest.raises(InvalidInputError, match="no name"):
        store.put(torch.ones(3), "w")
    store.put({"w": torch.ones(3)}, "w")
    with pytest.raises(InvalidInputError, match="no module"):
        store.load("w", "torch", into=torch.ones(3))


def test_loading_does_not_need_the_store_afterwards(store: Store) -> None:
    """A filled module has numbers of its own: the store may go away."""
    store.put(nn.Sequential(nn.Linear(3, 4)), "lenet", codec="raw")
    model = nn.Sequential(nn.Linear(3, 4))
    store.load("lenet", into=model)
    before = bits(model(LINES))
    shutil.rmtree(store.path)
    assert bits(model(LINES)) == before
