"""The codecs of mstore's packs, written from SPEC.md §8 alone.

What is damaged or newer is a ValueError. `stored` is without the tail and `size` counts the whole
elements, where a codec has elements; `payload` adds the tail.
"""

import struct
import sys
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from pcodec import wrapped

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
NEWER = "a newer reader may know it"  # §12


def need(holds: object, problem: str) -> None:
    """Refuse, unless a rule holds."""
    if not holds:
        raise ValueError(problem)


def cut(stored: bytes, sizes: Any) -> list[bytes]:
    """Cut bytes into parts of these sizes, which account for all of them (§8)."""
    ends = list(accumulate(sizes, initial=0))
    need(ends == sorted(ends) and ends[-1] == len(stored), "an entry has other bytes than it says")
    return [stored[start:end] for start, end in pairwise(ends)]


def frame(stored: bytes, size: int, *_: Any) -> Any:
    """Decode one zstd frame (§8.1)."""
    window = size if stored[4] & 32 else (8 + stored[5] % 8) << 7 + (stored[5] >> 3)
    seen, decoder = zstd.get_frame_info(stored), zstd.ZstdDecompressor()
    good = seen.decompressed_size == size and not seen.dictionary_id and window <= 2**23
    need(good and stored[:4] == b"\x28\xb5\x2f\xfd", "zstd: a wrong frame")
    plain = decoder.decompress(stored, size + 1)
    need(decoder.eof and not decoder.unused_data, "zstd: the frame ends elsewhere")
    return plain


def columns(stored: bytes, sizes: Any, count: int) -> Any:
    """Decode planes of `count` bytes; return an array with a row for each element (§8.2, §8.7)."""
    plain = [part if len(part) == count else frame(part, count) for part in cut(stored, sizes)]
    return np.frombuffer(b"".join(plain), np.uint8).reshape(len(plain), count).T.copy()


def split_float(stored: bytes, size: int, _: Any, width: int) -> bytes:
    """Decode the planes of floats (§8.2)."""
    sizes = struct.unpack_from(f"<{width}I", stored, 4)
    out = columns(stored[4 + 4 * width :], sizes, size // width)
    if width > 1:
        low, top = out[:, -2].copy(), out[:, -1].copy()
        out[:, -2], out[:, -1] = top << 7 | low & 127, low & 128 | top >> 1
    return out.tobytes()


def stream(stored: bytes, count: int, width: int) -> Any:
    """Decode a stream of pco (§8.3)."""
    major, _, size = struct.unpack_from("<BBI", stored)
    need(major <= 4, f"pco {major}; {NEWER}")
    meta, page = cut(stored[6:], [size, len(stored) - 6 - size])
    need(major == 4 and count and meta[:1] == b"\0", "pco: mode, delta or count")
    file, out = wrapped.FileDecompressor.new(stored[:2])[0], np.empty(count, f"<u{width}")
    chunk, used = file.chunk_decompressor(meta, f"u{8 * width}")
    done, read = chunk.read_page_into(page, count, out)
    need((used, read, done.n_processed) == (len(meta), len(page), count), "pco: a cut stream")
    return out


def pco(stored: bytes, size: int, _: Any, width: int) -> bytes:
    """Decode a chunk that is one stream (§8.4)."""
    need(struct.unpack_from("<I", stored, 4) == (size // width,), "pco: count")
    return stream(stored[8:], size // width, width).tobytes()


def predict(base: bytes, size: int, width: int, row: int, base_row: int) -> Any:
    """Return the elements that the base predicts (§8.5)."""
    need((row == 0) == (base_row == 0), "a row of one length alone")
    starts = range(0, -(-size // row) * base_row, base_row) if row else ()
    rows = (base[at : at + min(row, base_row)].ljust(min(row, size), b"\0") for at in starts)
    plain = (b"".join(rows) if row else base)[:size].ljust(size, b"\0")
    return np.frombuffer(plain, f"<u{width}").copy()


def delta(stored: bytes, size: int, base: bytes, width: int) -> bytes:
    """Add differences to what a base predicts, group by group (§8.5)."""
    groups, *rows = struct.unpack_from("<HII", stored, 2)
    need(1 <= groups <= (4 if width > 1 else 1), "delta-pco: groups")
    table = struct.unpack_from(f"<{3 * groups}I", stored, 12)
    firsts, counts, out = list(table[::3]), list(table[1::3]), predict(base, size, width, *rows)
    need(firsts == sorted({0, *firsts}) and firsts[-1] <= 255, "delta-pco: first")
    keys = out >> (8 * width - 9) & 255 if width > 1 else out & 0
    group = np.searchsorted(firsts, keys, "right") - 1
    need(np.bincount(group, minlength=groups).tolist() == counts, "delta-pco: counts")
    for index, part in enumerate(cut(stored[12 + 12 * groups :], table[2::3])):
        need(counts[index] or not part, "delta-pco: a stream of nothing")
        if counts[index]:
            out[group == index] += stream(part, counts[index], width)
    return out.tobytes()


def sparse(stored: bytes, size: int, base: bytes, width: int) -> bytes:
    """Change the few elements that differ from what a base predicts (§8.6)."""
    count, row, base_row, changed, gaps = struct.unpack_from("<5I", stored, 4)
    first, second = cut(stored[24:], [gaps, len(stored) - 24 - gaps])
    need(count * width == size and 8 * changed <= count, "sparse: counts")
    need(changed or not first + second, "sparse: streams of nothing")
    out = predict(base, size, width, row, base_row)
    if changed:
        places = np.cumsum(stream(first, changed, 4).astype(np.int64) + 1) - 1
        need(places[-1] < count, "sparse: an element beyond the last")
        out[places] += stream(second, changed, width)
    return out.tobytes()


def planes(stored: bytes, size: int, base: bytes, width: int) -> bytes:
    """Join the leading bits of numbers, or first bytes, with a low chunk (§8.7)."""
    bits, count = struct.unpack_from("<HI", stored, 2)
    good = 0 < bits < 8 * width and count * width == size if width else bits == 0 < count < size
    need(good and width != 1, "planes: width, bits or count")
    sizes = struct.unpack_from(f"<{-(-bits // 8) or 1}I", stored, 8)
    out = columns(stored[8 + 4 * len(sizes) :], sizes, count)
    if not width:
        need(len(base) == size - count, "planes: another base")
        return bytes(out.tobytes() + base)
    single, whole = (8 * width - bits) % 8, (8 * width - bits) // 8
    first, rest = cut(base, [single * -(-count // 8), whole * count])
    ones = np.unpackbits(np.frombuffer(first, np.uint8).reshape(single, -(-count // 8)), axis=1).T
    low = np.unpackbits(np.frombuffer(rest, np.uint8).reshape(whole, count).T, axis=1)
    top = np.unpackbits(out, axis=1)
    need(not top[:, bits:].any(), "planes: bits beyond those that are here")
    joined = np.concatenate([top[:, :bits], ones[:count], low], axis=1)
    return np.packbits(joined, axis=1)[:, ::-1].tobytes()


CODECS: list[Any] = [lambda stored, *_: stored, frame, split_float, pco, delta, sparse, planes]


def payload(codec: int, stored: bytes, size: int, base: bytes | None = None) -> bytes:
    """Return what an entry's stored bytes are a coding of (§8)."""
    need(codec < len(CODECS), f"unknown codec {codec}; {NEWER}")
    need((base is not None) == (codec > 3), "a base that the codec does not take, or none")
    width = int.from_bytes(stored[: 2 if codec in {4, 6} else 4], "little") if codec > 1 else 1
    need(width in {1, 2, 4, 8} or (codec, width) == (6, 0), "another width")
    tail = size % width if codec < 6 else 0  # §8.7 has none
    body, end = stored[: len(stored) - tail], stored[len(stored) - tail :]
    try:
        plain = CODECS[codec](body, size - tail, base, width) + end
    except (zstd.ZstdError, struct.error, IndexError, RuntimeError) as error:
        raise ValueError(f"codec {codec}: {error}") from error
    need(len(plain) == size, "an entry of another size")
    return bytes(plain)
