"""Zstandard, for text and for object payloads (SPEC §8).

A stored entry is exactly one frame that states its content size, uses no dictionary and asks
for a window of at most 8 MiB. All of that is checked before a byte is decoded, so that a small
frame cannot be made to fill the memory.
"""

import sys

from mstore.errors import CorruptError
from mstore.ids import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME = "zstd"
CODE = 1

LEVEL = 3
MAX_GAIN = 0.9
"""Stored over raw: above it the saving does not pay for decoding, and the entry stays raw."""
WINDOW_LOG = 23

_MAGIC = b"\x28\xb5\x2f\xfd"
_SINGLE_SEGMENT = 0x20
_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}


def encode(raw: Buffer) -> bytes | None:
    """``raw`` as one frame, or None where that would save less than a tenth."""
    if not len(raw):
        return None
    stored = zstd.compress(raw, LEVEL)
    return stored if len(stored) <= len(raw) * MAX_GAIN else None


def decode(stored: Buffer, raw_size: int) -> bytes:
    """The ``raw_size`` bytes that ``stored`` holds; CorruptError for anything but one frame."""
    try:
        _check_frame(stored, raw_size)
        decompressor = zstd.ZstdDecompressor(options=_OPTIONS)
        # One byte more than is owed, so that a frame that lies about its size is noticed.
        raw = decompressor.decompress(stored, max_length=raw_size + 1)
    except zstd.ZstdError as error:
        message = f"zstd entry cannot be decoded: {error}"
        raise CorruptError(message) from error
    if len(raw) != raw_size or not decompressor.eof:
        message = f"zstd entry does not end after the {raw_size} bytes that it should hold"
        raise CorruptError(message)
    return raw


def _check_frame(stored: Buffer, raw_size: int) -> None:
    if stored[:4] != _MAGIC:
        message = "zstd entry does not begin with a zstd frame"
        raise CorruptError(message)
    frame = zstd.get_frame_info(stored)
    if frame.decompressed_size != raw_size:
        message = (
            f"zstd entry states {frame.decompressed_size}, not {raw_size}, as its content size"
        )
        raise CorruptError(message)
    if frame.dictionary_id:
        message = f"zstd entry needs the dictionary {frame.dictionary_id}, and none is allowed"
        raise CorruptError(message)
    if _window(stored, raw_size) > 1 << WINDOW_LOG:
        message = f"zstd entry asks for a window of more than {1 << WINDOW_LOG} bytes"
        raise CorruptError(message)
    if zstd.get_frame_size(stored) != len(stored):
        message = f"zstd entry has bytes after its frame, {len(stored)} in all"
        raise CorruptError(message)


def _window(stored: Buffer, raw_size: int) -> int:
    """Bytes of the window that a frame asks for (RFC 8878 §3.1.1.1.2).

    The library holds it against a limit only where it does not decode in one step.
    """
    if stored[4] & _SINGLE_SEGMENT:
        return raw_size
    exponent, mantissa = divmod(stored[5], 8)
    return (1 << 10 + exponent) * (8 + mantissa) // 8
