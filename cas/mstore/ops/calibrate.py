"""How fast this machine reads and decodes: what a plan's costs in time are made of.

Measured once, on bytes made up for it, and kept in ``cache/calibration``. What is kept is only
believed if it is whole; it may be deleted at any time.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from blake3 import blake3

from mstore.backends.base import Backend
from mstore.codecs import DELTA_PCO, PCO, RAW, SPARSE, SPLIT_FLOAT, ZSTD, Layout, codec
from mstore.errors import MstoreError
from mstore.ids import hash_chunk
from mstore.odb import Location
from mstore.parts import Parts

KEY: Final = "cache/calibration"
FORMAT: Final = 2
GROUPED: Final = 256 + DELTA_PCO
"""Stands for delta-pco in several groups (``Layout.small``), which takes longer to decode."""
DISK: Final = 500_000_000
"""Bytes per second of the disk that an archive is read from, unless it is measured as slower.

What was just read comes out of memory, and would say nothing about a disk.
"""
_SIZE = 1 << 20
_READ = 16 << 20
_ROUNDS = 3
_WIDTHS = 1, 2, 4, 8
_CHECK = 16
_FAR = bytes(3 if value & 1 else 127 for value in range(256))
_MS = 1000.0


class Rates(NamedTuple):
    """What reading costs per byte, in one unit: milliseconds, or bytes.

    ``read`` is for a stored byte, ``hashed`` for a byte of a chunk that is verified, ``decode``
    for a byte that comes out of a codec, by the codec's code and the width of its elements.
    """

    read: float
    hashed: float
    decode: Mapping[tuple[int, int], float]

    def link(self, code: int, width: int, stored: float, raw: float) -> float:
        """What it costs to read and decode one link of a chain."""
        known = self.decode.get((code, width))
        if known is None:
            known = max(self.decode.values(), default=0.0) if code != RAW else 0.0
        return stored * self.read + raw * known


BYTES_READ: Final = Rates(1.0, 0.0, {})
"""Counts the stored bytes that are read, as the paper does."""


def rates(parts: Parts, *, again: bool = False, disk: float | None = None) -> Rates:
    """The rates of this machine, in milliseconds, measured unless they are known or ``again``.

    ``disk`` are bytes per second that reading is counted at instead of what is measured.
    """
    known = None if again else _load(parts.backend)
    if known is None:
        known = Rates(_reading(parts), _hashing(), _decoding())
        with suppress(MstoreError):
            parts.backend.replace_cache(KEY, _encode(known))
    return known if disk is None else known._replace(read=_MS / disk)


def _best(work: Callable[[], object]) -> float:
    """The shortest time of a few, in milliseconds."""
    found = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found) * _MS


def _reading(parts: Parts) -> float:
    """From the end of the largest pack, at most as fast as ``DISK``."""
    slowest = _MS / DISK
    with suppress(MstoreError):
        sizes = {key: parts.backend.size(key) for key in parts.odb.packs()}
        if sizes:
            key = max(sizes, key=sizes.__getitem__)
            count = min(_READ, sizes[key])
            took = _best(lambda: parts.backend.read(key, sizes[key] - count, sizes[key]))
            if count == _READ:
                return max(slowest, took / count)
    return slowest


def _hashing() -> float:
    content = _numbers(4)
    return _best(lambda: hash_chunk(content)) / _SIZE


def _decoding() -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for width in _WIDTHS:
        base = _numbers(width)
        for code in (ZSTD, SPLIT_FLOAT, PCO):
            _measure(found, code, width, base, None)
        _measure(found, DELTA_PCO, width, _moved(base, width, 1), base)
        _measure(found, GROUPED, width, _moved(base, width, 1), base)
        _measure(found, SPARSE, width, _moved(base, width, 512), base)
    return found


def _measure(
    found: dict[tuple[int, int], float], code: int, width: int, raw: bytes, base: bytes | None
) -> None:
    one = codec(DELTA_PCO if code == GROUPED else code)
    stored = one.encode(raw, Layout(width, small=code == GROUPED), base)
    if stored is not None:
        target = memoryview(bytearray(len(raw)))
        found[code, width] = _best(lambda: one.decode_into(stored, target, base)) / len(raw)


def _random(count: int, seed: int) -> bytes:
    return blake3(b"mstore calibration %d" % seed).digest(length=count)


def _numbers(width: int) -> bytes:
    """Little-endian numbers of which the last byte alone is far from random, as in weights."""
    content = bytearray(_random(_SIZE, width))
    few = bytes(0x3C + (value & 0x83) // 2 for value in range(256))
    content[width - 1 :: width] = content[width - 1 :: width].translate(few)
    return bytes(content)


def _moved(base: bytes, width: int, every: int) -> bytes:
    """The numbers of which each ``every``-th has moved in its first byte, small ones further."""
    content = bytearray(base)
    old = content[:: width * every]
    steps = _random(len(old), width + 100)
    far = bytes(content[width - 1 :: width * every]).translate(_FAR)
    content[:: width * every] = bytes(
        value ^ (step & mask) for value, step, mask in zip(old, steps, far, strict=True)
    )
    return bytes(content)


def _encode(known: Rates) -> bytes:
    decode = [[code, width, rate] for (code, width), rate in known.decode.items()]
    content = {"format": FORMAT, "read": known.read, "hashed": known.hashed, "decode": decode}
    text = json.dumps(content).encode()
    return blake3(text).digest(length=_CHECK) + text


def _load(backend: Backend) -> Rates | None:
    """What was kept; None where it is not there, cut, changed or of another format."""
    with suppress(MstoreError):
        content = backend.read(KEY)
        text = content[_CHECK:]
        if blake3(text).digest(length=_CHECK) != content[:_CHECK]:
            return None
        kept = json.loads(text)
        if kept["format"] == FORMAT:
            decode = {(code, width): rate for code, width, rate in kept["decode"]}
            return Rates(kept["read"], kept["hashed"], decode)
    return None


def code_of_entry(backend: Backend, location: Location) -> int:
    """The code of an entry's codec, or ``GROUPED``."""
    _, entry, _ = location
    if entry.codec == DELTA_PCO:
        with suppress(MstoreError):
            stop = entry.offset + min(_CHECK, entry.stored_size)
            head = backend.read(location.pack_key, entry.offset, stop)
            from mstore.codecs.delta_pco import is_grouped  # noqa: PLC0415 - needs NumPy

            return GROUPED if is_grouped(head) else DELTA_PCO
    return entry.codec


def chain_cost(parts: Parts, oid: bytes, width: int, by: Rates) -> dict[bytes, float]:
    """What reading a chunk costs, by the ids of its links; errors as ``odb.chain``."""
    found = {}
    for at, location in enumerate(parts.odb.chain(oid)):
        entry = location.entry
        code = code_of_entry(parts.backend, location) if by.decode else entry.codec
        cost = by.link(code, width, entry.stored_size, entry.raw_size)
        found[bytes(entry.id)] = cost + (0.0 if at else entry.raw_size * by.hashed)
    return found
