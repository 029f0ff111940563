"""Bytes to fewer bytes and back: how a pack entry is encoded (SPEC §8).

A codec is one small module, pure, and independent of the others. Object ids name the raw bytes,
never the encoding, so any codec may be swapped for another without any id changing.

1. ``encode`` gives fewer bytes than it got, or None.
2. ``decode`` gives exactly ``raw_size`` bytes or raises CorruptError, and never has much more
   than ``raw_size`` bytes in memory, whatever it is given.
"""

from typing import Protocol

from mstore.codecs import raw, zstd
from mstore.errors import UnsupportedError
from mstore.ids import Buffer

RAW = raw.CODE
ZSTD = zstd.CODE


class Codec(Protocol):
    """What a codec module offers: its name in SPEC §8, its code in a pack row, both ways."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant
        """The name in SPEC §8, lower case."""

    @property
    def CODE(self) -> int:  # noqa: N802 - a module's constant
        """The number in a row of a pack index."""

    def encode(self, raw: Buffer) -> bytes | None:
        """Fewer bytes than ``raw``, or None when there is no gain."""

    def decode(self, stored: Buffer, raw_size: int) -> Buffer:
        """The ``raw_size`` bytes that were encoded; CorruptError for any other input."""


_CODECS: dict[int, Codec] = {RAW: raw, ZSTD: zstd}


def codec(code: int) -> Codec:
    """The codec that a pack row calls ``code``; UnsupportedError when this build has none."""
    found = _CODECS.get(code)
    if found is None:
        message = f"codec '{code}' is not known to this build, which has 0 to {max(_CODECS)}"
        raise UnsupportedError(message, hint="upgrade mstore to read this store")
    return found
