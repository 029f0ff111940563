"""Checking packs: no changed bit goes unnoticed, and what is still good can be saved."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from mstore.backends.base import Backend
from mstore.backends.memory import MemoryBackend
from mstore.errors import CorruptError, NotFoundError, UnsupportedError
from mstore.format.pack import HEADER_SIZE, encode_index, pack_name
from mstore.ids import hash_chunk
from mstore.odb import ObjectDatabase, check_pack, salvage
from mstore.odb.footer import read_footer

TEXT = b"a line of text that repeats itself\n" * 20
CHUNKS = (b"abc", b"\0" * 70, TEXT)
Publish = Callable[..., str]
Rewrite = Callable[[Backend, str, bytes], None]


@pytest.fixture
def pack(publish: Publish) -> tuple[MemoryBackend, str]:
    """A small pack of raw and coded entries."""
    backend = MemoryBackend()
    return backend, publish(backend, CHUNKS, "zstd")


def flip(content: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_sound_pack_has_no_problem(backend: Backend, publish: Publish) -> None:
    """A pack as it was written passes."""
    assert list(check_pack(backend, publish(backend, CHUNKS, "zstd"))) == []


def test_every_flipped_bit_is_found(pack: tuple[MemoryBackend, str], rewrite: Rewrite) -> None:
    """Whichever bit of a pack changes, checking it says so, and says what is hurt."""
    backend, key = pack
    content = backend.read(key)
    index_offset = read_footer(backend, key).index_offset
    for bit in range(len(content) * 8):
        rewrite(backend, key, flip(content, bit))
        problems = list(check_pack(backend, key))
        assert problems, f"bit {bit}"
        kinds = {problem.kind for problem in problems}
        if bit // 8 >= index_offset:
            assert kinds == {"index"}
        elif bit // 8 < HEADER_SIZE:
            assert kinds <= {"header", "unsupported"}
        else:
            assert kinds <= {"entry", "padding"}


def test_every_flipped_bit_is_noticed_by_readers(
    pack: tuple[MemoryBackend, str], rewrite: Rewrite
) -> None:
    """Whichever bit changes, a reader gets the right bytes or an error, never wrong bytes."""
    backend, key = pack
    content = backend.read(key)
    for bit in range(len(content) * 8):
        rewrite(backend, key, flip(content, bit))
        odb = ObjectDatabase(backend)
        for chunk in CHUNKS:
            with suppress(CorruptError, NotFoundError):
                assert odb.read(hash_chunk(chunk)) == chunk


def test_every_truncation_is_found(pack: tuple[MemoryBackend, str], rewrite: Rewrite) -> None:
    """A pack cut anywhere has lost its index, and says so."""
    backend, key = pack
    content = backend.read(key)
    for size in range(len(content)):
        rewrite(backend, key, content[:size])
        (problem,) = check_pack(backend, key)
        assert (problem.kind, problem.ids) == ("index", ())
        assert key in problem.message
        with pytest.raises(CorruptError):
            salvage(backend, key)


@pytest.mark.parametrize("more", [b"\0", b"x" * 64])
def test_bytes_after_a_pack_are_found(
    pack: tuple[MemoryBackend, str], rewrite: Rewrite, more: bytes
) -> None:
    """A pack with something behind its trailer is not a pack."""
    backend, key = pack
    rewrite(backend, key, backend.read(key) + more)
    assert [problem.kind for problem in check_pack(backend, key)] == ["index"]


@pytest.mark.parametrize("content", [b"", b"x", b"GIF89a" * 99, bytes(4096)])
def test_a_foreign_file_is_found(backend: Backend, content: bytes) -> None:
    """A file that never was a pack is named, and the rest of the store goes on."""
    key = f"objects/{'0' * 64}.pack"
    backend.create(key, content)
    assert [problem.kind for problem in check_pack(backend, key)] == ["index"]
    odb = ObjectDatabase(backend)
    assert odb.find(hash_chunk(b"abc")) is None
    assert list(odb.unreadable) == [key]
    assert odb.packs() == [key]


def test_a_newer_pack_is_told_from_damage(
    pack: tuple[MemoryBackend, str], rewrite: Rewrite
) -> None:
    """A pack with another end and a higher version in its header asks for a newer mstore."""
    backend, key = pack
    content = bytearray(backend.read(key))
    content[8], content[-1] = 2, ord("2")
    rewrite(backend, key, bytes(content))
    assert [problem.kind for problem in check_pack(backend, key)] == ["unsupported"]
    with pytest.raises(UnsupportedError, match="version 2 is newer"):
        read_footer(backend, key)


def test_a_base_that_a_codec_does_not_take_is_refused(backend: Backend, publish: Publish) -> None:
    """A zstd entry that names a base is not believed: nobody knows what was meant."""
    key = publish(backend, [TEXT], "zstd")
    (entry,) = read_footer(backend, key).entries()
    publish(backend, [b"base"])
    index = encode_index([entry._replace(base=hash_chunk(b"base"))])
    body = backend.read(key, 0, entry.offset + entry.stored_size)
    backend.remove(key)
    assert backend.create(f"objects/{pack_name(index)}.pack", body + index)
    with pytest.raises(CorruptError, match="names a base"):
        ObjectDatabase(backend).read(entry.id)


def test_a_swapped_pack_is_found(backend: Backend, publish: Publish) -> None:
    """A good pack under another pack's name is not believed."""
    first, second = publish(backend, [b"one"]), publish(backend, [b"two"])
    backend.move(first, second)
    (problem,) = check_pack(backend, second)
    assert problem.kind == "index"
    assert first.removeprefix("objects/").removesuffix(".pack") in problem.message


def test_a_missing_pack_is_not_found(backend: Backend) -> None:
    """A pack that is not there has no problems: there is nothing to check."""
    with pytest.raises(NotFoundError):
        list(check_pack(backend, f"objects/{'0' * 64}.pack"))


def test_salvage_keeps_what_is_good(pack: tuple[MemoryBackend, str], rewrite: Rewrite) -> None:
    """From a pack with one bad entry all others can be had."""
    backend, key = pack
    content = backend.read(key)
    entries = sorted(ObjectDatabase(backend).entries(key), key=lambda entry: entry.offset)
    assert salvage(backend, key) == entries
    for bad in entries:
        rewrite(backend, key, flip(content, bad.offset * 8))
        assert salvage(backend, key) == [entry for entry in entries if entry != bad]
        (problem,) = check_pack(backend, key)
        assert (problem.kind, problem.ids) == ("entry", (bad.id,))


def test_bad_padding_hurts_no_object(pack: tuple[MemoryBackend, str], rewrite: Rewrite) -> None:
    """Padding that is not zero is a problem of the pack, not of any object."""
    backend, key = pack
    rewrite(backend, key, flip(backend.read(key), 17 * 8))
    (problem,) = check_pack(backend, key)
    assert (problem.kind, problem.ids) == ("padding", ())
    assert len(salvage(backend, key)) == len(CHUNKS)
