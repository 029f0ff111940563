"""Nested dicts, lists and tuples of arrays: the parameters of JAX, Flax and their like.

Stored are the arrays, named by their path ("params/dense/kernel"), and ``pytree.json``, which says
how they were nested: a text is an array's name, an object a dict, an array a list or tuple with
the word first, null is None.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from mstore.adapters import Taken
from mstore.errors import CorruptError, InvalidInputError

SHAPE_FILE = "pytree.json"
MAX_NESTING = 64
"""Dicts, lists and tuples inside one another."""

_SEQUENCES: Mapping[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple}

Node = Any
"""What ``json`` reads and writes."""


def is_nested(tree: Mapping[Any, object]) -> bool:
    """Whether a mapping holds more than arrays."""
    return any(isinstance(value, Mapping | list | tuple) for value in tree.values())


def take(tree: Mapping[Any, object]) -> Taken:
    """The arrays by path, and how they were nested; InvalidInputError names what is no array."""
    arrays: dict[str, object] = {}
    text = json.dumps(_node(tree, (), arrays), ensure_ascii=False)
    return Taken(arrays, {SHAPE_FILE: text.encode()})


def restore(text: bytes, arrays: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any nested value
    """The nested value that was taken; CorruptError when the text does not fit the arrays."""
    try:
        return _value(json.loads(text), arrays)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CorruptError(f"'{SHAPE_FILE}' cannot be read: {error}") from error


def _node(value: object, path: tuple[str, ...], arrays: dict[str, object]) -> Node:
    if len(path) > MAX_NESTING:
        raise InvalidInputError(f"'{'/'.join(path[:4])}/…' is nested too deeply to be stored")
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {_key(k, path): _node(v, (*path, k), arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sequence(value, path)] + [
            _node(item, (*path, str(at)), arrays) for at, item in enumerate(value)
        ]
    name = "/".join(path)
    if name in arrays:
        raise InvalidInputError(f"two arrays of the pytree have the path '{name}'")
    arrays[name] = value
    return name


def _key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"key {key!r} in '{'/'.join(path)}' is not a string")
    return key


def _sequence(value: list[Any] | tuple[Any, ...], path: tuple[str, ...]) -> str:
    kind = type(value).__name__
    if kind not in _SEQUENCES:
        raise InvalidInputError(
            f"'{'/'.join(path)}' is a {kind}, which could not be given back",
            hint="give dicts, lists and tuples; checkpoint keeps the state of an optimizer",
        )
    return kind


def _value(node: Node, arrays: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any nested value
    if isinstance(node, dict):
        return {key: _value(inner, arrays) for key, inner in node.items()}
    if isinstance(node, list):
        return _SEQUENCES[node[0]]([_value(inner, arrays) for inner in node[1:]])
    return None if node is None else arrays[node]
