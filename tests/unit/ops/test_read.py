"""Tensors and rows without unpacking."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mstore
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.store import Store

Weights = dict[str, np.ndarray]


@pytest.fixture
def model(store: Store) -> tuple[Store, Weights]:
    """A store with one model that has a tensor of several chunks."""
    rng = np.random.default_rng(3)
    weights = {
        "big": rng.standard_normal((3000, 1000), dtype=np.float32),
        "small": np.arange(12, dtype=np.int32).reshape(3, 4),
        "scalar": np.array(2.5, np.float64),
        "empty": np.zeros((0, 5), np.float32),
    }
    store.put(weights, "m", codec="raw")
    return store, weights


@pytest.mark.parametrize(
    "key",
    [
        slice(0, 10),
        slice(1040, 1060),
        slice(-3, None),
        7,
        -1,
        (slice(2, 9), slice(1, 5)),
        slice(0, 3000, 700),
        ...,
        slice(5, 5),
        slice(None, None, -1),
    ],
)
def test_rows_equal_the_arrays(model: tuple[Store, Weights], key: object) -> None:
    """Slices of a lazy tensor equal slices of the array."""
    store, weights = model
    with store.read("m") as reader:
        np.testing.assert_array_equal(reader["big"][key], weights["big"][key])  # type: ignore[index] # any key


def test_reader_has_the_methods_of_safe_open(model: tuple[Store, Weights]) -> None:
    """keys, get_tensor, get_slice and metadata work as in safetensors."""
    store, weights = model
    reader = store.read("m")
    assert set(reader.keys()) == set(weights)
    assert reader.get_slice("big").get_shape() == [3000, 1000]
    assert reader.get_slice("big").get_dtype() == "F32"
    assert reader.metadata() == {}
    np.testing.assert_array_equal(reader.get_tensor("scalar"), weights["scalar"])
    assert reader.get_tensor("empty").shape == (0, 5)


def test_loaded_arrays_may_be_written_without_touching_the_store(
    model: tuple[Store, Weights],
) -> None:
    """Mapped arrays are copy-on-write: the store keeps what it has."""
    store, weights = model
    store.load("m")["big"][:] = 0
    np.testing.assert_array_equal(store.load("m")["big"], weights["big"])


def test_torch_loads_every_dtype_it_has(store: Store) -> None:
    """bf16, fp8, bool and complex tensors come back bit for bit."""
    tensors = {
        "bf16": torch.randn(5, 7).to(torch.bfloat16),
        "fp8": torch.randn(8).to(torch.float8_e4m3fn),
        "bool": torch.tensor([True, False]),
        "c64": torch.randn(3, dtype=torch.complex64),
        "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
        "strided": torch.arange(12).reshape(3, 4).T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    store.put(tensors, "t")
    loaded = store.load("t", framework="torch")
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert torch.equal(
            loaded[name].contiguous().reshape(-1).view(torch.uint8),
            tensor.detach().contiguous().reshape(-1).view(torch.uint8),
        )


def test_unknown_tensor_is_not_found(model: tuple[Store, Weights]) -> None:
    """A tensor name that is not there is named."""
    with pytest.raises(NotFoundError, match="nothing"):
        model[0].read("m").get_tensor("nothing")


def test_unknown_framework_is_refused(model: tuple[Store, Weights]) -> None:
    """A framework that is not known is named with those that are."""
    with pytest.raises(InvalidInputError, match="caffe"):
        model[0].load("m", framework="caffe")


def test_something_that_is_not_an_array_is_refused(store: Store) -> None:
    """A value that is no array is named."""
    with pytest.raises(InvalidInputError, match="'w' is a str"):
        store.put({"w": "text"}, "m")


def test_damaged_chunk_is_never_returned(model: tuple[Store, Weights]) -> None:
    """A flipped bit in a mapped tensor is found while loading, reading rows and getting."""
    store, weights = model
    pack = next(Path(store.path, "objects").iterdir())
    content = bytearray(pack.read_bytes())
    at = content.find(weights["big"].tobytes()[4096:8192])
    content[at] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(CorruptError):
        store.load("m")
    with pytest.raises(CorruptError):
        store.read("m")["big"][0:2]
    assert store.read("m")["big"][2000:2001].shape == (1, 1000)


def test_cat_writes_files_tensors_and_rows(
    model: tuple[Store, Weights], write_model: Callable[..., Path]
) -> None:
    """``cat`` gives the bytes of a file, of a tensor and of rows of it."""
    store, weights = model
    path = write_model({"w": weights["small"]}, "c.safetensors")
    store.put(path)

    def cat(revision: str) -> bytes:
        out = bytearray()
        store.cat(revision, out.extend)
        return bytes(out)

    assert cat("c:c.safetensors") == path.read_bytes()
    assert cat("m:model.safetensors#small") == weights["small"].tobytes()
    assert cat("m:model.safetensors#small[1:3]") == weights["small"][1:3].tobytes()
    assert cat("m:model.safetensors#small[-1]") == weights["small"][-1].tobytes()
    assert cat("m:#small") == weights["small"].tobytes()


def test_second_copy_serves_when_the_mapped_one_is_damaged(store: Store, tmp_path: Path) -> None:
    """A damaged pack is passed over when another pack holds the same chunk whole."""
    array = np.random.default_rng(0).standard_normal((1000, 1000), dtype=np.float32)
    store.put({"w": array}, "m", codec="raw")
    pack = next(Path(store.path, "objects").iterdir())
    other = mstore.init(tmp_path / "other")[0]
    other.put({"w": array, "b": np.zeros(3, np.float32)}, "m", codec="raw")
    second = next(Path(other.path, "objects").iterdir())
    second.rename(Path(store.path, "objects", second.name))
    content = bytearray(pack.read_bytes())
    content[content.find(array.tobytes()[:64])] ^= 1
    pack.unlink()
    pack.write_bytes(content)
    np.testing.assert_array_equal(mstore.open(store.path).load("m")["w"], array)
