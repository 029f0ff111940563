"""Planes of bytes, each a zstd frame or as it is, whichever is smaller (SPEC §8.2, §8.7)."""

import sys

import numpy as np

from mstore.codecs._elements import Bytes
from mstore.codecs._frames import read_frame, read_pieces
from mstore.ids import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_GAIN = 0.97
"""Stored over raw of one plane: above it the saving does not pay for decoding it."""

_PARAMETER = zstd.CompressionParameter
# All that is left of zstd with these is its Huffman coder: it looks for no matches worth naming.
_HUFFMAN: dict[int, int] = {
    _PARAMETER.window_log: 17,
    _PARAMETER.hash_log: 6,
    _PARAMETER.chain_log: 6,
    _PARAMETER.search_log: 1,
    _PARAMETER.min_match: 7,
    _PARAMETER.target_length: 0,
    _PARAMETER.strategy: zstd.Strategy.fast,
}
_PIECE = 1 << 12
_PIECES = 4


def code_plane(plane: Bytes) -> Buffer:
    """A plane as a frame, or as it is when a sample of it or the whole hardly shrinks."""
    step = len(plane) // _PIECES
    if step > _PIECE:
        sample = np.concatenate([plane[at * step :][:_PIECE] for at in range(_PIECES)])
        if len(zstd.compress(sample.data, options=_HUFFMAN)) > len(sample) * MAX_GAIN:
            return plane.data
    coded = zstd.compress(plane.data, options=_HUFFMAN)
    return coded if len(coded) <= len(plane) * MAX_GAIN else plane.data


def read_plane(stored: memoryview, size: int) -> Bytes:
    """The ``size`` bytes of a plane; CorruptError for what is no frame of as many."""
    return np.frombuffer(stored if len(stored) == size else read_frame(stored, size), np.uint8)


def read_tiles(stored: memoryview, size: int, step: int) -> list[Bytes]:
    """``read_plane``, cut into tiles of ``step`` bytes."""
    if len(stored) == size:
        plane = np.frombuffer(stored, np.uint8)
        return [plane[start : start + step] for start in range(0, size, step)]
    return [np.frombuffer(piece, np.uint8) for piece in read_pieces(stored, size, step)]
