"""The codec that changes nothing (SPEC §8): the stored bytes are the bytes."""

from mstore.codecs import BYTES, Layout
from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "raw"
CODE = 0
TAKES_BASE = False


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> None:
    """Nothing: to keep the bytes as they are never saves anything."""
    del raw, layout, base


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Copy ``stored``; CorruptError unless it is as long as ``target``."""
    del base
    if len(stored) != len(target):
        message = f"raw entry has {len(stored)} bytes, not {len(target)}"
        raise CorruptError(message)
    target[:] = stored
