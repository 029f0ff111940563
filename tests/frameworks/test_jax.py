"""JAX pytrees and Flax modules through the store, with the real libraries."""

import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tests.frameworks.guide import run_blocks

from mstore import InvalidInputError, UnsupportedError
from mstore.store import Store
from mstore.testing.adapters import AdapterTests

ROWS = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32))


class Network(nnx.Module):
    """Two layers, normalisation, and dropout with its random key."""

    def __init__(self, seed: int, width: int = 4) -> None:
        rngs = nnx.Rngs(seed)
        self.layers = nnx.List([nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)])
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, rows: Any) -> Any:
        """Give two numbers for each row."""
        return self.layers[1](self.dropout(self.norm(self.layers[0](rows))))


class Dense(nn.Module):
    """Linen's kind of module: its parameters are elsewhere."""

    @nn.compact
    def __call__(self, rows: Any) -> Any:
        """Give two numbers for each row."""
        return nn.Dense(2)(nn.relu(nn.Dense(4)(rows)))


class TestPytree(AdapterTests):
    """The variables of a Linen module."""

    framework = "jax"
    remembers = False

    def model(self) -> Any:
        """Make the variables."""
        return Dense().init(jax.random.key(0), ROWS)

    def answer(self, model: Any) -> bytes:
        """Give what the module makes of them."""
        return np.asarray(Dense().apply(model, ROWS)).tobytes()

    def test_what_was_loaded_is_the_parent(self, store: Store) -> None:  # type: ignore[override]  # needs no put
        """A dict of dicts is nothing that Python can watch: the parent is then named."""
        put = store.put(self.model(), "lenet")
        tuned = store.put(store.load("lenet", "jax"), "tuned", parents=["lenet"])
        parents = store.parts.odb.version(tuned.version).parents
        assert [parent.id for parent in parents] == [bytes(put.version)]


class TestModule(AdapterTests):
    """An nnx module, loaded into another one."""

    framework = "jax"

    def model(self) -> Any:
        """Make the module, which has seen some rows."""
        model = Network(0)
        model(ROWS)
        return model

    def answer(self, model: Any) -> bytes:
        """Give the predictions and every number of the state, the random key's too."""
        copy = nnx.clone(model)
        copy.eval()
        state = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.RngState)))
        keys = [np.asarray(jax.random.key_data(s) if s.dtype not in STATE else s) for s in state]
        return b"".join([np.asarray(copy(ROWS)).tobytes(), *(key.tobytes() for key in keys)])

    def target(self) -> Any:
        """Make a module with other numbers."""
        return Network(1)

    def misfit(self) -> Any:
        """Make a wider module."""
        return Network(1, width=5)


STATE = (jnp.uint32,)


def test_names_are_paths(store: Store) -> None:
    """Arrays are named by the attributes and keys that lead to them, in every framework."""
    store.put(Network(0), "module")
    names = set(store.load("module"))
    assert {"layers/0/kernel", "norm/mean", "dropout/rngs/key"} <= names


def test_a_pytree_comes_back_as_it_was_nested(store: Store) -> None:
    """Dicts, lists, tuples and None are as they were, whatever framework's arrays they hold."""
    tree = {"a": [jnp.ones(2), (np.zeros(3), None)], "b": {"c": jnp.arange(3)}}
    with jax.enable_x64(new_val=True):
        store.put(tree, "tree")
        loaded = store.load("tree", "jax")
    assert jax.tree.structure(loaded) == jax.tree.structure(tree)
    assert (loaded["b"]["c"] == tree["b"]["c"]).all()
    assert list(store.load("tree")) == ["a/0", "a/1/0", "b/c"]


def test_a_train_state_is_filled(store: Store) -> None:
    """Any pytree that JAX knows is made anew with the stored arrays."""
    variables = Dense().init(jax.random.key(0), ROWS)

    def state(seed: int) -> Any:
        parameters = Dense().init(jax.random.key(seed), ROWS)["params"]
        return TrainState(jnp.asarray(7), Dense().apply, parameters, None, None)

    put = store.put(state(0), "state")
    loaded = store.load("state", into=state(1))
    assert isinstance(loaded, TrainState)
    kernels = (loaded.params["Dense_0"]["kernel"], variables["params"]["Dense_0"]["kernel"])
    assert (kernels[0] == kernels[1]).all()
    assert put.tensors == 5


def test_the_shapes_of_a_model_are_enough(store: Store) -> None:
    """A pytree of shapes and dtypes, of which nothing was computed, can be filled."""
    variables = Dense().init(jax.random.key(0), ROWS)
    store.put(variables, "variables")
    shapes = jax.eval_shape(Dense().init, jax.random.key(1), ROWS)
    loaded = store.load("variables", "jax", into=shapes)
    assert (
        np.asarray(Dense().apply(loaded, ROWS)).tobytes()
        == np.asarray(Dense().apply(variables, ROWS)).tobytes()
    )


def test_a_sharded_array_is_stored_whole(store: Store) -> None:
    """An array that lies on several devices is one tensor."""
    mesh = Mesh(np.asarray(jax.devices()), ("x",))
    whole = np.arange(8, dtype=np.float32)
    sharded = jax.device_put(whole, NamedSharding(mesh, PartitionSpec("x")))
    assert len(jax.devices()) > 1
    store.put({"w": sharded}, "sharded")
    assert (store.load("sharded")["w"] == whole).all()


def test_wide_numbers_are_not_made_narrow(store: Store) -> None:
    """Numbers of 64 bits come back as such, or not at all."""
    store.put({"w": np.ones(2)}, "wide")
    with pytest.raises(UnsupportedError, match="F64") as caught:
        store.load("wide", "jax")
    assert "enable_x64" in str(caught.value.hint)
    with jax.enable_x64(new_val=True):
        assert store.load("wide", "jax")["w"].dtype == np.float64


def test_what_holds_no_numbers_is_refused(store: Store) -> None:
    """Traced and deleted arrays, modules without parameters and lone arrays are named."""

    def traced(value: Any) -> Any:
        store.put({"w": value}, "traced")
        return value

    with pytest.raises(InvalidInputError, match=r"'w' is a .*Tracer"):
        jax.jit(traced)(jnp.ones(2))
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(InvalidInputError, match="deleted"):
        store.put({"w": gone}, "gone")
    with pytest.raises(InvalidInputError, match="holds no parameters"):
        store.put(Dense(), "linen")
    with pytest.raises(InvalidInputError, match="no name"):
        store.put(jnp.ones(2), "alone")
    with pytest.raises(InvalidInputError, match="'a' is a Point"):
        store.put({"a": Point(jnp.ones(2))}, "named")
    assert store.models() == []


class Point(NamedTuple):
    """A tuple that is more than one."""

    x: Any


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("jax", tmp_path)
