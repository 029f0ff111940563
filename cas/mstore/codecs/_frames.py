"""Zstandard frames, bounded before they are decoded (SPEC §8.1)."""

import sys

from mstore.errors import CorruptError
from mstore.ids import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_LOG = 23

_MAGIC = b"\x28\xb5\x2f\xfd"
_SINGLE_SEGMENT = 0x20
_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}


def read_frame(stored: Buffer, size: int) -> bytes:
    """The ``size`` bytes that ``stored`` holds; CorruptError for anything but one frame."""
    return read_pieces(stored, size, max(size, 1))[0]


def read_pieces(stored: Buffer, size: int, step: int) -> list[bytes]:
    """The ``size`` bytes that ``stored`` holds, ``step`` at a time: joining them costs a copy.

    CorruptError for anything but one frame, which states its content size, uses no dictionary
    and asks for a window of at most 8 MiB. All of that is checked first, so that a small frame
    cannot be made to fill the memory.
    """
    pieces = []
    try:
        _check_frame(stored, size)
        decompressor = zstd.ZstdDecompressor(options=_OPTIONS)
        left = size
        while True:
            count = min(step, left)
            left -= count
            # One byte more than is owed, so that a frame that lies about its size is noticed.
            piece = decompressor.decompress(stored, max_length=count if left else count + 1)
            pieces.append(piece)
            stored = b""
            if not left or len(piece) != count:
                break
    except zstd.ZstdError as error:
        message = f"zstd frame cannot be decoded: {error}"
        raise CorruptError(message) from error
    if left or len(piece) != count or not decompressor.eof:
        message = f"zstd frame does not end after the {size} bytes that it should hold"
        raise CorruptError(message)
    return pieces


def _check_frame(stored: Buffer, size: int) -> None:
    if stored[:4] != _MAGIC:
        message = "zstd entry does not begin with a zstd frame"
        raise CorruptError(message)
    frame = zstd.get_frame_info(stored)
    if frame.decompressed_size != size:
        message = f"zstd frame states {frame.decompressed_size}, not {size}, as its content size"
        raise CorruptError(message)
    if frame.dictionary_id:
        message = f"zstd frame needs the dictionary {frame.dictionary_id}, and none is allowed"
        raise CorruptError(message)
    if _window(stored, size) > 1 << WINDOW_LOG:
        message = f"zstd frame asks for a window of more than {1 << WINDOW_LOG} bytes"
        raise CorruptError(message)
    if zstd.get_frame_size(stored) != len(stored):
        message = f"zstd entry has bytes after its frame, {len(stored)} in all"
        raise CorruptError(message)


def _window(stored: Buffer, size: int) -> int:
    """Bytes of the window that a frame asks for (RFC 8878 §3.1.1.1.2).

    The library holds it against a limit only where it does not decode in one step.
    """
    if stored[4] & _SINGLE_SEGMENT:
        return size
    exponent, mantissa = divmod(stored[5], 8)
    return (1 << 10 + exponent) * (8 + mantissa) // 8
