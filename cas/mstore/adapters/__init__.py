"""Frameworks on one side, named tensors on the other: the only importers of frameworks.

A framework module offers ``tensors(mapping) -> list[ArrayTensor]``, ``outline(name, value)`` and
``array(dtype, shape, content)``; it is imported when somebody asks for it.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, cast

from mstore.errors import InvalidInputError, UnsupportedError

FRAMEWORKS = ("numpy", "torch")


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


class Framework(Protocol):
    """What a framework module offers."""

    def tensors(self, arrays: Mapping[str, object]) -> list[ArrayTensor]:
        """The framework's arrays as bytes; InvalidInputError names one that is not an array."""

    def outline(self, name: str, value: object) -> Outline:
        """How to copy one array; InvalidInputError when it cannot be stored."""

    def array(self, dtype: str, shape: tuple[int, ...], content: memoryview) -> object:
        """The framework's array over ``content``, without a copy."""


def framework(name: str) -> Framework:
    """The adapter of a framework; UnsupportedError says what to install."""
    if name not in FRAMEWORKS:
        known = ", ".join(FRAMEWORKS)
        raise InvalidInputError(f"unknown framework '{name}'", hint=f"known are: {known}")
    try:
        return cast("Framework", importlib.import_module(f"mstore.adapters.{name}"))
    except ImportError as error:
        raise UnsupportedError(
            f"framework '{name}' is not installed", hint=f"run: pip install 'mstore[{name}]'"
        ) from error


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """The tensors of a state dict of NumPy arrays or torch tensors."""
    by_framework: dict[str, dict[str, object]] = {}
    for name, value in arrays.items():
        if not isinstance(name, str):
            raise InvalidInputError(f"tensor name {name!r} is not a string")
        by_framework.setdefault(_framework_of(name, value), {})[name] = value
    return [t for name, group in by_framework.items() for t in framework(name).tensors(group)]


def outline(name: str, value: object) -> Outline:
    """How to copy a NumPy array or torch tensor; nothing is copied yet."""
    return framework(_framework_of(name, value)).outline(name, value)


def framework_of(value: object) -> str | None:
    """The framework whose array ``value`` is, or None when it is no array."""
    for base in type(value).__mro__:
        root = base.__module__.partition(".")[0]
        if root in FRAMEWORKS:
            return root
    return None


def _framework_of(name: str, value: object) -> str:
    found = framework_of(value)
    if found is not None:
        return found
    raise InvalidInputError(
        f"tensor '{name}' is a {type(value).__name__}, not an array",
        hint="give a dict of NumPy arrays or torch tensors, or a path",
    )
