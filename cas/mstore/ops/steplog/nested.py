"""Nested training states, such as an optimizer's, as tensors and JSON, and back (SPEC §6.7).

JSON says the shape: dicts, lists, tuples and plain values as they were, and for each tensor its
name in the safetensors file beside it. What JSON cannot say is an object of one reserved key:
``dict`` (pairs, where keys are not all text), ``tuple``, ``tensor``, ``float`` (nan and the
infinities) or ``bytes`` (base64).
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mstore import adapters
from mstore.adapters import Outline
from mstore.errors import CorruptError, InvalidInputError, MstoreError

MAX_NESTING = 64
"""Dicts and lists inside one another."""

_FLOATS = {repr(value): value for value in (math.nan, math.inf, -math.inf)}
_RESERVED = frozenset({"dict", "tuple", "tensor", "float", "bytes"})

Node = Any
"""What ``json`` reads and writes."""


class Flat(NamedTuple):
    """A nested state: the tensors in it, not copied yet, and the JSON text that holds the rest."""

    outlines: list[Outline]
    text: bytes


def flatten(state: Mapping[str, object]) -> Flat:
    """Take a state apart; InvalidInputError names the place of what cannot be stored."""
    flattening = _Flattening()
    node = flattening.node(dict(state), ())
    text = json.dumps(node, allow_nan=False, ensure_ascii=False)
    return Flat(flattening.outlines, text.encode())


class _Flattening:
    def __init__(self) -> None:
        self.outlines: list[Outline] = []
        self._names: set[str] = set()

    def node(self, value: object, path: tuple[str, ...]) -> Node:
        if len(path) > MAX_NESTING:
            raise InvalidInputError(f"'{'/'.join(path[:4])}/…' is nested too deeply to be stored")
        if value is None or isinstance(value, bool | int | float | str):
            return _plain(value)
        if isinstance(value, bytes | bytearray):
            return {"bytes": base64.b64encode(value).decode()}
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        if isinstance(value, list | tuple):
            items = [self.node(item, (*path, str(at))) for at, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        return self._tensor(value, path)

    def _mapping(self, value: Mapping[Any, object], path: tuple[str, ...]) -> Node:
        pairs = [
            [self._key(key, path), self.node(v, (*path, str(key)))] for key, v in value.items()
        ]
        keys = {key for key in value if isinstance(key, str)}
        if len(keys) == len(pairs) and not (len(keys) == 1 and keys <= _RESERVED):
            return dict(pairs)
        return {"dict": pairs}

    @staticmethod
    def _key(key: object, path: tuple[str, ...]) -> Node:
        if key is None or isinstance(key, bool | int | float | str):
            return _plain(key)
        raise InvalidInputError(f"key {key!r} in '{'/'.join(path)}' is neither text nor a number")

    def _tensor(self, value: object, path: tuple[str, ...]) -> Node:
        framework = adapters.framework_of(value)
        place = name = "/".join(path)
        if framework is None:
            kind = type(value).__name__
            raise InvalidInputError(
                f"'{place}' is a {kind}, which a training state cannot hold",
                hint="give dicts, lists, tuples, numbers, text, arrays and tensors",
            )
        # The keys 0 and "0", or "a/b" and "b" inside "a", make the same path.
        while name in self._names:
            name = f"{place}+{len(self._names)}"
        self._names.add(name)
        self.outlines.append(adapters.outline(name, value))
        return {"tensor": [framework, name]}


def _plain(value: bool | float | str | None) -> Node:  # noqa: FBT001 - any JSON scalar
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if math.isfinite(value) else {"float": repr(float(value))}


def restore(text: bytes, tensor: Callable[[str, str], object]) -> dict[str, Any]:
    """The state that was flattened; ``tensor(framework, name)`` gives its arrays.

    CorruptError when the text is not one that ``flatten`` made.
    """
    try:
        state = _value(json.loads(text), tensor)
    except MstoreError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptError(f"the text of a training state cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise CorruptError(f"a training state is a {type(state).__name__}, not a dict")
    return state


def _value(node: Node, tensor: Callable[[str, str], object]) -> Any:  # noqa: ANN401 - any state
    if isinstance(node, list):
        return [_value(item, tensor) for item in node]
    if not isinstance(node, dict):
        return node
    if len(node) != 1 or not node.keys() <= _RESERVED:
        return {key: _value(item, tensor) for key, item in node.items()}
    ((kind, inner),) = node.items()
    return _reserved(kind, inner, tensor)


def _reserved(kind: str, inner: Node, tensor: Callable[[str, str], object]) -> Any:  # noqa: ANN401 - any state
    if kind == "tensor":
        framework, name = _items(inner)
        return tensor(framework, name)
    if kind == "dict":
        pairs = [_items(pair) for pair in _items(inner)]
        return {_value(key, tensor): _value(item, tensor) for key, item in pairs}
    if kind == "tuple":
        return tuple(_value(item, tensor) for item in _items(inner))
    return _FLOATS[inner] if kind == "float" else base64.b64decode(inner, validate=True)


def _items(node: Node) -> list[Node]:
    if not isinstance(node, list):
        raise TypeError(f"a {type(node).__name__} stands where a list has to be")
    return node


def frameworks(text: bytes) -> set[str]:
    """The frameworks whose tensors a state holds."""
    found: set[str] = set()
    restore(text, lambda framework, _: found.add(framework))
    return found
