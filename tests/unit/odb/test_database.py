"""Finding and reading objects: the right bytes from whichever pack has them, or a clear error."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstore.backends.base import Backend
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, StorageError
from mstore.ids import Kind, ObjectId, hash_chunk
from mstore.objects import CHUNK_SIZE, OpaqueFile, Tree, Version
from mstore.odb import ObjectDatabase

TEXT = b"a line of text that repeats itself\n" * 100
OID = hash_chunk(TEXT)
Publish = Callable[..., str]
Rewrite = Callable[[Backend, str, bytes], None]


def corrupt(backend: Backend, key: str, rewrite: Rewrite, oid: bytes = OID) -> None:
    """Change the first byte of an object in a pack."""
    entries = ObjectDatabase(backend).entries(key)
    (offset,) = (entry.offset for entry in entries if entry.id == oid)
    content = bytearray(backend.read(key))
    content[offset] ^= 1
    rewrite(backend, key, bytes(content))


@pytest.mark.parametrize("hint", ["raw", "zstd"])
def test_read_into_fills_the_callers_buffer(backend: Backend, publish: Publish, hint: str) -> None:
    """Raw and coded objects are read into a buffer of the caller's, in place."""
    publish(backend, [TEXT], hint)
    buffer = bytearray(len(TEXT) + 2)
    ObjectDatabase(backend).read_into(OID, memoryview(buffer)[1:-1])
    assert buffer == b"\0" + TEXT + b"\0"


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1])
def test_a_buffer_of_another_size_is_refused(backend: Backend, publish: Publish, size: int) -> None:
    """A buffer must be as long as the chunk."""
    publish(backend, [TEXT])
    with pytest.raises(CorruptError, match=f"not a chunk of {size}$"):
        ObjectDatabase(backend).read_into(OID, bytearray(size))


def test_an_unknown_object_is_not_found(backend: Backend) -> None:
    """An object that no pack has is not found, and the error names it and the store."""
    odb = ObjectDatabase(backend)
    assert odb.find(OID) is None
    assert not odb.is_there(OID)
    assert not odb.is_live(OID)
    for call in (odb.read, odb.tensor, odb.file, odb.tree, odb.version):
        with pytest.raises(NotFoundError, match=str(OID)) as caught:
            call(OID)
        assert backend.location in str(caught.value)


def test_readers_see_what_others_published(backend: Backend, publish: Publish) -> None:
    """A miss lists the packs once more, so an open store sees new objects."""
    odb = ObjectDatabase(backend)
    assert odb.find(OID) is None
    publish(backend, [TEXT])
    assert not odb.is_live(OID)
    assert odb.read(OID) == TEXT
    assert odb.is_live(OID)


def test_condemned_objects_are_read_but_not_live(backend: Backend, publish: Publish) -> None:
    """Until gc removes it, a condemned object is found by readers and by no writer."""
    key = publish(backend, [TEXT])
    odb = ObjectDatabase(backend)
    assert odb.read(OID) == TEXT
    condemned = key.replace("objects", "condemned/0000000000000003")
    backend.move(key, condemned)
    assert odb.read(OID) == TEXT
    odb.refresh()
    assert not odb.is_live(OID)
    assert (odb.packs(), odb.packs(condemned=True)) == ([], [condemned])
    location = odb.find(OID)
    assert location is not None
    assert (location.pack_key, location.live) == (condemned, False)
    publish(backend, [TEXT, b"more"])
    odb.refresh()
    location = odb.find(OID)
    assert location is not None
    assert location.live
    assert odb.contains_all([OID, hash_chunk(b"more")])


def test_an_object_comes_from_its_sound_copy(
    backend: Backend, publish: Publish, rewrite: Rewrite
) -> None:
    """With two copies, either may be damaged and the object is still read."""
    first = publish(backend, [TEXT])
    condemned = first.replace("objects", "condemned/0000000000000001")
    backend.move(first, condemned)
    second = publish(backend, [TEXT, b"more"])
    backend.move(condemned, first)
    for key in (first, second):
        good = backend.read(key)
        corrupt(backend, key, rewrite)
        buffer = bytearray(len(TEXT))
        ObjectDatabase(backend).read_into(OID, buffer)
        assert ObjectDatabase(backend).read(OID) == buffer == TEXT
        rewrite(backend, key, good)
    corrupt(backend, first, rewrite)
    corrupt(backend, second, rewrite)
    with pytest.raises(CorruptError):
        ObjectDatabase(backend).read(OID)


@pytest.mark.parametrize("hint", ["raw", "zstd"])
def test_a_damaged_object_is_named(
    backend: Backend, publish: Publish, rewrite: Rewrite, hint: str
) -> None:
    """The error of a damaged object names its kind, its id, its pack, and what to do."""
    key = publish(backend, [TEXT], hint)
    corrupt(backend, key, rewrite)
    odb = ObjectDatabase(backend)
    for read in (odb.read, lambda oid: odb.read_into(oid, bytearray(len(TEXT)))):
        with pytest.raises(CorruptError, match=f"chunk '{OID}' in pack '{key}'") as caught:
            read(OID)
        assert "fsck" in str(caught.value.hint)


def test_an_object_repaired_meanwhile_is_read(
    backend: Backend, publish: Publish, rewrite: Rewrite
) -> None:
    """A store that stays open reads an object again once a sound copy was added."""
    key = publish(backend, [TEXT])
    odb = ObjectDatabase(backend)
    assert odb.read(OID) == TEXT
    corrupt(backend, key, rewrite)
    backend.move(key, "quarantine/bad.pack")
    with pytest.raises(NotFoundError):
        odb.read(OID)
    publish(backend, [TEXT])
    assert odb.read(OID) == TEXT


def test_a_pack_without_a_readable_index_is_mentioned(
    backend: Backend, publish: Publish, rewrite: Rewrite
) -> None:
    """When a pack cannot be read, a missing object may be in it: the error says so."""
    key = publish(backend, [TEXT])
    rewrite(backend, key, backend.read(key)[:-1])
    with pytest.raises(NotFoundError) as caught:
        ObjectDatabase(backend).read(OID)
    assert "1 packs cannot be read" in str(caught.value.hint)


def test_an_object_of_another_kind_is_corrupt(backend: Backend) -> None:
    """Asking for a tree where a file is means that a reference is wrong."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    oid = writer.add_object(OpaqueFile(0))
    writer.publish()
    assert odb.file(oid) == OpaqueFile(0)
    with pytest.raises(CorruptError, match="is a file, not a tree"):
        odb.tree(oid)


def test_a_payload_that_is_no_object_is_corrupt(backend: Backend) -> None:
    """Bytes that hash to their id but break a rule of their kind are named."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    payload = b"\x81\xa3odd\x01" + TEXT
    writer.add_payload(Kind.TREE, oid := ObjectId(_tree_id(payload)), payload)
    writer.publish()
    with pytest.raises(CorruptError, match=f"tree '{oid}'"):
        odb.tree(oid)


def _tree_id(payload: bytes) -> bytes:
    from blake3 import blake3  # noqa: PLC0415 - the id is made without our own code

    return blake3(payload, derive_key_context="mstore v1 tree").digest()


def test_versions_and_trees_come_back(backend: Backend) -> None:
    """Every kind of object has its reader."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    tree = writer.add_object(Tree())
    version = Version(tree=bytes(tree), size=0, time=1, message="first")
    oid = writer.add_object(version)
    writer.publish()
    assert ObjectDatabase(backend).version(oid) == version
    assert ObjectDatabase(backend).tree(tree) == Tree()


def test_chunks_in_a_row_are_one_extent(backend: Backend, publish: Publish) -> None:
    """Raw chunks of a tensor that follow one another in a pack can be mapped as one."""
    chunks = [bytes([at]) * CHUNK_SIZE for at in range(2)] + [b"tail" * 100]
    ids = [hash_chunk(chunk) for chunk in chunks]
    key = publish(backend, [b"before", *chunks])
    odb = ObjectDatabase(backend)
    extent = odb.extent(ids)
    assert extent is not None
    pack_key, offset, size = extent
    assert (pack_key, offset % 4096, size) == (key, 0, sum(map(len, chunks)))
    assert odb.map(pack_key)[offset : offset + size] == b"".join(chunks)
    assert odb.extent(ids[1:]) == (key, offset + CHUNK_SIZE, size - CHUNK_SIZE)
    assert odb.extent(ids[::-1]) is None
    assert odb.extent([ids[0], ids[0]]) is None
    assert odb.extent([*ids, hash_chunk(b"elsewhere")]) is None
    assert odb.extent([]) is None


def test_a_pack_is_mapped_where_it_lies_by_now(backend: Backend, publish: Publish) -> None:
    """A pack that gc condemned between finding and mapping it is mapped all the same."""
    key = publish(backend, [TEXT])
    odb = ObjectDatabase(backend)
    assert odb.extent([OID]) == (key, 64, len(TEXT))
    backend.move(key, key.replace("objects", f"condemned/{7:016x}"))
    assert odb.map(key)[64 : 64 + len(TEXT)] == TEXT
    with pytest.raises(NotFoundError):
        odb.map(f"objects/{'0' * 64}.pack")


def test_an_extent_is_looked_for_in_every_pack(backend: Backend, publish: Publish) -> None:
    """Where one pack has the chunks apart, another that has them together is found."""
    chunks = [bytes([at]) * (128 << 10) for at in range(3)]
    ids = [hash_chunk(chunk) for chunk in chunks]
    apart = publish(backend, [chunks[0], b"between", chunks[1]])
    assert ObjectDatabase(backend).extent(ids[:2]) is None
    backend.move(apart, apart.replace("objects", "condemned/0000000000000001"))
    together = publish(backend, chunks)
    backend.move(apart.replace("objects", "condemned/0000000000000001"), apart)
    found = ObjectDatabase(backend).extent(ids)
    assert found == (together, 4096, 3 * (128 << 10))


def test_coded_chunks_have_no_extent(backend: Backend, publish: Publish) -> None:
    """What must be decoded cannot be mapped."""
    publish(backend, [TEXT], "zstd")
    assert ObjectDatabase(backend).extent([OID]) is None


def test_ids_are_found_by_their_first_digits(backend: Backend, publish: Publish) -> None:
    """A prefix gives every id that begins with it, sorted, each once, with its kind."""
    chunks = [b"%d" % at for at in range(300)]
    for start in range(0, 300, 10):
        publish(backend, chunks[start : start + 10])
    ids = sorted(map(hash_chunk, chunks))
    odb = ObjectDatabase(backend)
    for oid in ids[:20]:
        for digits in (4, 5, 8, 64):
            prefix = str(oid)[:digits]
            found = [(other, Kind.CHUNK) for other in ids if str(other).startswith(prefix)]
            assert odb.prefix(prefix) == found
    assert odb.prefix("f" * 64) == []


@pytest.mark.parametrize("prefix", ["", "abc", "ABCD", "xyzw", "a" * 65, "abcd\n"])
def test_a_prefix_is_four_or_more_hex_digits(backend: Backend, prefix: str) -> None:
    """Anything else is the caller's mistake."""
    with pytest.raises(InvalidInputError, match="hex digits"):
        ObjectDatabase(backend).prefix(prefix)


def test_many_threads_read_at_once(backend: Backend, publish: Publish) -> None:
    """Threads that read, miss and refresh while packs are added all get the right bytes."""
    chunks = [b"chunk %d " % at * 50 for at in range(200)]
    odb = ObjectDatabase(backend)

    def add(start: int) -> None:
        publish(backend, chunks[start : start + 5])

    def read(at: int) -> bool:
        while odb.find(hash_chunk(chunks[at])) is None:
            odb.refresh()
        return odb.read(hash_chunk(chunks[at])) == chunks[at]

    with ThreadPoolExecutor(6) as pool:
        adding = [pool.submit(add, start) for start in range(0, len(chunks), 5)]
        assert all(pool.map(read, range(len(chunks))))
        for future in adding:
            future.result()


class ReadOnlyFiles(FileSystem):
    """A disk that takes no writes."""

    def open_new(self, path: str, mode: int = 0o600, *, dir_fd: int | None = None) -> int:
        """EROFS, always."""
        raise OSError(30, "read-only file system", path, mode, str(dir_fd))

    def mkdir(self, path: str, *, dir_fd: int | None = None) -> None:
        """EROFS, always."""
        raise OSError(30, "read-only file system", path, str(dir_fd))

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        """EROFS, always."""
        raise OSError(30, "read-only file system", path, str(dir_fd))


def test_a_read_only_store_is_read(tmp_path: Path, publish: Publish) -> None:
    """A store on media that take no writes is read as any other, cache or not."""
    writable = LocalBackend(tmp_path)
    writable.prepare()
    for at in range(100):
        publish(writable, [b"%d" % at])
    odb = ObjectDatabase(LocalBackend(tmp_path, ReadOnlyFiles()))
    assert [odb.read(hash_chunk(b"%d" % at)) for at in range(100)] == [
        b"%d" % at for at in range(100)
    ]
    assert odb.find(OID) is None
    with pytest.raises(StorageError, match="read-only"):
        odb.writer().add_chunk(OID, TEXT)
