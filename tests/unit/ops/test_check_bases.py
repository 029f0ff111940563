"""fsck and repair of what is stored as a difference: whom a base hurts, and how it comes back."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mstore.codecs import DELTA_PCO, Coded, Layout, codec
from mstore.format.pack import stored_check
from mstore.ids import ObjectId, hash_chunk
from mstore.ops.findings import FsckReport
from mstore.parts import Transaction
from mstore.store import Store, open_store

COUNT = 20_000
Writer = Callable[..., Path]


def tuned(step: int) -> np.ndarray:
    """Weights that differ a little from one step to the next."""
    weights = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    return weights * np.float32(1 + step * 1e-5)


CHUNKS = [hash_chunk(tuned(step).tobytes()) for step in range(3)]


@pytest.fixture
def based(store: Store) -> Store:
    """Two models, the second a difference from the first, and one that is neither."""
    store.put({"w": tuned(0)}, "base", codec="raw")
    store.put({"w": tuned(1)}, "tuned", parents=["base"])
    store.put({"other": np.arange(9)}, "other")
    assert store.parts.odb.depth(CHUNKS[1]) == 1
    return store


def pack_of(store: Store, oid: bytes) -> Path:
    """The pack that a reader takes an object from."""
    found = store.parts.odb.find(oid)
    assert found is not None
    return Path(store.path) / found.pack_key


def flip(store: Store, oid: bytes) -> None:
    """Change a bit of an object's stored bytes."""
    found = store.parts.odb.find(oid)
    assert found is not None
    flip_byte(pack_of(store, oid), found.entry.offset + 5)


def flip_byte(path: Path, at: int) -> None:
    """Change a bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def fsck(store: Store, *, full: bool = True) -> FsckReport:
    """What is wrong with a store that is opened anew."""
    return open_store(store.path).fsck(full=full)


def repair(store: Store, *places: Path) -> FsckReport:
    """Repair a store that is opened anew."""
    return open_store(store.path).repair(places)


def loads(store: Store, name: str, step: int) -> bool:
    """Whether a model has the weights of a step."""
    return np.array_equal(open_store(store.path).load(name)["w"], tuned(step))


def test_a_sound_store_is_clean(based: Store) -> None:
    """Differences and their bases in other packs are no findings."""
    assert fsck(based).findings == []
    assert fsck(based, full=False).findings == []


def test_a_damaged_base_hurts_all_that_need_it(based: Store) -> None:
    """A changed bit of a base is found, and hurts the versions that are based on it too."""
    based.delete("base")
    flip(based, CHUNKS[0])
    report = fsck(based)
    assert report.hurt == ("tuned@1",)
    assert {finding.kind for finding in report.errors} == {"entry", "base"}
    (entry,) = (finding for finding in report.errors if finding.kind == "entry")
    assert entry.versions == ("tuned@1",)


def test_a_missing_base_is_found_by_the_quick_check(based: Store) -> None:
    """Without its base a version is hurt; the finding names the chunk and the base."""
    pack_of(based, CHUNKS[0]).unlink()
    for full in (False, True):
        report = fsck(based, full=full)
        assert report.hurt == ("base@1", "tuned@1")
        text = " ".join(finding.message for finding in report.errors)
        assert str(CHUNKS[0]) in text
        assert str(CHUNKS[1]) in text


def test_every_stored_byte_of_a_difference_is_checked(based: Store) -> None:
    """A changed bit anywhere in what is stored for a difference is found."""
    found = based.parts.odb.find(CHUNKS[1])
    assert found is not None
    path = pack_of(based, CHUNKS[1])
    good = path.read_bytes()
    start, size = found.entry.offset, found.entry.stored_size
    for at in range(start, start + size, max(1, size // 40)):
        flip_byte(path, at)
        assert fsck(based).hurt == ("tuned@1",)
        path.write_bytes(good)
    assert fsck(based).clean


def test_leftovers_without_a_base_are_no_damage(based: Store) -> None:
    """What gc left in a pack and nobody needs may have lost its base."""
    with Transaction(based.parts) as transaction:
        found = based.parts.odb.find(CHUNKS[1])
        assert found is not None
        content = np.random.default_rng(3).bytes(1 << 17)
        transaction.writer.add_chunk(hash_chunk(content), content)
        transaction.writer.add_stored(found.entry, based.parts.odb.read_stored(found))
        transaction.writer.publish()
    based.put({"x": np.frombuffer(content, np.uint8)}, "big", codec="raw")
    for name in ("tuned", "base"):
        based.delete(name)
    based.gc(now=True)
    odb = open_store(based.path).parts.odb
    assert odb.find(CHUNKS[0]) is None
    assert odb.find(CHUNKS[1]) is not None
    assert fsck(based).findings == []
    report = repair(based)
    assert (report.quarantined, report.findings) == ([], [])


def test_an_unknown_codec_names_what_it_hurts(based: Store) -> None:
    """A chunk in a codec that this build lacks hurts its version, and its pack is left alone."""
    content = np.arange(500.0).tobytes()
    found = based.parts.odb.find(CHUNKS[0])
    assert found is not None
    with Transaction(based.parts) as transaction:
        stored = b"stored by somebody else"
        entry = found.entry._replace(
            id=hash_chunk(content),
            codec=77,
            stored_size=len(stored),
            raw_size=len(content),
            check=stored_check(stored),
        )
        transaction.writer.add_stored(entry, stored)
        transaction.publish()
    based.put({"x": np.arange(500.0)}, "strange", codec="raw")
    report = fsck(based)
    assert report.hurt == ("strange@1",)
    (finding,) = report.errors
    assert finding.kind == "unsupported"
    assert "codec '77'" in finding.message
    assert repair(based).quarantined == []


def test_a_base_comes_back_from_another_store(based: Store, tmp_path: Path) -> None:
    """A damaged base is healed from a copy of the store, and with it what is based on it."""
    other = Path(shutil.copytree(based.path, tmp_path / "copy"))
    flip(based, CHUNKS[0])
    report = repair(based, other)
    assert report.clean
    assert report.healed == [str(CHUNKS[0])]
    assert len(report.quarantined) == 1
    assert loads(based, "base", 0)
    assert loads(based, "tuned", 1)


@pytest.mark.parametrize("step", [0, 1])
def test_a_chunk_comes_back_from_an_old_file(based: Store, write_model: Writer, step: int) -> None:
    """A base is healed from the file it came from, and a difference from its own when need be."""
    path = write_model({"w": tuned(step)})
    flip(based, CHUNKS[0])
    report = repair(based, path)
    assert report.healed == [str(CHUNKS[step])]
    assert report.hurt == (() if step == 0 else ("base@1",))
    assert loads(based, "tuned", 1)


def test_a_missing_base_comes_back(based: Store, write_model: Writer) -> None:
    """A base that no pack has any more is looked for as well, though no name has it."""
    path = write_model({"w": tuned(0)})
    pack_of(based, CHUNKS[0]).unlink()
    assert repair(based, path).healed[0] == str(CHUNKS[0])
    assert loads(based, "tuned", 1)


def one_pack(store: Store) -> tuple[Path, list[ObjectId]]:
    """A pack with three chunks, each but the first a difference from the one before."""
    odb = store.parts.odb
    contents = [tuned(step).tobytes() for step in range(3)]
    with Transaction(store.parts) as transaction:
        for step, content in enumerate(contents):
            coded = None
            if step:
                coded = difference(content, contents[step - 1])
            assert transaction.writer.add_chunk(hash_chunk(content), content, coded)
        (key,) = transaction.writer.publish()
    for step in range(3):
        store.put({"w": tuned(step)}, f"m{step}")
    assert [odb.depth(chunk) for chunk in CHUNKS] == [0, 1, 2]
    return Path(store.path) / key, [entry.id for entry in odb.entries(key)]


def difference(content: bytes, base: bytes) -> Coded:
    """A chunk as what differs from another."""
    stored = codec(DELTA_PCO).encode(content, Layout(4), base)
    assert stored is not None
    return Coded(DELTA_PCO, stored, hash_chunk(base))


@pytest.mark.parametrize("at", [-1, -20, -40, -70, -100, -140], ids=str)
def test_a_pack_with_bases_survives_a_damaged_index(store: Store, at: int) -> None:
    """Whatever part of the index is hurt, what can be proven is saved with its bases."""
    path, ids = one_pack(store)
    flip_byte(path, at + path.stat().st_size)
    report = repair(store)
    assert len(list((Path(store.path) / "quarantine").iterdir())) == 1
    odb = open_store(store.path).parts.odb
    saved = [oid for oid in ids if odb.find(oid) is not None]
    assert len(saved) >= 1
    for oid in saved:
        assert hash_chunk(odb.read(oid)) == oid
    if at >= -32:
        assert len(saved) == 3
        assert report.clean
