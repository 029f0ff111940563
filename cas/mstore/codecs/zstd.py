"""Zstandard, for text and for object payloads (SPEC §8.1)."""

import sys
import threading

from mstore.codecs import BYTES, Layout
from mstore.codecs._frames import read_frame
from mstore.ids import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME = "zstd"
CODE = 1
TAKES_BASE = False

LEVEL = 3
MAX_GAIN = 0.9
"""Stored over raw: above it the saving does not pay for decoding, and the entry stays raw."""

_own = threading.local()


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """``raw`` as one frame, or None where that would save less than a tenth."""
    del layout, base
    if not len(raw):
        return None
    stored = _compress(raw)
    return stored if len(stored) <= len(raw) * MAX_GAIN else None


def _compress(raw: Buffer) -> bytes:
    """One frame. What a thread needs for it is kept: making that takes longer than small frames."""
    compressor = _own.__dict__.pop("compressor", None) or zstd.ZstdCompressor(LEVEL)
    frame: bytes = compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
    # One that failed is not kept.
    _own.compressor = compressor
    return frame


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with what ``stored`` holds; CorruptError for anything but one frame."""
    del base
    target[:] = read_frame(stored, len(target))
