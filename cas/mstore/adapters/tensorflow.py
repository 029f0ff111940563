"""TensorFlow: tensors and variables, modules by their variables, and SavedModels.

A SavedModel is put as the folder it is. It is a program, which TensorFlow runs: load only those
that you trust.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mstore.adapters import ArrayTensor, Outline, Stored, Taken, check_fit, numpy, share
from mstore.errors import CorruptError, InvalidInputError, UnsupportedError

SAVED_MODEL = "saved_model.pb"


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """Eager tensors and variables as bytes."""
    return numpy.tensors({name: _host(name, value) for name, value in arrays.items()})


def outline(name: str, value: object) -> Outline:
    """How to copy a tensor or variable, which is brought to the host for it."""
    return numpy.outline(name, _host(name, value))


def array(dtype: str, shape: tuple[int, ...], content: memoryview) -> Any:  # noqa: ANN401 - a tensor
    """A tensor; UnsupportedError for a dtype that TensorFlow lacks."""
    try:
        return tf.convert_to_tensor(numpy.array(dtype, shape, content))
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"TensorFlow has no dtype '{dtype}'") from error


def take(model: object) -> Taken:
    """The variables of a module by the attributes that lead to them ("layers/0/w")."""
    return Taken(_variables(model, "store it with tf.saved_model.save, and put the folder"))


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - what was saved
    """What ``tf.saved_model.load`` gives of a SavedModel, else every tensor by name.

    With ``into``, that module, its variables assigned.
    """
    if into is None:
        return _load(stored) if SAVED_MODEL in stored.paths else stored.arrays()
    wanted = _variables(into, "give a tf.Module")
    given = share(stored.label, stored.arrays(), wanted, lambda value: value.numpy().tobytes())
    check_fit(stored.label, _forms(given), _forms(wanted))
    for name, variable in wanted.items():
        variable.assign(given[name])
    return into


def _load(stored: Stored) -> Any:  # noqa: ANN401 - as above
    try:
        with stored.folder() as folder:
            return tf.saved_model.load(str(folder))
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise CorruptError(f"TensorFlow cannot load '{stored.label}': {error}") from error


def _variables(model: object, hint: str) -> dict[str, Any]:
    if not isinstance(model, tf.Module):
        raise InvalidInputError(f"a {type(model).__name__} is no tf.Module", hint=hint)
    # The public lists give names that are not unique: every variable may be "Variable:0".
    found = model._flatten(  # noqa: SLF001 - see above
        predicate=lambda value: isinstance(value, tf.Variable), with_path=True
    )
    return {"/".join(str(step) for step in path): variable for path, variable in found}


def _host(name: str, value: Any) -> Any:  # noqa: ANN401 - a tensor or variable, as an array
    if not isinstance(value, tf.Tensor | tf.Variable) or not hasattr(value, "numpy"):
        raise InvalidInputError(
            f"tensor '{name}' is a {type(value).__name__}, which holds no numbers",
            hint="give dense tensors and variables, outside of tf.function",
        )
    return value.numpy()


def _forms(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value.dtype.name} {list(value.shape)}" for name, value in values.items()}
