"""TensorFlow modules, SavedModels and Keras models on it, with the real library."""

import os
from pathlib import Path
from typing import Any

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.frameworks.guide import run_blocks

from mstore import CorruptError, InvalidInputError, UnsupportedError
from mstore.adapters import framework
from mstore.store import Store
from mstore.testing.adapters import AdapterTests

ROWS = np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)


class Network(tf.Module):
    """Two products, with a variable that is reached in two ways."""

    def __init__(self, seed: int, width: int = 4) -> None:
        super().__init__()
        numbers = np.random.default_rng(seed)
        shapes = [(3, width), (width, 2)]
        self.layers = [
            tf.Variable(numbers.standard_normal(shape, dtype=np.float32)) for shape in shapes
        ]
        self.steps = {"count": tf.Variable(seed, dtype=tf.int64)}
        self.first = self.layers[0]

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def __call__(self, rows: Any) -> Any:
        """Give two numbers for each row."""
        return tf.nn.relu(rows @ self.layers[0]) @ self.layers[1]


class TestModule(AdapterTests):
    """A module, loaded into another one."""

    framework = "tensorflow"

    def model(self) -> Any:
        """Make the module."""
        return Network(0)

    def answer(self, model: Any) -> bytes:
        """Give what it makes of some rows, and what does not show there."""
        return model(ROWS).numpy().tobytes() + model.steps["count"].numpy().tobytes()

    def target(self) -> Any:
        """Make a module with other numbers."""
        return Network(1)

    def misfit(self) -> Any:
        """Make a wider one."""
        return Network(1, width=5)


def test_variables_are_named_by_attributes(store: Store) -> None:
    """Variables, whose own names need not differ, are named by how they are reached."""
    store.put(Network(0), "module")
    assert list(store.load("module")) == ["first", "layers/0", "layers/1", "steps/count"]


def test_a_shared_variable_is_one(store: Store) -> None:
    """One name of a shared variable is enough, and two that differ are refused."""
    store.put(Network(0), "module")
    arrays = dict(store.load("module"))
    loaded = store.load("module", into=Network(1))
    del arrays["first"]
    store.put(arrays, "one")
    assert (store.load("one", into=Network(2)).first.numpy() == loaded.first.numpy()).all()
    store.put({**arrays, "first": arrays["layers/0"] + 1}, "two")
    with pytest.raises(InvalidInputError, match="shares 'first' and 'layers/0'"):
        store.load("two", into=Network(2))


def test_a_saved_model_is_put_as_a_folder_and_runs(store: Store, tmp_path: Path) -> None:
    """A SavedModel comes back as what TensorFlow loads, and answers bit for bit."""
    model = Network(0)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    put = store.put(tmp_path / "saved", "saved")
    loaded = store.load("saved", "tensorflow")
    assert loaded(ROWS).numpy().tobytes() == model(ROWS).numpy().tobytes()
    again = store.put(tmp_path / "saved", "tuned")
    assert store.parts.odb.version(again.version).tree == store.parts.odb.version(put.version).tree


def test_a_broken_saved_model_is_corrupt(store: Store, tmp_path: Path) -> None:
    """A folder that only looks like a SavedModel is refused as broken."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"nothing")
    store.put(tmp_path / "saved", "saved")
    with pytest.raises(CorruptError, match="saved"):
        store.load("saved", "tensorflow")


def test_what_was_saved_is_put_as_a_folder(store: Store, tmp_path: Path) -> None:
    """An object whose code TensorFlow has is not taken apart: the message says what to put."""
    tf.saved_model.save(Network(0), str(tmp_path / "saved"))
    with pytest.raises(InvalidInputError, match=r"no tf\.Module") as caught:
        store.put(tf.saved_model.load(str(tmp_path / "saved")), "saved")
    assert "folder" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (tf.constant(["text"]), "object"),
        (tf.constant([1 + 2j], tf.complex128), "complex128"),
        (tf.ragged.constant([[1], [2, 3]]), "RaggedTensor"),
        (tf.sparse.from_dense([[0, 1]]), "SparseTensor"),
    ],
)
def test_what_is_no_dense_tensor_is_refused(store: Store, value: Any, what: str) -> None:
    """Text, wide complex numbers, ragged and sparse tensors are named."""
    with pytest.raises(InvalidInputError, match=what):
        store.put({"w": value}, "w")


def test_a_traced_tensor_is_refused(store: Store) -> None:
    """A tensor inside tf.function has no numbers."""

    @tf.function(autograph=False)
    def traced(value: Any) -> Any:
        store.put({"w": value}, "w")
        return value

    with pytest.raises(InvalidInputError, match="holds no numbers"):
        traced(tf.ones(2))


def test_a_dtype_that_tensorflow_lacks() -> None:
    """A dtype that TensorFlow cannot hold is named."""
    with pytest.raises(UnsupportedError, match="F8_E8M0"):
        framework("tensorflow").array("F8_E8M0", (2,), memoryview(bytearray(2)))


def test_keras_models_on_tensorflow(store: Store) -> None:
    """A Keras model is Keras's, whatever backend it runs on, and answers as it did."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)]
    )
    store.put(model, "keras")
    loaded = store.load("keras", "keras")
    assert loaded(ROWS).numpy().tobytes() == model(ROWS).numpy().tobytes()


def test_a_learnt_vocabulary_is_refused(store: Store) -> None:
    """A layer that keeps a vocabulary in a file is named, and taken once it is given one."""
    layer = keras.layers.StringLookup(name="words")
    layer.adapt(["a", "b"])
    model = keras.Sequential([keras.layers.Input((1,), dtype="string"), layer])
    with pytest.raises(UnsupportedError, match="words") as caught:
        store.put(model, "words")
    assert "vocabulary" in str(caught.value.hint)


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("tensorflow", tmp_path)
