"""The codec that changes nothing (SPEC §8): the stored bytes are the bytes."""

from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "raw"
CODE = 0


def encode(raw: Buffer) -> None:
    """Nothing: to keep the bytes as they are never saves anything."""


def decode(stored: Buffer, raw_size: int) -> Buffer:
    """``stored`` itself, not a copy; CorruptError unless it has ``raw_size`` bytes."""
    if len(stored) != raw_size:
        message = f"raw entry has {len(stored)} bytes, not {raw_size}"
        raise CorruptError(message)
    return stored
