"""Keras models through the store, on the torch backend, with the real library."""

import json
import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from tests.frameworks.guide import run_blocks

from mstore import CorruptError, ExistsError, InvalidInputError, UnsupportedError
from mstore.adapters.keras import weights
from mstore.integrations.keras import MstoreCallback
from mstore.store import Store
from mstore.testing.adapters import AdapterTests

# Keras 3.15's variables do not know NumPy 2's way to ask for a copy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

layers = keras.layers
IMAGES = np.random.default_rng(0).standard_normal((4, 8, 8, 1), dtype=np.float32)
ROWS = np.random.default_rng(1).standard_normal((6, 5), dtype=np.float32)


@keras.saving.register_keras_serializable(package="tests")
class Twice(layers.Layer):
    """A layer of whoever calls."""

    def call(self, inputs: Any) -> Any:
        """Give twice the inputs."""
        return inputs * 2


class Subclassed(keras.Model):
    """A model whose architecture is code."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3, name="dense")

    def call(self, inputs: Any) -> Any:
        """Give one product."""
        return self.dense(inputs)


def convolutional(seed: int = 0) -> Any:
    """Convolution, normalisation that has seen something, and what only trains."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(4, activation="softmax", name="head"),
        ],
        name="small",
    )
    model(IMAGES, training=True)
    return model


def branched() -> Any:
    """A model inside a model, a layer called twice, attention and recurrence."""
    keras.utils.set_random_seed(3)
    inner_in = layers.Input((5,))
    inner = keras.Model(inner_in, layers.Dense(5, name="dense")(inner_in), name="inner")
    given = layers.Input((5,))
    dense = layers.Dense(5, name="dense", activation="gelu")
    steps = layers.Reshape((1, 5))(inner(dense(dense(given))))
    steps = layers.MultiHeadAttention(2, 3, name="attend")(steps, steps)
    found = layers.Bidirectional(layers.LSTM(2), name="both")(steps)
    return keras.Model(given, layers.add([found, layers.Dense(4)(given)]), name="branched")


class TestKeras(AdapterTests):
    """A convolutional network."""

    framework = "keras"

    def model(self) -> Any:
        """Make the network."""
        return convolutional()

    def answer(self, model: Any) -> bytes:
        """Give what it predicts."""
        return model.predict(IMAGES, verbose=0).tobytes()


class TestFilling(TestKeras):
    """The same network, loaded into one that is there."""

    def target(self) -> Any:
        """Make one with other weights."""
        return convolutional(seed=1)

    def misfit(self) -> Any:
        """Make one of which a layer is missing."""
        keras.utils.set_random_seed(4)
        return keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2)])


def test_a_branched_model_predicts_as_it_did(store: Store) -> None:
    """Models in models, shared layers, attention and recurrence come back bit for bit."""
    model = branched()
    put = store.put(model, "branched")
    loaded = store.load("branched", "keras")
    assert loaded.predict(ROWS, verbose=0).tobytes() == model.predict(ROWS, verbose=0).tobytes()
    assert put.tensors == len(model.weights)
    names = set(store.load("branched"))
    assert {"inner/dense/kernel", "dense/kernel", "both/forward_lstm/lstm_cell/bias"} <= names


def test_weights_are_the_same_tensors_in_any_framework(store: Store) -> None:
    """The weights of a model are, as NumPy arrays under the same names, the same model."""
    model = convolutional()
    put = store.put(model, "model")
    arrays = {name: np.asarray(held.numpy()) for name, held in weights(model).items()}
    alone = store.put(arrays, "arrays")
    versions = [store.parts.odb.version(found.version) for found in (put, alone)]
    assert versions[0].model_hash == versions[1].model_hash
    assert alone.new_bytes < 10_000
    assert store.load("model", "torch")["head/kernel"].dtype == torch.float32


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
def test_narrow_weights_come_back(store: Store, policy: str) -> None:
    """A model of another precision is built with it and predicts as it did."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [layers.Input((5,)), layers.Dense(3, dtype=policy), layers.Dense(2, dtype=policy)]
    )
    store.put(model, "narrow")
    loaded = store.load("narrow", "keras")
    given, expected = (m(ROWS).detach().float().numpy().tobytes() for m in (loaded, model))
    assert given == expected
    assert [w.dtype for w in loaded.weights] == [w.dtype for w in model.weights]


def test_an_adapted_normalisation_is_ready(store: Store) -> None:
    """What a layer made of its weights once they were learnt is made of the loaded ones too."""
    normalise = layers.Normalization(name="normalise")
    normalise.adapt(ROWS * 3 + 1)
    model = keras.Sequential([layers.Input((5,)), normalise, layers.Dense(2)])
    store.put(model, "normal")
    loaded = store.load("normal", "keras")
    assert loaded.predict(ROWS, verbose=0).tobytes() == model.predict(ROWS, verbose=0).tobytes()


def test_training_goes_on_from_what_was_loaded(store: Store) -> None:
    """A loaded model is compiled, trained and put back: fine-tuned from where it came."""
    put = store.put(convolutional(), "model")
    loaded = store.load("model", "keras")
    loaded.compile("sgd", "sparse_categorical_crossentropy")
    loaded.fit(IMAGES, np.arange(4), epochs=1, verbose=0)
    version = store.parts.odb.version(store.put(loaded, "model").version)
    assert [(p.id, p.relation) for p in version.parents] == [(bytes(put.version), "fine-tuned")]


def _sequential(*inner: Any) -> Any:
    return keras.Sequential([layers.Input((5,)), *inner])


def _called(model: Any) -> Any:
    model(ROWS)
    return model


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: _sequential(Twice()), "Twice"),
        (lambda: _called(Subclassed()), "Subclassed"),
        (lambda: _sequential(layers.Lambda(lambda x: x + 1)), "Lambda"),
        (lambda: _sequential(layers.Dense(2, activation=keras_activation)), "keras_activation"),
        (lambda: _sequential(layers.TorchModuleWrapper(torch.nn.Linear(5, 2))), "TorchModule"),
    ],
)
def test_code_is_refused_by_name(store: Store, make: Any, name: str) -> None:
    """Classes and functions that Keras does not have are named, and nothing is stored."""
    with pytest.raises(UnsupportedError, match=name) as caught:
        store.put(make(), "own")
    assert "weights" in str(caught.value.hint)
    assert store.models() == []


def keras_activation(values: Any) -> Any:
    """An activation of whoever calls."""
    return values


def test_weights_of_a_subclassed_model_are_stored_alone(store: Store) -> None:
    """A model that cannot be built again is filled where the caller builds it."""
    model, other = _called(Subclassed()), _called(Subclassed())
    store.put(weights(model), "own")
    store.load("own", into=other)
    assert other.predict(ROWS, verbose=0).tobytes() == model.predict(ROWS, verbose=0).tobytes()
    with pytest.raises(InvalidInputError, match="no Keras model"):
        store.load("own", "keras")


def test_a_model_that_was_never_built_is_refused(store: Store) -> None:
    """A model without weights yet has nothing to store."""
    with pytest.raises(InvalidInputError, match="not built"):
        store.put(keras.Sequential([layers.Dense(2)]), "empty")


def _described(change: Any) -> str:
    described = {"config": keras.saving.serialize_keras_object(convolutional()), "weights": []}
    change(described)
    return json.dumps(described)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.utils", "get_file"),
        ("keras", "utils.get_file"),
        ("keras", "layers.Lambda"),
        ("keras.src.layers.core.lambda_layer", "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("builtins", "eval"),
        (None, "Twice"),
    ],
)
def test_only_classes_of_keras_are_built(
    store: Store, tmp_path: Path, module: str | None, name: str
) -> None:
    """Functions, classes that carry code and what others have registered are refused by name."""
    config = {"module": module, "class_name": name, "config": {}, "registered_name": "tests>Twice"}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "keras.json").write_text(json.dumps({"config": config, "weights": []}))
    store.put(tmp_path / "model", "evil")
    with pytest.raises(UnsupportedError, match=f"'{name}' is code"):
        store.load("evil", "keras")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", CorruptError),
        ("[]", CorruptError),
        ('{"config": {}, "weights": 7}', CorruptError),
        ('{"config": {"class_name": "system", "module": "os"}, "weights": []}', UnsupportedError),
        (_described(dict.copy), UnsupportedError),
        (_described(lambda d: d["config"].update(class_name="Nothing")), UnsupportedError),
    ],
)
def test_a_description_that_keras_did_not_write(
    store: Store, tmp_path: Path, text: str, error: type[Exception]
) -> None:
    """A description that is broken, foreign or does not fit the weights is refused."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "keras.json").write_text(text)
    store.put(tmp_path / "model", "broken")
    with pytest.raises(error):
        store.load("broken", "keras")


def test_stored_code_does_not_run(store: Store, tmp_path: Path) -> None:
    """A Lambda layer that somebody wrote into a description is refused before it is built."""
    model = _sequential(layers.Lambda(lambda x: x))
    described = {"config": keras.saving.serialize_keras_object(model), "weights": []}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "keras.json").write_text(json.dumps(described))
    store.put(tmp_path / "model", "evil")
    with pytest.raises(UnsupportedError, match="Lambda"):
        store.load("evil", "keras")


def fit(model: Any, callback: MstoreCallback, epochs: int) -> Any:
    """Train, with momentum, on the same rows in the same order."""
    if not model.compiled:
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    model.fit(ROWS, ROWS[:, :2], epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
    return model


def dense(seed: int = 0) -> Any:
    """Make a model of two layers."""
    keras.utils.set_random_seed(seed)
    return _sequential(layers.Dense(3, name="body"), layers.Dense(2, name="head"))


def same(model: Any, loaded: dict[str, Any]) -> bool:
    """Whether the weights of a model are these, bit for bit."""
    held = {name: np.asarray(value.numpy()).tobytes() for name, value in weights(model).items()}
    return held == {name: np.asarray(value).tobytes() for name, value in loaded.items()}


def test_three_epochs_are_three_versions(store: Store) -> None:
    """Each epoch is a version with its step, results and parameters; the last is the model."""
    callback = MstoreCallback(store, "fit", params={"rows": 6}, tags=("demo",))
    model = fit(dense(), callback, 3)
    versions = [row.version for row in reversed(store.log("fit"))]
    assert all(version is not None for version in versions)
    assert [version.metadata["step"] for version in versions] == [1, 2, 3]
    assert all({"loss", "mae"} == set(version.metrics) for version in versions)
    given = {"optimizer": "adam", "learning_rate": pytest.approx(0.01), "rows": 6}
    assert versions[0].parameters == given
    assert versions[0].tags == ("demo",)
    assert same(model, store.load("fit"))
    assert not same(model, store.load("fit@1"))


def test_fitting_goes_on_as_if_it_had_not_stopped(store: Store) -> None:
    """Two epochs, and two more in a new model, give the bits of four epochs in one."""
    whole = fit(dense(), MstoreCallback(store, "whole"), 4)
    fit(dense(), MstoreCallback(store, "fit"), 2)
    resumed = fit(dense(seed=7), MstoreCallback(store, "fit", resume=True), 2)
    assert same(whole, store.load("fit"))
    assert same(resumed, store.load("fit"))
    assert store.resume("fit").step == 4


def test_a_run_is_not_begun_twice(store: Store) -> None:
    """A name that has steps is refused before the first epoch unless it is resumed."""
    fit(dense(), MstoreCallback(store, "fit", every=2, optimizer=False), 3)
    assert [store.resume(f"fit@{number}").step for number in (1, 2)] == [2, 3]
    with pytest.raises(ExistsError, match="steps up to 3"):
        fit(dense(), MstoreCallback(store, "fit"), 1)


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("keras", tmp_path)
