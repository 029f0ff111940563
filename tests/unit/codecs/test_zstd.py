"""Zstandard frames: what is written, and which frames are refused unread."""

import random
import tracemalloc

import pytest

from mstore.codecs import zstd
from mstore.codecs._frames import read_frame
from mstore.errors import CorruptError

TEXT = b"a line of text that repeats itself\n" * 200
OPTION = zstd.zstd.CompressionParameter


def frame(content: bytes, **options: int) -> bytes:
    """A frame made by the library with parameters of our choice."""
    return zstd.zstd.compress(content, options={OPTION[key]: at for key, at in options.items()})


def test_encoding_is_the_same_every_time() -> None:
    """Equal bytes give equal frames."""
    assert zstd.encode(TEXT) == zstd.encode(bytearray(TEXT))


def test_no_gain_no_frame() -> None:
    """Bytes that would shrink by less than a tenth, or that are none, are not encoded."""
    noise = random.Random(1).randbytes(4096)
    assert zstd.encode(noise) is None
    assert zstd.encode(noise + bytes(300)) is None
    assert zstd.encode(b"") is None
    assert zstd.encode(noise + bytes(600)) is not None


def test_a_frame_without_its_size_is_refused() -> None:
    """A frame must state its content size, or nothing bounds it."""
    with pytest.raises(CorruptError, match="content size"):
        read_frame(frame(TEXT, content_size_flag=0), len(TEXT))


def test_a_frame_that_states_another_size_is_refused_unread() -> None:
    """The size in the frame must be the size in the index."""
    with pytest.raises(CorruptError, match=f"states {len(TEXT)}, not 100"):
        read_frame(frame(TEXT), 100)


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    """Changing the stated size to what the index says does not help a frame of more bytes."""
    content = bytes(4 << 20)
    bomb = bytearray(frame(content))
    at = bytes(bomb).index((4 << 20).to_bytes(4, "little"))
    bomb[at : at + 4] = (1 << 20).to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            read_frame(bytes(bomb), 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


def test_a_window_over_8_mib_is_refused() -> None:
    """A frame whose window would take more than 8 MiB of memory is refused."""
    content = random.Random(2).randbytes(9 << 20)
    with pytest.raises(CorruptError, match="window"):
        read_frame(frame(content, window_log=24), len(content))
    assert read_frame(frame(content, window_log=23), len(content)) == content


@pytest.mark.parametrize("descriptor", [13 << 3 | 1, 14 << 3, 20 << 3 | 7])
def test_a_small_frame_may_not_ask_for_a_large_window(descriptor: int) -> None:
    """The limit holds for frames too that the library decodes in one step, without a window."""
    stored = bytearray(frame(bytes(3000) + TEXT, window_log=10))
    assert len(read_frame(stored, 3000 + len(TEXT))) == 3000 + len(TEXT)
    stored[5] = 13 << 3
    assert read_frame(stored, 3000 + len(TEXT)) == bytes(3000) + TEXT
    stored[5] = descriptor
    with pytest.raises(CorruptError, match="window"):
        read_frame(stored, 3000 + len(TEXT))


def test_a_dictionary_is_refused() -> None:
    """A frame that names a dictionary needs bytes from elsewhere, which no pack has."""
    samples = [b"sample %d of the text to train with" % at for at in range(1000)]
    trained = zstd.zstd.train_dict(samples, 1024)
    stored = zstd.zstd.compress(TEXT, zstd_dict=trained)
    with pytest.raises(CorruptError, match="dictionary"):
        read_frame(stored, len(TEXT))


def test_a_skippable_frame_is_refused() -> None:
    """A frame of bytes to be skipped holds nothing that could be asked for."""
    with pytest.raises(CorruptError, match="does not begin"):
        read_frame(b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip", 4)
