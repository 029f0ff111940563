"""Which codec the chunks of a tensor get, tried on a sample of it (SPEC §8).

1. A codec is chosen once for a tensor, by encoding some of its elements with the likely ones.
2. A chunk is never stored in more bytes than it has, and never as a difference that takes more
   than it would take alone: every chunk is held against that by itself.
3. Nothing here reads or writes; any number of threads may encode at once.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, get_args

from mstore.codecs import (
    BYTES,
    DELTA_PCO,
    PCO,
    SPARSE,
    SPLIT_FLOAT,
    ZSTD,
    Coded,
    Layout,
    codec,
)
from mstore.errors import InvalidInputError
from mstore.ids import Buffer

Policy = Literal["raw", "auto", "small"]
"""How much is done to make chunks small: nothing, what is quick, or what is smallest."""
POLICIES: tuple[Policy, ...] = get_args(Policy)

MIN_CODED = 256
"""Bytes below which a chunk stays raw: what a codec could save is less than it costs to read."""
MAX_ALONE = 0.97
"""Encoded over raw: above it the saving does not pay for decoding."""
MAX_DELTA = 0.9
"""As a difference over alone: above it the saving does not pay for reading the base."""

_SAMPLE = 64 << 10
"""Elements of the sample; a chunk of up to twice as many is tried whole."""
_ALL = SPLIT_FLOAT, PCO, ZSTD
_ORDERLY = 0.02, 0.6
"""What the split makes of floats between these is better than weights allow, and not yet nothing:
they are few different values, say, for which there are better codecs."""
_CLOSE = 1.1
"""A codec that does this much worse on the sample is not tried on every chunk."""
_SNIFF = 8 << 10

FLOATS: Mapping[str, int] = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "C64": 4}
"""Dtypes that are made of floats, and the bytes of one float."""
INTEGERS: Mapping[str, int] = {"I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
"""Dtypes of integers wider than a byte, and their bytes. All others are taken as bytes."""


def width_of(dtype: str) -> int:
    """Bytes of what a codec takes as one number in a tensor of this dtype."""
    return FLOATS.get(dtype) or INTEGERS.get(dtype) or 1


class Base(NamedTuple):
    """A chunk that another one is stored as a difference from."""

    id: bytes
    content: Buffer


class Method(NamedTuple):
    """How the chunks of one tensor are encoded.

    ``alone`` are the codes of the codecs of which the smallest result is taken; ``ratio`` is what
    that was on the sample, encoded over raw. ``takes_base`` says whether differences paid there.
    """

    alone: tuple[int, ...] = ()
    takes_base: bool = False
    layout: Layout = BYTES
    ratio: float = 1.0

    def encode(self, raw: Buffer, base: Base | None = None) -> Coded | None:
        """A chunk as an entry stores it, or None where it stays raw."""
        if len(raw) < MIN_CODED:
            return None
        delta = None
        if self.takes_base and base is not None:
            delta = _difference(raw, self.layout, base)
            if delta is not None and len(delta.stored) <= MAX_DELTA * self.ratio * len(raw):
                return delta
        alone = _smallest(self.alone, raw, Layout(self.layout.width))
        size = len(raw) if alone is None else len(alone.stored)
        return delta if delta is not None and len(delta.stored) <= MAX_DELTA * size else alone


class Encoder:
    """Chooses codecs by one policy; InvalidInputError when there is no such policy."""

    def __init__(self, policy: Policy = "auto") -> None:
        if policy not in POLICIES:
            raise InvalidInputError(f"'{policy}' is none of {', '.join(POLICIES)}")
        self.policy = policy

    def plan(
        self,
        dtype: str | None,
        raw: Buffer,
        base: Base | None = None,
        rows: tuple[int, int] = (0, 0),
    ) -> Method:
        """The method for a tensor, of which ``raw`` is a chunk; without a dtype, for other bytes.

        ``base`` is the chunk at the same place of the tensor that it may start from, ``rows`` the
        bytes of a row here and there where they differ.
        """
        return self.settle(dtype, raw, base, rows)[0]

    def settle(
        self,
        dtype: str | None,
        raw: Buffer,
        base: Base | None = None,
        rows: tuple[int, int] = (0, 0),
    ) -> tuple[Method, Coded | None]:
        """As ``plan``; also what the method makes of ``raw``, if the whole of it was tried."""
        if dtype is None:
            return Method((ZSTD,) if _is_text(raw) else ()), None
        if self.policy == "raw" or len(raw) < MIN_CODED:
            return Method(), None
        layout = Layout(width_of(dtype), *rows, small=self.policy == "small")
        sample, base_sample = _sample(raw, base, layout)
        alone = self._alone(dtype, sample, layout.width)
        codes = tuple(trial.code for trial in alone)
        size = len(alone[0].stored) if alone else len(sample)
        delta = None if base_sample is None else _difference(sample, layout, base_sample)
        pays = delta is not None and len(delta.stored) <= MAX_DELTA * size
        method = Method(codes, pays, layout, size / len(sample))
        whole = len(sample) == len(raw)
        best = delta if pays else alone[0] if alone else None
        return method, best if whole else None

    def _alone(self, dtype: str, sample: Buffer, width: int) -> list[Coded]:
        """What is worth doing to a tensor that has no base, tried on the sample, best first."""
        if dtype in FLOATS and self.policy == "auto":
            found = _trials((SPLIT_FLOAT,), sample, width)
            low, high = (share * len(sample) for share in _ORDERLY)
            if found and low < len(found[0].stored) < high:
                found = _trials(_ALL, sample, width)
        elif dtype in FLOATS or dtype in INTEGERS:
            found = _trials(_ALL, sample, width)
        else:
            found = _trials((ZSTD, PCO) if self.policy == "small" else (ZSTD,), sample, width)
        keep = len(found) if self.policy == "small" else 1
        return found[:keep]


def _trials(codes: Iterable[int], sample: Buffer, width: int) -> list[Coded]:
    """What some codecs make of a sample, the smallest first and only what is worth it."""
    results = ((code, codec(code).encode(sample, Layout(width))) for code in codes)
    found = [Coded(code, stored) for code, stored in results if stored is not None]
    found.sort(key=lambda trial: len(trial.stored))
    limit = MAX_ALONE * len(sample)
    if found:
        limit = min(limit, _CLOSE * len(found[0].stored))
    return [trial for trial in found if len(trial.stored) <= limit]


def _smallest(codes: Iterable[int], raw: Buffer, layout: Layout) -> Coded | None:
    best: Coded | None = None
    for code in codes:
        stored = codec(code).encode(raw, layout)
        if stored is not None and (best is None or len(stored) < len(best.stored)):
            best = Coded(code, stored)
    return best


def _difference(raw: Buffer, layout: Layout, base: Base) -> Coded | None:
    best: Coded | None = None
    # Sparse refuses at once where much has changed, and is the quicker and no larger one elsewhere.
    for code in (SPARSE, DELTA_PCO):
        stored = codec(code).encode(raw, layout, base.content)
        if stored is not None and (best is None or len(stored) < len(best.stored)):
            best = Coded(code, stored, base.id)
        if best is not None and not layout.small:
            break
    return best


def _sample(raw: Buffer, base: Base | None, layout: Layout) -> tuple[Buffer, Base | None]:
    """Elements from the middle of a chunk, of what it has in common with a base if there is one."""
    limit = _SAMPLE * layout.width
    if len(raw) <= 2 * limit:
        return raw, base
    if base is not None and layout.row:
        count = -(-limit // layout.row)
        first = max(0, len(raw) // layout.row - count) // 2
        own = raw[first * layout.row : (first + count) * layout.row]
        other = base.content[first * layout.base_row : (first + count) * layout.base_row]
        return own, Base(base.id, other)
    common = len(raw) if base is None else min(len(raw), len(base.content))
    start = max(0, common - limit) // 2
    start -= start % layout.width
    stop = start + limit
    return raw[start:stop], None if base is None else Base(base.id, base.content[start:stop])


def _is_text(content: Buffer) -> bool:
    return b"\0" not in bytes(content[:_SNIFF])
