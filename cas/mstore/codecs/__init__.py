"""Bytes to fewer bytes and back: how a pack entry is encoded (SPEC §8).

A codec is one small module, pure, and independent of the others. Object ids name the raw bytes,
never the encoding, so any codec may be swapped for another without any id changing.

1. ``encode`` gives fewer bytes than it got, or None.
2. ``decode_into`` fills the target exactly or raises CorruptError, and never has much more than
   the target's size in memory, whatever it is given.
3. What a decoder needs beyond the base's bytes and the target's size stands in ``stored``.

Codecs of other packages are found by the entry point group ``mstore.codecs``.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from mstore.errors import UnsupportedError
from mstore.ids import Buffer

RAW = 0
ZSTD = 1
SPLIT_FLOAT = 2
PCO = 3
DELTA_PCO = 4
SPARSE = 5
PLANES = 6

BUILT_IN: Mapping[int, str] = {
    RAW: "raw",
    ZSTD: "zstd",
    SPLIT_FLOAT: "split_float",
    PCO: "pco",
    DELTA_PCO: "delta_pco",
    SPARSE: "sparse",
    PLANES: "planes",
}
"""Which module of this package has which code. Loaded when first asked for: most need NumPy."""
PLUGIN_CODES = range(128, 256)
"""The codes that codecs of other packages may have."""
GROUP = "mstore.codecs"


class Layout(NamedTuple):
    """What an encoder is told of a chunk beyond its bytes.

    ``width`` is the bytes of one element: 1, 2, 4 or 8. ``row`` and ``base_row`` are the bytes of
    a row here and in the base where the two differ, as in a resized head; both are 0 otherwise.
    ``small`` asks for the fewest bytes, at the cost of the time to read them.
    """

    width: int = 1
    row: int = 0
    base_row: int = 0
    small: bool = False


BYTES = Layout()


class Coded(NamedTuple):
    """A chunk as an entry stores it: the codec's code, the stored bytes, the base's id."""

    code: int
    stored: Buffer
    base: bytes | None = None


class Codec(Protocol):
    """What a codec module offers: its name in SPEC §8, its code in a pack row, both ways."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant
        """The name in SPEC §8, lower case."""

    @property
    def CODE(self) -> int:  # noqa: N802 - a module's constant
        """The number in a row of a pack index."""

    @property
    def TAKES_BASE(self) -> bool:  # noqa: N802 - a module's constant
        """Whether an entry has a base: then both ways need the base's bytes."""

    def encode(
        self, raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None
    ) -> bytes | None:
        """Fewer bytes than ``raw``, or None when there is no gain."""

    def decode_into(self, stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
        """Fill ``target`` with the bytes that were encoded; CorruptError for any other input."""


def decode(code: int, stored: Buffer, raw_size: int, base: Buffer | None = None) -> bytearray:
    """The ``raw_size`` bytes that ``stored`` holds; CorruptError, UnsupportedError."""
    target = bytearray(raw_size)
    codec(code).decode_into(stored, memoryview(target), base)
    return target


@cache
def codec(code: int) -> Codec:
    """The codec that a pack row calls ``code``; UnsupportedError when this build has none."""
    if code in BUILT_IN:
        return _load(BUILT_IN[code])
    if code in PLUGIN_CODES:
        for found in _plugins():
            if code == found.CODE:
                return found
        message = f"codec '{code}' is of another package, and none that is installed has it"
        raise UnsupportedError(message, hint=f"install the one that offers it as '{GROUP}'")
    message = f"codec '{code}' is not known to this build, which has 0 to {max(BUILT_IN)}"
    raise UnsupportedError(message, hint="upgrade mstore to read this store")


def by_name(name: str) -> Codec:
    """The codec that SPEC §8 or its package calls ``name``; UnsupportedError when there is none."""
    for code, module in BUILT_IN.items():
        if module.replace("_", "-") == name:
            return codec(code)
    for found in _plugins():
        if name == found.NAME:
            return found
    message = f"codec '{name}' is not known to this build, which has {', '.join(names())}"
    raise UnsupportedError(message, hint=f"install the package that offers it as '{GROUP}'")


def names() -> list[str]:
    """The name of every codec of this build and of the packages beside it, by code."""
    ours = [module.replace("_", "-") for module in BUILT_IN.values()]
    return ours + [found.NAME for found in _plugins()]


def _load(module: str) -> Codec:
    try:
        return cast("Codec", import_module(f"mstore.codecs.{module}"))
    except ModuleNotFoundError as error:
        message = f"codec '{module.replace('_', '-')}' needs the package '{error.name}'"
        raise UnsupportedError(message, hint=f"pip install {error.name}") from error


def _plugins() -> list[Codec]:
    """Codecs of other packages, by code; each with a code of its own that plugins may have."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and few stores need it

    found = [cast("Codec", point.load()) for point in entry_points(group=GROUP)]
    return sorted((one for one in found if one.CODE in PLUGIN_CODES), key=lambda one: one.CODE)
