"""What every codec must do, as tests to inherit.

A plugin's test module says no more than::

    class TestMine(CodecTests):
        codec = my_codec

A codec for what is not among ``CASES`` is given ``cases`` of its own there.
"""

import random
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.codecs import BUILT_IN, BYTES, PLUGIN_CODES, RAW, Codec, Layout
from mstore.errors import CorruptError, UnsupportedError
from mstore.ids import Buffer

COMPRESSIBLE = b"".join(b'"layer.%d.weight": [%d, 4096], ' % (i, i) for i in range(400))
"""Text of the kind that descriptions of models hold, about 12 KB."""

BOMB_SIZE = 4 << 20
MAX_PEAK = 64 << 20
"""Bytes that decoding the largest chunk may take, its result included."""

_SMALL = 1 << 10
_COUNT = 4000
_ALLOWED_PEAK = 256 << 10
_FORMATS = {2: "e", 4: "f", 8: "d"}

# One codec's class runs the same methods as another's, which hypothesis would call a mistake.
_inherited = settings(suppress_health_check=[HealthCheck.differing_executors], deadline=None)


class Case(NamedTuple):
    """A chunk, how it is laid out, and a base that it resembles."""

    raw: bytes
    layout: Layout
    base: bytes


def weights(width: int, count: int = _COUNT) -> bytes:
    """Numbers of ``width`` bytes as a trained layer has them; the same ones every time."""
    source = random.Random(width)  # noqa: S311 - the same every time
    if width == 1:
        return bytes(int(source.gauss(0, 5)) & 255 for _ in range(count))
    values = [source.gauss(0, 0.02) for _ in range(count)]
    return struct.pack(f"<{count}{_FORMATS[width]}", *values)


def nudged(raw: bytes, width: int, every: int) -> bytes:
    """``raw`` with the lowest bit of one element in ``every`` changed."""
    changed = bytearray(raw)
    for at in range(0, len(raw) - width + 1, width * every):
        changed[at] ^= 1
    return bytes(changed)


def special(width: int) -> bytes:
    """Bit patterns that arithmetic on floats would not keep, many times over."""
    bits = width * 8
    ones, top = (1 << bits) - 1, 1 << (bits - 1)
    # All exponents of both signs with few and many bits below: NaNs with payloads, infinities,
    # zeros and subnormals of every format are among them.
    exponents = [(e << (bits - 9)) & ones for e in range(256)] if width > 1 else list(range(256))
    patterns = [e | low for e in exponents for low in (0, 1, top, top | 1)]
    return b"".join(pattern.to_bytes(width, "little") for pattern in patterns) * 3


CASES = {
    "text": Case(COMPRESSIBLE, BYTES, COMPRESSIBLE[:-900] + bytes(900)),
    **{
        f"weights-{width}-one-in-{every}": Case(
            nudged(weights(width), width, every), Layout(width), weights(width)
        )
        for width in (1, 2, 4, 8)
        for every in (1, 3, 200)
    },
}
"""Among them each codec finds one that it makes smaller."""


def _odd(content: bytearray) -> memoryview:
    """``content`` where no element of more than a byte may stand."""
    return memoryview(b"-" + content)[1:]


class CodecTests:
    """Set ``codec`` to the module or object under test.

    One of the ``cases`` at least must become smaller, unless the codec has the code 0.
    """

    codec: ClassVar[Codec]
    cases: ClassVar[Mapping[str, Case]] = CASES

    def test_has_a_name_and_a_code(self) -> None:
        """A codec has a lower-case name, and a code of ours or one that plugins may have."""
        assert self.codec.NAME
        assert self.codec.NAME.islower()
        assert self.codec.CODE in {*BUILT_IN, *PLUGIN_CODES}
        assert self.codec.TAKES_BASE in {False, True}

    def test_decodes_what_it_encoded(self) -> None:
        """Weights of every width and text come back, and take fewer bytes where encoded."""
        for case in self.cases.values():
            self._check(case.raw, case.layout, case.base)
            self._check(case.raw, case.layout._replace(small=True), case.base)

    def test_makes_something_smaller(self) -> None:
        """One of the cases at least takes fewer bytes; the codec that keeps all keeps text."""
        _, stored = self._stored()
        assert self.codec.CODE == RAW or stored != CASES["text"].raw

    @_inherited
    @given(
        raw=st.binary(max_size=600)
        | st.builds(bytes.__mul__, st.binary(max_size=64), st.integers(0, 99)),
        width=st.sampled_from([1, 2, 4, 8]),
        rows=st.sampled_from([(0, 0), (1, 1), (24, 16), (16, 24), (7, 9), (9000, 3)]),
        base=st.binary(max_size=600),
        small=st.booleans(),
    )
    def test_is_exact_for_any_bytes(
        self, raw: bytes, width: int, rows: tuple[int, int], base: bytes, *, small: bool
    ) -> None:
        """Any bytes of any layout come back, whatever the base and wherever an element ends."""
        layout = Layout(width, *rows, small)
        for given_base in (base, raw, raw[: len(raw) // 2], raw + base):
            self._check(raw, layout, given_base)

    @pytest.mark.parametrize("width", [1, 2, 4, 8])
    def test_keeps_every_bit_pattern(self, width: int) -> None:
        """NaN payloads, -0, subnormals and infinities come back with the bits they had."""
        raw = special(width)
        for base in (raw[::-1], nudged(raw, width, 3), nudged(raw, width, 300)):
            self._check(raw, Layout(width), base)

    @pytest.mark.parametrize("length", [1, 2, 3, 5, 7])
    def test_takes_what_ends_within_an_element(self, length: int) -> None:
        """A chunk whose last element is cut comes back whole, or is not encoded."""
        for width in (2, 4, 8):
            raw = weights(width) + b"tail of"[:length]
            self._check(raw, Layout(width), nudged(raw, width, 90))

    def test_takes_any_buffer(self) -> None:
        """Every buffer, at an odd address too, gives the same result, and none is altered."""
        case, stored = self._stored()
        kinds: tuple[Callable[[bytearray], Buffer], ...] = (bytes, bytearray, memoryview, _odd)
        for kind in kinds:
            raw, base = kind(bytearray(case.raw)), kind(bytearray(case.base))
            again = self.codec.encode(raw, case.layout, base)
            assert again is None or bytes(again) == stored
            kept = kind(bytearray(stored))
            assert self._decode(kept, len(case.raw), base) == case.raw
            assert (bytes(raw), bytes(base), bytes(kept)) == (case.raw, case.base, stored)

    def test_threads_do_not_disturb_one_another(self) -> None:
        """Several threads that encode and decode at once get what one would get."""
        case, stored = self._stored()

        def both_ways(_: int) -> tuple[bytes, bytes]:
            again = self.codec.encode(case.raw, case.layout, case.base)
            kept = stored if again is None else bytes(again)
            return kept, self._decode(kept, len(case.raw), case.base)

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(both_ways, range(40))) == {(stored, case.raw)}

    @pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5])
    def test_writes_the_target_alone(self, start: int) -> None:
        """A target anywhere within a buffer is filled, and nothing before or behind it."""
        case, stored = self._stored()
        around = bytearray(b"\xaa" * (len(case.raw) + 16))
        target = memoryview(around)[start : start + len(case.raw)]
        self.codec.decode_into(stored, target, case.base)
        assert bytes(target) == case.raw
        assert set(around[:start] + around[start + len(case.raw) :]) == {0xAA}

    def test_base_is_given_where_one_is_taken(self) -> None:
        """Without a base a codec that takes one refuses; any other gives the same without."""
        case, stored = self._stored()
        if self.codec.TAKES_BASE:
            assert self.codec.encode(case.raw, case.layout) is None
            with pytest.raises(CorruptError):
                self._decode(stored, len(case.raw), None)
        else:
            assert self.codec.encode(case.raw, case.layout) in {None, stored}
            assert self._decode(stored, len(case.raw), None) == case.raw

    @_inherited
    @given(base=st.binary(max_size=600))
    def test_another_base_never_changes_the_size(self, base: bytes) -> None:
        """With a base that is not the right one the target is filled, or it is called corrupt."""
        case, stored = self._stored()
        self._decode_or_refuse(stored, len(case.raw), base)

    @_inherited
    @given(stored=st.binary(max_size=200), raw_size=st.integers(1, _SMALL))
    def test_garbage_is_corrupt(self, stored: bytes, raw_size: int) -> None:
        """Arbitrary bytes decode to exactly the size asked for, or are called corrupt."""
        self._decode_or_refuse(stored, raw_size, bytes(raw_size))

    @_inherited
    @given(place=st.integers(0), bit=st.integers(0, 7))
    def test_a_changed_bit_never_changes_the_size(self, place: int, bit: int) -> None:
        """One flipped bit gives bytes of the right size or a refusal, and nothing else."""
        case, stored = self._stored()
        changed = bytearray(stored)
        changed[place % min(len(changed), 1 + place % 199)] ^= 1 << bit
        self._decode_or_refuse(bytes(changed), len(case.raw), case.base)

    @_inherited
    @given(cut=st.integers(1))
    def test_cut_short_is_corrupt(self, cut: int) -> None:
        """Stored bytes that lack their end are refused."""
        case, stored = self._stored()
        with pytest.raises(CorruptError):
            self._decode(stored[: -(cut % len(stored) or 1)], len(case.raw), case.base)

    @pytest.mark.parametrize("more", [b"\0", b"more", COMPRESSIBLE])
    def test_trailing_bytes_are_corrupt(self, more: bytes) -> None:
        """Stored bytes followed by others are refused."""
        case, stored = self._stored()
        with pytest.raises(CorruptError):
            self._decode(stored + more, len(case.raw), case.base)

    def test_two_encodings_in_a_row_are_corrupt(self) -> None:
        """Two encodings one after another are refused, by the size of one and of both."""
        case, stored = self._stored()
        for raw_size in (len(case.raw), len(case.raw) * 2 - 1):
            with pytest.raises(CorruptError):
                self._decode(stored * 2, raw_size, case.base)

    @pytest.mark.parametrize("difference", [-8, -1, 1, 8, _SMALL])
    def test_another_size_is_corrupt(self, difference: int) -> None:
        """Good bytes with the wrong size beside them are refused."""
        case, stored = self._stored()
        with pytest.raises(CorruptError):
            self._decode(stored, len(case.raw) + difference, case.base)

    @pytest.mark.parametrize("raw_size", [1, _SMALL])
    def test_a_bomb_is_refused_before_it_goes_off(self, raw_size: int) -> None:
        """Few bytes that would become many are refused without the memory for them."""
        zeros = bytes(BOMB_SIZE)
        bomb = self.codec.encode(zeros, Layout(4), zeros) or zeros
        tracemalloc.start()
        try:
            with pytest.raises(CorruptError):
                self._decode(bomb, raw_size, zeros)
            assert tracemalloc.get_traced_memory()[1] < _ALLOWED_PEAK
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("width", [1, 2, 4, 8])
    def test_the_largest_chunk_fits_the_memory(self, width: int) -> None:
        """Decoding a chunk of 4 MiB takes at most 64 MB."""
        part = weights(width)
        base = (part * (BOMB_SIZE // len(part) + 1))[:BOMB_SIZE]
        raw = nudged(base, width, 60)
        stored = self.codec.encode(raw, Layout(width, small=True), base)
        tracemalloc.start()
        try:
            if stored is not None:
                assert self._decode(stored, len(raw), base) == raw
            assert tracemalloc.get_traced_memory()[1] < MAX_PEAK
        finally:
            tracemalloc.stop()

    def _stored(self) -> tuple[Case, bytes]:
        """The case that shrinks most, and what it becomes; the codec that keeps all keeps text."""
        found = [
            (case, bytes(stored))
            for case in self.cases.values()
            if (stored := self.codec.encode(case.raw, case.layout, case.base)) is not None
        ]
        case, stored = min(
            found,
            key=lambda one: len(one[1]) / len(one[0].raw),
            default=(CASES["text"], COMPRESSIBLE),
        )
        return case, stored

    def _decode(self, stored: Buffer, raw_size: int, base: Buffer | None) -> bytes:
        target = bytearray(raw_size)
        self.codec.decode_into(stored, memoryview(target), base)
        return bytes(target)

    def _check(self, raw: bytes, layout: Layout, base: bytes) -> None:
        stored = self.codec.encode(raw, layout, base)
        if stored is None:
            return
        assert len(stored) < len(raw)
        assert stored == self.codec.encode(raw, layout, base)
        assert self._decode(stored, len(raw), base) == raw

    def _decode_or_refuse(self, stored: bytes, raw_size: int, base: bytes) -> None:
        """Decode, where refusing the bytes, or a version of them that is newer, is as good."""
        try:
            raw = self._decode(stored, raw_size, base)
        except (CorruptError, UnsupportedError):
            return
        assert len(raw) == raw_size
