"""scikit-learn estimators, taken apart and put together by skops, which unpickles nothing.

skops writes a schema and arrays. Arrays that are tensors are stored as such, named by the
attributes that lead to them ("steps/0/1/mean_"); others, such as the nodes of a tree, stay files in
``sklearn/``. The schema is ``sklearn.json``, its object numbers made anew so that equal estimators
give equal bytes.
"""

import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import skops.io
from sklearn.base import BaseEstimator

from mstore.adapters import Stored, Taken, numpy, require_no_target
from mstore.adapters.numpy import array, outline, tensors
from mstore.errors import CorruptError, InvalidInputError, UnsupportedError

__all__ = ["array", "give", "outline", "take", "tensors"]

SCHEMA_FILE = "sklearn.json"
FOLDER = "sklearn/"

_MAX_NAME = 512
"""UTF-8 bytes of a tensor's name (SPEC §6.3)."""
_SCHEMA = "schema.json"
_ID, _FILE, _TENSOR = "__id__", "file", "tensor"
_LAYERS = frozenset({"content", "__reduce__", "args"})
"""Keys of the schema that are no names of the estimator."""

_MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
    RecursionError,
    zipfile.BadZipFile,
)
"""What reading a schema that skops did not write may end in."""

Node = dict[str, Any]


def take(model: object) -> Taken:
    """The arrays of an estimator and the schema of the rest."""
    if not isinstance(model, BaseEstimator):
        raise InvalidInputError(f"a {type(model).__name__} is no estimator")
    try:
        content = skops.io.dumps(model)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"skops cannot store a {type(model).__name__}: {error}") from error
    return _Taking(zipfile.ZipFile(io.BytesIO(content))).taken()


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - an estimator
    """The estimator; UnsupportedError names types in it that are neither known nor trusted."""
    require_no_target("sklearn", into)
    if SCHEMA_FILE not in stored.paths:
        raise InvalidInputError(f"'{stored.label}' holds no estimator")
    try:
        content = _rebuild(stored)
        unknown = set(skops.io.get_untrusted_types(data=content)) - set(stored.trusted)
        if not unknown:
            return skops.io.loads(content, trusted=list(stored.trusted))
    except _MALFORMED as error:
        raise CorruptError(f"the estimator of '{stored.label}' cannot be read: {error}") from error
    raise UnsupportedError(
        f"'{stored.label}' needs types not known to be safe: {', '.join(sorted(unknown))}",
        hint="if you trust where it came from, name them: load(…, trusted=[…])",
    )


class _Taking:
    """The files of a skops archive on their way to tensors, files and a schema that names both."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._files: dict[str, bytes] = {}
        self._places: dict[str, Node] = {}
        self._numbers: dict[int, int] = {}
        self._next = itertools.count(1)

    def taken(self) -> Taken:
        """What is stored."""
        schema = json.loads(self._archive.read(_SCHEMA))
        for node, path in _nodes(schema):
            if _ID in node:
                node[_ID] = self._number(node)
            if _FILE in node:
                node.update(self._place(node.pop(_FILE), "/".join(path)))
        return Taken(self._arrays, {SCHEMA_FILE: json.dumps(schema).encode(), **self._files})

    def _number(self, node: Node) -> int:
        """A number that depends on the estimator alone; plain values count as not shared."""
        if node.get("is_json") or node["__loader__"] == "TypeNode":
            return next(self._next)
        return self._numbers.setdefault(node[_ID], next(self._next))

    def _place(self, file: str, name: str) -> Node:
        """Where a file of the archive went."""
        if file not in self._places:
            content = self._archive.read(file)
            tensor = self._tensor(name, content) if file.endswith(".npy") else None
            self._places[file] = tensor or self._keep(content, file.rpartition(".")[2])
        return self._places[file]

    def _tensor(self, name: str, content: bytes) -> Node | None:
        """A tensor if the file can be one: C-order, as every tensor, whatever order it had."""
        values = np.load(io.BytesIO(content), allow_pickle=False)
        try:
            numpy.outline(name, values)
        except InvalidInputError:
            return None
        if name in self._arrays or not name.isprintable() or len(name.encode()) > _MAX_NAME:
            return None
        self._arrays[name] = values
        is_c_order = values.flags.c_contiguous
        return {_TENSOR: [name, "C" if is_c_order else "F"]}

    def _keep(self, content: bytes, suffix: str) -> Node:
        name = f"{len(self._files)}.{suffix}"
        self._files[FOLDER + name] = content
        return {_FILE: name}


def _nodes(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Node, tuple[str, ...]]]:  # noqa: ANN401 - JSON
    """Every node of a schema, and the names that lead to it."""
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _nodes(inner, (*path, str(at)))
    elif isinstance(value, dict):
        if "__loader__" in value:
            yield value, path
        for key, inner in value.items():
            yield from _nodes(inner, path if key in _LAYERS else (*path, key))


def _rebuild(stored: Stored) -> bytes:
    """The archive that skops made, as far as skops can tell."""
    schema = json.loads(stored.read(SCHEMA_FILE))
    arrays = stored.arrays()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        written: set[str] = set()
        for node, _ in _nodes(schema):
            if _TENSOR in node:
                name, order = node.pop(_TENSOR)
                node[_FILE] = f"{list(arrays).index(name)}-tensor.npy"
                content = _npy(arrays[name], order)
            elif _FILE in node:
                content = stored.read(FOLDER + node[_FILE])
            else:
                continue
            if node[_FILE] not in written:
                archive.writestr(node[_FILE], content)
                written.add(node[_FILE])
        archive.writestr(_SCHEMA, json.dumps(schema))
    return buffer.getvalue()


def _npy(values: np.ndarray[Any, Any], order: str) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(values) if order == "F" else values, allow_pickle=False)
    return buffer.getvalue()
