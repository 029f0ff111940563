"""The codecs that mstore's are held against, in a few lines each."""

import numpy as np
import torch
from backports import zstd
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
FAST = 1


def flat(tensor: torch.Tensor) -> Bytes:
    """The bytes of a tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def planes(content: Bytes, width: int) -> bytes:
    """Byte planes: the first byte of every number, then the second of every number, and so on."""
    return np.ascontiguousarray(content.reshape(-1, width).T).tobytes()


def by_planes(content: Bytes, width: int) -> bytes:
    """Byte planes, each with the fastest zstd that still has an entropy coder."""
    size = len(content) // width
    whole = planes(content, width)
    parts = [zstd.compress(whole[at * size : (at + 1) * size], FAST) for at in range(width)]
    lengths = b"".join(len(part).to_bytes(4, "little") for part in parts)
    return lengths + b"".join(parts)


def from_planes(stored: bytes, size: int, width: int) -> Bytes:
    """What `by_planes` was given."""
    rows, at = [], 4 * width
    for plane in range(width):
        length = int.from_bytes(stored[4 * plane : 4 * plane + 4], "little")
        rows.append(np.frombuffer(zstd.decompress(stored[at : at + length]), np.uint8))
        at += length
    return np.stack(rows).T.reshape(size)


def xor(content: Bytes, base: Bytes, width: int) -> bytes:
    """The exclusive or with a base, in byte planes with zstd: a fast codec of differences."""
    return by_planes(content ^ base, width)
