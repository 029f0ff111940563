"""Packs as they are written: where entries stand, what is coded, and how they get their names."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.backends.base import Backend
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.backends.memory import MemoryBackend
from mstore.codecs import RAW, ZSTD, Coded, codec
from mstore.errors import CorruptError, InvalidInputError, StorageError
from mstore.format.pack import HEADER, pack_name
from mstore.ids import Kind, hash_chunk, hash_object
from mstore.objects import CHUNK_SIZE, Tensor, Tree, TreeEntry
from mstore.odb import ObjectDatabase, check_pack
from mstore.odb.footer import read_footer
from mstore.odb.index import Index
from mstore.odb.writer import PackWriter

TEXT = b"a line of text that repeats itself\n" * 100
Publish = Callable[..., str]
Rewrite = Callable[[Backend, str, bytes], None]


def noise(seed: int, size: int) -> bytes:
    """Bytes that no codec makes smaller."""
    return b"".join(hash_chunk(b"%d %d" % (seed, at)) for at in range(0, size, 32))[:size]


def squeezed(chunk: bytes) -> Coded | None:
    """A chunk in zstd, where that makes it smaller."""
    stored = codec(ZSTD).encode(chunk)
    return None if stored is None else Coded(ZSTD, stored)


def test_a_pack_is_header_entries_index(backend: Backend) -> None:
    """A pack begins with the header, and is named by the hash of its index section."""
    writer = ObjectDatabase(backend).writer()
    writer.add_chunk(hash_chunk(b"abc"), b"abc")
    (key,) = writer.publish()
    content = backend.read(key)
    assert content[:16] == HEADER
    assert content[64:67] == b"abc"
    assert key == f"objects/{pack_name(content[67:])}.pack"


@pytest.mark.parametrize(("size", "offset"), [(1, 64), (65535, 64), (65536, 4096), (70000, 4096)])
def test_large_raw_chunks_start_on_a_page(backend: Backend, size: int, offset: int) -> None:
    """A raw chunk of 64 KiB or more starts on 4096 bytes, a smaller one on 64."""
    writer = ObjectDatabase(backend).writer()
    chunk = noise(0, size)
    writer.add_chunk(hash_chunk(chunk), chunk)
    (key,) = writer.publish()
    (entry,) = ObjectDatabase(backend).entries(key)
    assert (entry.offset, entry.stored_size, entry.codec) == (offset, size, RAW)


def test_a_coded_chunk_is_stored_only_when_smaller(backend: Backend) -> None:
    """A coded form is kept where it has fewer bytes than the chunk, else the chunk is raw."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    short = codec(ZSTD).encode(TEXT)
    assert short is not None
    cases = {TEXT: (short, ZSTD), noise(1, 99): (bytes(99), RAW), noise(2, 99): (bytes(100), RAW)}
    for chunk, (stored, _) in cases.items():
        assert writer.add_chunk(hash_chunk(chunk), chunk, Coded(ZSTD, stored))
    writer.publish()
    for chunk, (_, code) in cases.items():
        location = odb.find(hash_chunk(chunk))
        assert location is not None
        assert location.entry.codec == code
        assert odb.read(hash_chunk(chunk)) == chunk


def test_objects_are_stored_under_their_ids(backend: Backend) -> None:
    """An object comes back equal, and its id is the hash of its payload."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    tensor = Tensor("U8", (3,), bytes(hash_chunk(b"abc")))
    oid = writer.add_object(tensor)
    entries = tuple(TreeEntry(f"file-{at:05}", "file", bytes(oid)) for at in range(400))
    tree = writer.add_object(Tree(entries))
    writer.publish()
    assert odb.tensor(oid) == tensor
    assert odb.tree(tree) == Tree(entries)
    location = odb.find(tree)
    assert location is not None
    assert (location.entry.kind, location.entry.codec) == (Kind.TREE, ZSTD)


def test_an_object_is_written_once(backend: Backend) -> None:
    """What the transaction or the store has already is not written again."""
    odb = ObjectDatabase(backend)
    first = odb.writer()
    assert first.add_chunk(hash_chunk(TEXT), TEXT)
    assert not first.add_chunk(hash_chunk(TEXT), TEXT)
    assert first.new_bytes == len(TEXT)
    first.publish()
    second = odb.writer()
    assert not second.add_chunk(hash_chunk(TEXT), TEXT)
    assert second.publish() == []
    assert (second.new_bytes, second.stored_bytes) == (0, 0)


def test_stored_bytes_is_what_the_disk_has(backend: Backend) -> None:
    """``stored_bytes`` is the size of the packs, padding and indexes included."""
    writer = ObjectDatabase(backend).writer()
    for seed in range(5):
        chunk = noise(seed, 1000 * seed + 1)
        writer.add_chunk(hash_chunk(chunk), chunk)
    writer.publish()
    assert writer.stored_bytes == sum(item.size for item in backend.list("objects"))


def test_a_full_pack_is_followed_by_another(backend: Backend) -> None:
    """No pack grows over the cap, index included, unless one entry alone does."""
    index, cap = Index(backend), 10_000
    writer = PackWriter(backend, index, cap)
    chunks = [noise(seed, 1 + seed * 97 % 3000) for seed in range(60)]
    for chunk in chunks:
        writer.add_chunk(hash_chunk(chunk), chunk)
    keys = writer.publish()
    assert len(keys) > 5
    assert all(backend.size(key) <= cap for key in keys)
    assert [problem for key in keys for problem in check_pack(backend, key)] == []
    odb = ObjectDatabase(backend)
    assert [odb.read(hash_chunk(chunk)) for chunk in chunks] == chunks


@given(
    chunks=st.lists(
        st.binary(min_size=1, max_size=300) | st.integers(1, 5).map(lambda at: noise(at, at << 15)),
        max_size=12,
    ),
    coded=st.booleans(),
)
def test_any_set_of_chunks_comes_back(chunks: list[bytes], *, coded: bool) -> None:
    """Whatever is written in one pack is read back, and the pack has no fault."""
    backend = MemoryBackend()
    writer = ObjectDatabase(backend).writer()
    added = [
        writer.add_chunk(hash_chunk(item), item, squeezed(item) if coded else None)
        for item in chunks
    ]
    keys = writer.publish()
    assert sum(added) == len(set(chunks))
    odb = ObjectDatabase(backend)
    assert [odb.read(hash_chunk(item)) for item in chunks] == chunks
    assert [problem for key in keys for problem in check_pack(backend, key)] == []


def test_the_same_objects_make_the_same_pack(backend: Backend) -> None:
    """Two writers of the same objects get one pack, and the second grows the store by nothing."""
    writers = [ObjectDatabase(backend).writer() for _ in range(2)]
    for writer in writers:
        writer.add_chunk(hash_chunk(TEXT), TEXT)
    first, second = (writer.publish() for writer in writers)
    assert first == second
    assert [writer.stored_bytes > 0 for writer in writers] == [True, False]
    assert list(backend.names("tmp")) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "entry", "empty"])
def test_a_damaged_pack_in_the_way_is_quarantined(
    backend: Backend, rewrite: Rewrite, damage: str
) -> None:
    """A pack that cannot be believed makes way for a good one, and is kept."""
    writer = ObjectDatabase(backend).writer()
    writer.add_chunk(hash_chunk(TEXT), TEXT)
    late = ObjectDatabase(backend).writer()
    late.add_chunk(hash_chunk(TEXT), TEXT)
    (key,) = writer.publish()
    good = backend.read(key)
    flipped = bytes([good[-1] ^ 1])
    bad = {
        "cut": good[:-1],
        "flip": good[:-1] + flipped,
        "entry": good[:100] + bytes([good[100] ^ 4]) + good[101:],
        "empty": b"",
    }[damage]
    rewrite(backend, key, bad)
    assert late.publish() == [key]
    assert backend.read(key) == good
    (kept,) = backend.list("quarantine")
    assert kept.key.endswith(key.removeprefix("objects/"))
    assert backend.read(kept.key) == bad


class CondemningBackend(LocalBackend):
    """A place where gc condemns a pack just before it is looked at for the first time."""

    condemned = ""

    def size(self, key: str) -> int:
        """The size of what is left."""
        if not self.condemned and key.startswith("objects/"):
            self.condemned = key.replace("objects", f"condemned/{1:016x}")
            self.move(key, self.condemned)
        return super().size(key)


def test_a_pack_condemned_while_it_is_written_again_comes_back(tmp_path: Path) -> None:
    """When the pack in the way goes away by itself, ours takes the name."""
    backend = CondemningBackend(tmp_path)
    backend.prepare()
    writers = [ObjectDatabase(backend).writer() for _ in range(2)]
    for writer in writers:
        writer.add_chunk(hash_chunk(TEXT), TEXT)
    (key,) = writers[0].publish()
    assert writers[1].publish() == [key]
    assert backend.read(key) == backend.read(backend.condemned)
    assert list(backend.list("quarantine")) == []


def test_entries_are_copied_as_they_stand(backend: Backend, publish: Publish) -> None:
    """A repack keeps an entry's encoding and its id, even of what is live."""
    key = publish(backend, [TEXT], "zstd")
    odb = ObjectDatabase(backend)
    (entry,) = odb.entries(key)
    stored = backend.read(key, entry.offset, entry.offset + entry.stored_size)
    writer = odb.writer()
    assert writer.add_chunk(hash_chunk(b"first" * 50), b"first" * 50)
    assert writer.add_stored(entry, stored)
    assert not writer.add_stored(entry, stored)
    (copy,) = writer.publish()
    moved = {other.id: other for other in odb.entries(copy)}[entry.id]
    assert moved._replace(offset=entry.offset) == entry
    assert moved.offset != entry.offset
    backend.remove(key)
    assert ObjectDatabase(backend).read(entry.id) == TEXT


def test_discarded_objects_leave_nothing(backend: Backend) -> None:
    """A writer that is discarded leaves no file, and takes nothing more."""
    writer = ObjectDatabase(backend).writer()
    writer.add_chunk(hash_chunk(TEXT), TEXT)
    writer.discard()
    assert list(backend.list("objects")) == []
    assert list(backend.names("tmp")) == []
    with pytest.raises(StorageError, match="transaction"):
        writer.add_chunk(hash_chunk(b"more"), b"more")
    with pytest.raises(StorageError, match="transaction"):
        writer.publish()


@pytest.mark.parametrize("size", [0, CHUNK_SIZE + 1])
def test_chunks_have_one_byte_to_four_mebibytes(backend: Backend, size: int) -> None:
    """An empty or overlong chunk is refused, and the writer can go on."""
    writer = ObjectDatabase(backend).writer()
    with pytest.raises(InvalidInputError, match=f"{size} bytes"):
        writer.add_chunk(hash_chunk(bytes(size)), bytes(size))
    assert writer.add_chunk(hash_chunk(b"x"), b"x")


def test_bytes_from_elsewhere_must_have_their_id(backend: Backend) -> None:
    """A payload that does not hash to its id is refused, and nothing of it is stored."""
    writer = ObjectDatabase(backend).writer()
    with pytest.raises(CorruptError, match="chunk"):
        writer.add_payload(Kind.CHUNK, hash_chunk(b"other"), b"this")
    oid = hash_object(Kind.TREE, b"payload")
    assert writer.add_payload(Kind.TREE, oid, b"payload")
    assert not writer.add_payload(Kind.TREE, oid, b"payload")


def test_condemned_objects_are_written_again(backend: Backend) -> None:
    """A writer counts what gc has condemned as absent."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    writer.add_chunk(hash_chunk(TEXT), TEXT)
    (key,) = writer.publish()
    backend.move(key, key.replace("objects", f"condemned/{0:016x}"))
    odb.refresh()
    assert not odb.is_live(hash_chunk(TEXT))
    assert odb.writer().add_chunk(hash_chunk(TEXT), TEXT)


class CountingFiles(FileSystem):
    """Counts what reaches the disk, by primitive."""

    def __init__(self) -> None:
        self.synced = 0
        self.broken = False

    def fsync(self, fd: int) -> None:
        """Fsync, and count it."""
        if self.broken:
            raise OSError(5, "input/output error")
        self.synced += 1
        super().fsync(fd)


def test_reuse_is_made_durable_too(tmp_path: Path) -> None:
    """A transaction that wrote nothing still syncs the folder of what it reuses."""
    files = CountingFiles()
    backend = LocalBackend(tmp_path, files)
    backend.prepare()
    writer = ObjectDatabase(backend).writer()
    files.synced = 0
    assert writer.publish() == []
    assert files.synced == 1


def test_two_fsyncs_make_a_pack_durable(tmp_path: Path) -> None:
    """However many objects there are: one fsync for the pack, one for its folder."""
    files = CountingFiles()
    backend = LocalBackend(tmp_path, files)
    backend.prepare()
    writer = ObjectDatabase(backend).writer()
    for at in range(100):
        writer.add_chunk(hash_chunk(b"%d" % at), b"%d" % at)
    files.synced = 0
    writer.publish()
    assert files.synced == 2


def test_a_failed_fsync_publishes_nothing(tmp_path: Path) -> None:
    """When the disk fails, no pack appears, the temporary file goes, and the writer is over."""
    files = CountingFiles()
    backend = LocalBackend(tmp_path, files)
    backend.prepare()
    writer = ObjectDatabase(backend).writer()
    writer.add_chunk(hash_chunk(TEXT), TEXT)
    files.broken = True
    with pytest.raises(StorageError):
        writer.publish()
    assert [*backend.names("objects"), *backend.names("tmp")] == []
    with pytest.raises(StorageError, match="transaction"):
        writer.publish()


def test_memory_does_not_grow_with_the_pack(local: LocalBackend) -> None:
    """Writing 96 MiB needs no more memory than a few chunks of it."""
    buffer = bytearray(CHUNK_SIZE)
    writer = ObjectDatabase(local).writer()
    tracemalloc.start()
    try:
        for at in range(24):
            buffer[:2] = at.to_bytes(2, "little")
            writer.add_chunk(hash_chunk(buffer), memoryview(buffer))
        assert tracemalloc.get_traced_memory()[1] < 2 * CHUNK_SIZE
    finally:
        tracemalloc.stop()
    writer.discard()


def test_the_rows_known_after_publishing_are_those_on_disk(backend: Backend) -> None:
    """What the index took in from the writer is what the pack's footer says."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    writer.add_chunk(hash_chunk(TEXT), TEXT, squeezed(TEXT))
    writer.add_object(Tree())
    (key,) = writer.publish()
    copies = [odb._index.copies(entry.id) for entry in odb.entries(key)]
    assert [copy for (copy,) in copies] == read_footer(backend, key).copies()
