"""Numbers to a pco stream and back: the one place that calls pcodec (SPEC §8.3).

A stream is pco's wrapped form: a header that says how long its parts are, the metadata of one
chunk, one page. The reader is told how many numbers to expect, so nothing in a stream can make
it ask for more memory than they take: modes and deltas that would are refused unread.
"""

import struct
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, wrapped

from mstore.codecs._elements import Elements
from mstore.errors import CorruptError, UnsupportedError
from mstore.ids import Buffer

LEVEL = 10
"""docs/decisions/0008-codecs.md: 11 saves next to nothing and takes a third longer."""
MAX_NUMBERS = 1 << 22
"""In one stream: a chunk of single bytes."""

_HEADER = struct.Struct("<BBI")
_MAJOR = 4
_TYPES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}

_Result = TypeVar("_Result")


_COMPRESSOR = wrapped.FileCompressor()
_CONFIG = ChunkConfig(
    compression_level=LEVEL,
    mode_spec=ModeSpec.classic(),
    delta_spec=DeltaSpec.no_op(),
    paging_spec=PagingSpec.equal_pages_up_to(MAX_NUMBERS),
    enable_8_bit=True,
)


def compress(numbers: Elements) -> bytes:
    """The stream of 1 to ``MAX_NUMBERS`` numbers, unsigned and of 1, 2, 4 or 8 bytes each."""
    chunk = _COMPRESSOR.chunk_compressor(np.require(numbers, requirements=["C", "A"]), _CONFIG)
    meta = chunk.write_meta()
    major, minor = _COMPRESSOR.write_header()
    return b"".join((_HEADER.pack(major, minor, len(meta)), meta, chunk.write_page(0)))


def decompress_into(stream: Buffer, numbers: Elements) -> None:
    """Fill ``numbers`` from a stream that holds as many, or raise CorruptError."""
    if not 0 < len(numbers) <= MAX_NUMBERS:
        message = f"pco stream cannot hold {len(numbers)} numbers"
        raise CorruptError(message)
    if numbers.flags.aligned:
        _fill(stream, numbers)
        return
    aligned = np.empty_like(numbers)
    _fill(stream, aligned)
    numbers[:] = aligned


def _fill(stream: Buffer, numbers: Elements) -> None:
    view = memoryview(stream)
    if len(view) < _HEADER.size:
        message = f"pco stream of {len(view)} bytes has no header"
        raise CorruptError(message)
    major, minor, meta_size = _HEADER.unpack_from(view)
    if major != _MAJOR:
        message = f"pco stream is of format {major}, and this build reads {_MAJOR}"
        raise (UnsupportedError if major > _MAJOR else CorruptError)(message)
    stop = _HEADER.size + meta_size
    meta, page = bytes(view[_HEADER.size : stop]), bytes(view[stop:])
    _check_meta(meta, meta_size)
    count = len(numbers)
    kind = _TYPES[numbers.itemsize]
    reader, _ = _call(lambda: wrapped.FileDecompressor.new(bytes((major, minor))))
    chunk, meta_used = _call(lambda: reader.chunk_decompressor(meta, kind))
    progress, page_used = _call(lambda: chunk.read_page_into(page, count, numbers))
    if (meta_used, page_used) != (len(meta), len(page)):
        message = f"pco stream of {len(view)} bytes has bytes that nothing needs"
        raise CorruptError(message)
    if not progress.finished or progress.n_processed != count:
        message = f"pco stream does not hold {count} numbers"
        raise CorruptError(message)


def _check_meta(meta: bytes, size: int) -> None:
    """Refuse what takes memory of its own: dictionaries, and windows to look back in.

    The first byte says in its halves what the numbers stand for and how they follow one another.
    """
    if len(meta) != size or not meta:
        message = f"pco stream says that its metadata has {size} bytes, and {len(meta)} follow"
        raise CorruptError(message)
    if meta[0]:
        message = f"pco stream has the mode {meta[0] & 15} and the delta {meta[0] >> 4}, not 0"
        raise CorruptError(message)


def _call(read: Callable[[], _Result]) -> _Result:
    """What ``read`` gives, or CorruptError for any way in which pcodec may fail on bytes."""
    try:
        return read()
    except (RuntimeError, ValueError, OverflowError) as error:
        message = f"pco stream cannot be decoded: {error}"
        raise CorruptError(message) from error
    except BaseException as error:
        # A panic in Rust is no Exception, and its class can be imported from nowhere.
        if type(error).__name__ != "PanicException":
            raise
        message = f"pco stream cannot be decoded: {error}"
        raise CorruptError(message) from error
