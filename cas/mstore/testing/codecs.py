"""What every codec must do, as tests to inherit.

A plugin's test module says no more than::

    class TestMine(CodecTests):
        codec = my_codec
"""

import tracemalloc
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.codecs import Codec
from mstore.errors import CorruptError

COMPRESSIBLE = b"".join(b'"layer.%d.weight": [%d, 4096], ' % (i, i) for i in range(400))
"""Text of the kind that descriptions of models hold, about 12 KB."""

BOMB_SIZE = 4 << 20
_SMALL = 1 << 10
_MAX_CODE = 255
_ALLOWED_PEAK = 256 << 10

# One codec's class runs the same methods as another's, which hypothesis would call a mistake.
_inherited = settings(suppress_health_check=[HealthCheck.differing_executors], deadline=None)


class CodecTests:
    """Set ``codec`` to the module or object under test."""

    codec: ClassVar[Codec]

    def test_has_a_name_and_a_code(self) -> None:
        """A codec has a lower-case name, and a code that fits the byte of a pack row."""
        assert self.codec.NAME
        assert self.codec.NAME.islower()
        assert 0 <= self.codec.CODE <= _MAX_CODE

    @_inherited
    @given(
        raw=st.binary(max_size=4096)
        | st.builds(bytes.__mul__, st.binary(max_size=64), st.integers(0, 99))
    )
    def test_decodes_what_it_encoded(self, raw: bytes) -> None:
        """Whatever is encoded takes fewer bytes, and decodes to the same bytes."""
        stored = self.codec.encode(raw)
        if stored is not None:
            assert len(stored) < len(raw)
            assert bytes(self.codec.decode(stored, len(raw))) == raw

    def test_takes_any_buffer(self) -> None:
        """Bytes, bytearray and memoryview give the same result, and none of them is altered."""
        for kind in (bytes, bytearray, memoryview):
            raw = kind(bytearray(COMPRESSIBLE))
            stored = self.codec.encode(raw)
            assert bytes(raw) == COMPRESSIBLE
            assert stored == self.codec.encode(COMPRESSIBLE)
            kept, size = (raw, len(raw)) if stored is None else (kind(bytearray(stored)), len(raw))
            assert bytes(self.codec.decode(kept, size)) == COMPRESSIBLE

    @_inherited
    @given(stored=st.binary(max_size=200), raw_size=st.integers(1, _SMALL))
    def test_garbage_is_corrupt(self, stored: bytes, raw_size: int) -> None:
        """Arbitrary bytes decode to exactly the size asked for, or are called corrupt."""
        self._decode_or_refuse(stored, raw_size)

    @_inherited
    @given(place=st.integers(0), bit=st.integers(0, 7))
    def test_a_changed_bit_never_changes_the_size(self, place: int, bit: int) -> None:
        """One flipped bit gives bytes of the right size or CorruptError, and nothing else."""
        stored = bytearray(self._stored(COMPRESSIBLE))
        stored[place % len(stored)] ^= 1 << bit
        self._decode_or_refuse(bytes(stored), len(COMPRESSIBLE))

    @_inherited
    @given(cut=st.integers(1))
    def test_cut_short_is_corrupt(self, cut: int) -> None:
        """Stored bytes that lack their end are refused."""
        stored = self._stored(COMPRESSIBLE)
        with pytest.raises(CorruptError):
            self.codec.decode(stored[: -(cut % len(stored) or 1)], len(COMPRESSIBLE))

    @pytest.mark.parametrize("more", [b"\0", b"more", COMPRESSIBLE])
    def test_trailing_bytes_are_corrupt(self, more: bytes) -> None:
        """Stored bytes followed by others are refused."""
        with pytest.raises(CorruptError):
            self.codec.decode(self._stored(COMPRESSIBLE) + more, len(COMPRESSIBLE))

    def test_two_encodings_in_a_row_are_corrupt(self) -> None:
        """Two encodings one after another are refused, by the size of one and of both."""
        stored = self._stored(COMPRESSIBLE)
        for raw_size in (len(COMPRESSIBLE), len(COMPRESSIBLE) * 2 - 1):
            with pytest.raises(CorruptError):
                self.codec.decode(stored * 2, raw_size)

    @pytest.mark.parametrize("difference", [-1, 1, _SMALL])
    def test_another_size_is_corrupt(self, difference: int) -> None:
        """Good bytes with the wrong size beside them are refused."""
        with pytest.raises(CorruptError):
            self.codec.decode(self._stored(COMPRESSIBLE), len(COMPRESSIBLE) + difference)

    @pytest.mark.parametrize("raw_size", [1, _SMALL])
    def test_a_bomb_is_refused_before_it_goes_off(self, raw_size: int) -> None:
        """Few bytes that would become many are refused without the memory for them."""
        bomb = self._stored(bytes(BOMB_SIZE))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptError):
                self.codec.decode(bomb, raw_size)
            assert tracemalloc.get_traced_memory()[1] < _ALLOWED_PEAK
        finally:
            tracemalloc.stop()

    def _stored(self, raw: bytes) -> bytes:
        stored = self.codec.encode(raw)
        return raw if stored is None else stored

    def _decode_or_refuse(self, stored: bytes, raw_size: int) -> None:
        try:
            raw = self.codec.decode(stored, raw_size)
        except CorruptError:
            return
        assert len(raw) == raw_size
