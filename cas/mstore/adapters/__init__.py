"""Frameworks on one side, named tensors on the other: the only importers of frameworks.

A framework is a module of this package that offers what ``Framework`` lists, or one of another
package, named by the entry point group ``mstore.adapters``. It is imported when somebody asks for
it. Whose a value is, the modules of its class say, so that nothing is imported to find out.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from mstore.errors import InvalidInputError
from mstore.extras import needs

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mstore.adapters"

_BUILT_IN: Mapping[str, str] = {
    "numpy": "numpy",
    "torch": "torch",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "jax": "jax",
    "jaxlib": "jax",
    "flax": "jax",
    "sklearn": "sklearn",
    "onnx": "onnx",
    "gguf": "gguf",
}
"""Which package's classes belong to which framework."""

FRAMEWORKS = tuple(dict.fromkeys(_BUILT_IN.values()))
"""The frameworks of this build, whether they are installed or not."""


class ArrayTensor(NamedTuple):
    """A tensor in memory: ``content`` is its bytes, C-order, little-endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: memoryview


class Outline(NamedTuple):
    """A tensor whose bytes are still the framework's, ``size`` of them.

    ``copy_into`` writes them, C-order and little-endian, to memory of that size, from whatever
    device they are on; it has returned when they are there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    copy_into: Callable[[memoryview], None]


class Taken(NamedTuple):
    """What is stored of a live model.

    ``arrays`` of any framework become ``model.safetensors``; ``files`` are what else it takes to
    build the model again, by path.
    """

    arrays: Mapping[str, object] = {}
    files: Mapping[str, bytes | memoryview] = {}


class Stored(Protocol):
    """A version, as an adapter sees it that builds a model from it; read when asked for."""

    @property
    def label(self) -> str:
        """What to call the version in messages."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of its files."""

    @property
    def trusted(self) -> tuple[str, ...]:
        """The names of types that the caller trusts beside those known to be safe."""

    def arrays(self) -> dict[str, Any]:
        """Every tensor by name, as the adapter's own ``array``."""

    def read(self, path: str) -> bytes:
        """The bytes of a file; InvalidInputError for one that is too large for a description."""

    def folder(self) -> AbstractContextManager[Path]:
        """The exact files, in a folder that is gone afterwards."""


class Framework(Protocol):
    """What a framework's module offers."""

    def tensors(self, arrays: Mapping[str, object]) -> list[ArrayTensor]:
        """The framework's arrays as bytes; InvalidInputError names one that is not an array."""

    def outline(self, name: str, value: object) -> Outline:
        """How to copy one array; InvalidInputError when it cannot be stored."""

    def array(self, dtype: str, shape: tuple[int, ...], content: memoryview) -> object:
        """The framework's array over ``content``, without a copy where it can be had.

        UnsupportedError for a dtype that the framework lacks.
        """

    def take(self, model: object) -> Taken:
        """What to store of a model; InvalidInputError says why it cannot be given back.

        Equal models give equal bytes.
        """

    def give(self, stored: Stored, into: object | None) -> object:
        """The model that was taken; with ``into``, that one, filled with the stored tensors.

        Never runs code that came with the version. InvalidInputError, with nothing changed, when
        the version and ``into`` do not fit.
        """


def framework(name: str) -> Framework:
    """The adapter of a framework; UnsupportedError says what to install."""
    if name in FRAMEWORKS:
        return _load(name)
    plugin = _plugins().get(name)
    if plugin is not None:
        return cast("Framework", plugin.load())
    known = ", ".join((*FRAMEWORKS, *_plugins()))
    raise InvalidInputError(f"unknown framework '{name}'", hint=f"known are: {known}")


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """The tensors of a state dict of any frameworks' arrays."""
    by_framework: dict[str, dict[str, object]] = {}
    for name, value in arrays.items():
        if not isinstance(name, str):
            raise InvalidInputError(f"tensor name {name!r} is not a string")
        by_framework.setdefault(_framework_of(name, value), {})[name] = value
    return [t for name, group in by_framework.items() for t in framework(name).tensors(group)]


def outline(name: str, value: object) -> Outline:
    """How to copy an array of any framework; nothing is copied yet."""
    return framework(_framework_of(name, value)).outline(name, value)


def take(model: object) -> Taken:
    """What to store of a model, of a state dict, or of a pytree of arrays."""
    if isinstance(model, Mapping):
        from mstore.adapters import pytree  # noqa: PLC0415 - it needs what stands here

        return pytree.take(model) if pytree.is_nested(model) else Taken(model)
    name = framework_of(model)
    if name is None:
        raise InvalidInputError(
            f"a {type(model).__name__} is no model that can be stored",
            hint=f"give a path, a dict of arrays, or a model of one of: {', '.join(FRAMEWORKS)}",
        )
    return framework(name).take(model)


def framework_of(value: object) -> str | None:
    """The framework whose array or model ``value`` is, or None when it is of none."""
    roots = [base.__module__.partition(".")[0] for base in type(value).__mro__]
    for root in roots:
        if root in _BUILT_IN:
            return _BUILT_IN[root]
    return next((root for root in roots if root not in _PLAIN and root in _plugins()), None)


def require_no_target(name: str, into: object | None) -> None:
    """InvalidInputError when a framework that fills nothing is given something to fill."""
    if into is not None:
        raise InvalidInputError(
            f"framework '{name}' fills no {type(into).__name__}", hint="leave 'into' out"
        )


def check_fit(label: str, given: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """InvalidInputError unless the stored tensors are those that a model has.

    ``given`` and ``wanted`` say of each name what can be compared, such as dtype and shape.
    """
    missing = sorted(wanted.keys() - given.keys())
    unexpected = sorted(given.keys() - wanted.keys())
    if missing or unexpected:
        found = [
            f"{word} {', '.join(map(repr, names[:_SHOWN]))}{' …' * (len(names) > _SHOWN)}"
            for word, names in (("it lacks", missing), ("the model has no", unexpected))
            if names
        ]
        raise InvalidInputError(f"'{label}' does not fit the model: {'; '.join(found)}")
    for name, form in wanted.items():
        if given[name] != form:
            raise InvalidInputError(
                f"tensor '{name}' of '{label}' is {given[name]}, and in the model {form}"
            )


def share(
    label: str,
    given: Mapping[str, Any],
    wanted: Mapping[str, object],
    content: Callable[[Any], object],
) -> dict[str, Any]:
    """The stored tensors under every name that a model has for them: one name is enough.

    InvalidInputError when the model has one tensor where the version has two, as ``content`` tells.
    """
    first: dict[int, str] = {}
    complete = dict(given)
    for name in sorted(wanted, key=lambda name: name not in given):
        other = first.setdefault(id(wanted[name]), name)
        if other == name or other not in given:
            continue
        if name not in given:
            complete[name] = given[other]
        elif content(given[name]) != content(given[other]):
            raise InvalidInputError(
                f"the model shares '{other}' and '{name}', which differ in '{label}'"
            )
    return complete


_SHOWN = 3
"""Names that a message lists."""

_PLAIN = frozenset({"builtins", "collections", "pathlib", "typing", "abc", "__main__"})
"""Where the classes of plain values are: no need to ask which packages are installed."""


def _framework_of(name: str, value: object) -> str:
    found = framework_of(value)
    if found is not None:
        return found
    raise InvalidInputError(
        f"tensor '{name}' is a {type(value).__name__}, not an array",
        hint="give a dict of arrays, a model or a path",
    )


def _load(name: str) -> Framework:
    with needs(name):
        found = importlib.import_module(f"mstore.adapters.{name}")
    return cast("Framework", found)


@cache
def _plugins() -> dict[str, "EntryPoint"]:
    """The adapters of other packages by the name of the package whose classes they take."""
    return dict(_find_plugins())


def _find_plugins() -> Iterator[tuple[str, "EntryPoint"]]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and seldom needed

    for point in entry_points(group=GROUP):
        if point.name not in _BUILT_IN:
            yield point.name, point
