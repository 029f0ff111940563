"""JAX arrays, pytrees of them, and Flax modules.

The name of an array is its path ("layers/0/kernel"). Random keys are stored as their numbers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mstore.adapters import ArrayTensor, Outline, Stored, Taken, check_fit, numpy, pytree
from mstore.errors import InvalidInputError, UnsupportedError

_WIDE = frozenset({"F64", "I64", "U64"})
"""What JAX makes narrower without a word unless it is told to hold 64 bits."""


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """JAX arrays as bytes; the shards of one are joined."""
    return numpy.tensors({name: _host(name, value) for name, value in arrays.items()})


def outline(name: str, value: object) -> Outline:
    """How to copy an array, which is brought to the host for it."""
    return numpy.outline(name, _host(name, value))


def array(dtype: str, shape: tuple[int, ...], content: memoryview) -> Any:  # noqa: ANN401 - an array
    """An array on the default device; UnsupportedError for 64 bits where JAX holds 32."""
    if dtype in _WIDE and not jax.config.jax_enable_x64:
        raise UnsupportedError(
            f"JAX is set up to hold no {dtype}",
            hint='jax.config.update("jax_enable_x64", True), or load with framework="numpy"',
        )
    return jnp.asarray(numpy.array(dtype, shape, content))


def take(model: object) -> Taken:
    """The state of an nnx module, or the arrays of another pytree, which has to be given anew."""
    if _is_of(model, "flax.linen"):
        raise InvalidInputError(
            f"a {type(model).__name__} holds no parameters", hint="give what its init returned"
        )
    arrays = _leaves(_pure(model))
    if not arrays:
        raise InvalidInputError(f"a {type(model).__name__} holds no arrays")
    return Taken(arrays)


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - a pytree
    """The pytree that was put, else every array by path; or ``into`` with the stored arrays.

    An nnx module is changed; of another pytree a new one is made.
    """
    if into is None:
        arrays = stored.arrays()
        if pytree.SHAPE_FILE in stored.paths:
            return pytree.restore(stored.read(pytree.SHAPE_FILE), arrays)
        return arrays
    pure = _pure(into)
    wanted, given = _leaves(pure), stored.arrays()
    check_fit(stored.label, _forms(given), _forms(wanted))
    filled = [_like(leaf, given[name]) for name, leaf in wanted.items()]
    tree = jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(pure), filled)
    return _update(into, tree) if _is_of(into, "flax.nnx") else tree


def _is_of(value: object, package: str) -> bool:
    """Whether a class of ``package`` is among those of ``value``; the package is not imported."""
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(value).__mro__)


def _pure(model: object) -> Any:  # noqa: ANN401 - a pytree
    """The pytree of arrays that a model is, without the boxes that nnx puts them in."""
    if not _is_of(model, "flax.nnx"):
        return model
    from flax import nnx  # noqa: PLC0415 - JAX does not need Flax

    state = model if isinstance(model, nnx.State) else nnx.state(model)
    return nnx.to_pure_dict(state)


def _update(module: Any, pure: Any) -> Any:  # noqa: ANN401 - an nnx module, and its state
    from flax import nnx  # noqa: PLC0415 - as above

    state = nnx.state(module)
    nnx.replace_by_pure_dict(state, pure)
    nnx.update(module, state)
    return module


def _leaves(tree: Any) -> dict[str, Any]:  # noqa: ANN401 - a pytree
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name or name in found:
            problem = "has no name to be stored by" if not name else f"has '{name}' twice"
            raise InvalidInputError(
                f"a {type(tree).__name__} {problem}", hint="give a dict: {name: array}"
            )
        found[name] = leaf
    return found


def _host(name: str, value: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - an array, or a box of one
    """The numbers of an array; InvalidInputError when they are not all here."""
    plain = value.get_value() if _is_of(value, "flax.nnx") else value
    if isinstance(plain, jax.core.Tracer) or not isinstance(plain, jax.Array):
        raise InvalidInputError(
            f"tensor '{name}' is a {type(plain).__name__}, which holds no numbers",
            hint="give arrays, outside of jit and of grad",
        )
    if plain.is_deleted():
        raise InvalidInputError(f"tensor '{name}' was deleted or donated")
    if not plain.is_fully_addressable:
        raise InvalidInputError(
            f"tensor '{name}' is spread over other programs",
            hint="gather it: jax.experimental.multihost_utils.process_allgather",
        )
    return np.asarray(_numbers(plain))


def _numbers(leaf: Any) -> Any:  # noqa: ANN401 - an array
    """An array, or the numbers of a random key."""
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jax.random.key_data(leaf)


def _like(leaf: Any, numbers: Any) -> Any:  # noqa: ANN401 - arrays
    """A stored array, as a random key where ``leaf`` is one."""
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return numbers
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))


def _forms(leaves: Mapping[str, Any]) -> dict[str, str]:
    return {name: _form(name, leaf) for name, leaf in leaves.items()}


def _form(name: str, leaf: Any) -> str:  # noqa: ANN401 - an array, or what stands for one
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        raise InvalidInputError(f"'{name}' of the model is a {type(leaf).__name__}, not an array")
    numbers = _numbers(leaf)
    return f"{numbers.dtype} {list(numbers.shape)}"
