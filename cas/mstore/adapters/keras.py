"""Keras 3 models on any backend: their weights, and ``keras.json``, of which they are built again.

A weight is named by the layers that it is in ("encoder/dense/kernel"), as its own path also tells
where it was built first. How a model was compiled is not stored. What is stored of a model is
never code: only layers that Keras has itself can be built again, and by its safe mode.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from mstore import adapters
from mstore.adapters import ArrayTensor, Outline, Stored, Taken, check_fit
from mstore.errors import CorruptError, InvalidInputError, UnsupportedError

CONFIG_FILE = "keras.json"

_PACKAGES = frozenset({"keras", "keras_hub", "keras_cv", "keras_nlp"})
"""The packages that Keras itself takes classes from."""
_VALUES = frozenset({"__keras_tensor__", "__numpy__", "__tensor__", "__bytes__", "__ellipsis__"})
"""What configurations write like a class, but is a value."""
_UNFIT = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, ArithmeticError)
"""What building a model of a description that does not fit may end in."""
_FOREIGN = frozenset({"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"})
"""Classes of Keras that carry code of others."""


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """Variables, and tensors of the backend, as bytes."""
    return adapters.tensors({name: _value(name, held) for name, held in arrays.items()})


def outline(name: str, value: object) -> Outline:
    """How to copy a variable or a tensor of the backend."""
    return adapters.outline(name, _value(name, value))


def array(dtype: str, shape: tuple[int, ...], content: memoryview) -> Any:  # noqa: ANN401 - an array
    """A tensor of the backend that is in use."""
    return adapters.framework(keras.config.backend()).array(dtype, shape, content)


def take(model: object) -> Taken:
    """The weights of a model and how to build it; UnsupportedError names a class that cannot be."""
    if not isinstance(model, keras.Model):
        raise InvalidInputError(f"a {type(model).__name__} is no keras.Model")
    if not model.built:
        raise InvalidInputError(f"model '{model.name}' is not built", hint="call it once before")
    _require_in_config(model)
    config = _without_compiling(keras.saving.serialize_keras_object(model))
    _require_known(config, "store its weights alone: put(mstore.adapters.keras.weights(model), …)")
    named = weights(model)
    described = {"config": config, "weights": list(named)}
    return Taken(named, {CONFIG_FILE: json.dumps(described).encode()})


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - a keras.Model
    """The model that was put, or ``into`` with the stored weights, whose names have to agree."""
    if into is None:
        model, named = _build(stored)
    elif isinstance(into, keras.Model):
        model, named = into, weights(into)
    else:
        raise InvalidInputError(f"a {type(into).__name__} is no keras.Model to load into")
    given = stored.arrays()
    check_fit(stored.label, _forms(given), _forms(named))
    for name, variable in named.items():
        variable.assign(given[name])
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def weights(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a keras.Model
    """The variables of a model by the names under which ``put`` stores them, in its order."""
    found: dict[int, str] = {}
    _name_weights(model, "", found)
    named: dict[str, Any] = {}
    for variable in model.weights:
        name = found.get(id(variable), variable.path)
        while name in named:
            name += "+"
        named[name] = variable
    return named


def _name_weights(model: Any, prefix: str, found: dict[int, str]) -> None:  # noqa: ANN401 - as above
    for layer in model.layers:
        inside = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            _name_weights(layer, inside, found)
        for variable in layer.weights:
            tail = f"/{variable.path}".rpartition(f"/{layer.name}/")[2].lstrip("/")
            found.setdefault(id(variable), inside + tail)


def _value(name: str, held: Any) -> Any:  # noqa: ANN401 - a variable, and what it holds
    if isinstance(held, keras.Variable):
        return held.value
    if adapters.framework_of(held) == "keras":
        raise InvalidInputError(f"tensor '{name}' is a {type(held).__name__}, not a variable")
    return held


def _forms(arrays: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: f"{keras.backend.standardize_dtype(value.dtype)} {list(value.shape)}"
        for name, value in arrays.items()
    }


def _layers(model: Any) -> Iterator[Any]:  # noqa: ANN401 - layers, which mypy does not know
    """Every layer of a model, inside other layers too."""
    yield from model._flatten_layers()  # noqa: SLF001 - there is no public way


def _require_in_config(model: Any) -> None:  # noqa: ANN401 - a keras.Model
    """UnsupportedError for a layer that keeps what it learnt in files of its own."""
    for layer in _layers(model):
        if hasattr(layer, "save_assets") and layer.get_config().get("vocabulary") is None:
            raise UnsupportedError(
                f"layer '{layer.name}' ({type(layer).__name__}) has learnt its vocabulary",
                hint="give it the vocabulary when it is made: vocabulary=layer.get_vocabulary()",
            )


def _without_compiling(config: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(config, dict):
        return {k: _without_compiling(v) for k, v in config.items() if k != "compile_config"}
    return [_without_compiling(v) for v in config] if isinstance(config, list) else config


def _require_known(config: Any, hint: str) -> None:  # noqa: ANN401 - JSON
    """UnsupportedError names the first thing that is not a class of Keras, or carries code."""
    if isinstance(config, dict) and "class_name" in config and not _is_known(config):
        raise UnsupportedError(
            f"'{_named(config)}' is code that Keras does not have, and code is not stored",
            hint=hint,
        )
    if isinstance(config, dict | list):
        for value in config.values() if isinstance(config, dict) else config:
            _require_known(value, hint)


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether a class is one of Keras, whose names begin large as those of functions do not."""
    kind = str(config["class_name"])
    if kind in _VALUES:
        return True
    name = kind.rpartition(".")[2]
    package = str(config.get("module")).partition(".")[0]
    return package in _PACKAGES and name[:1].isupper() and name not in _FOREIGN


def _named(config: Mapping[str, Any]) -> str:
    kind = config["class_name"]
    return str(config.get("config") if kind == "function" else kind)


def _build(stored: Stored) -> tuple[Any, dict[str, Any]]:
    """A model like the one that was put, and its new weights by the stored names."""
    if CONFIG_FILE not in stored.paths:
        raise InvalidInputError(
            f"'{stored.label}' holds no Keras model",
            hint="build one and load into it: into=model, or load NumPy arrays",
        )
    try:
        described = json.loads(stored.read(CONFIG_FILE))
        config, names = described["config"], list(described["weights"])
        _require_known(config, "build the model and load into it: into=model")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CorruptError(f"'{CONFIG_FILE}' of '{stored.label}' cannot be read") from error
    try:
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return model, dict(zip(names, model.weights, strict=True))
    except _UNFIT as error:
        raise UnsupportedError(
            f"Keras {keras.__version__} cannot build '{stored.label}': {error}"
        ) from error
