"""No changed bit, cut or exchanged file of a store escapes a full fsck.

A sample of the bits; all of them with MSTORE_THOROUGH=1, which takes some minutes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.backends.local import LocalBackend
from mstore.errors import CorruptError, UnsupportedError
from mstore.ids import hash_chunk
from mstore.ops.check import check
from mstore.parts import open_parts
from mstore.store import Store

FEW = 600
CHAIN = 3
"""Versions of which each is stored as a difference from the one before."""


@pytest.fixture
def small(store: Store, tmp_path: Path) -> Store:
    """A small store with raw and coded entries, a chain of differences, padding and tags."""
    rng = np.random.default_rng(0)
    store.put({"w": rng.standard_normal(40, dtype=np.float32), "none": np.zeros((0, 2))}, "lenet")
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "readme.txt").write_text("words " * 80)
    (folder / "deep" / "noise.bin").write_bytes(rng.bytes(70))
    store.put(folder, "notes", message="first", tags=("best",), params={"rate": 0.5})
    store.delete("lenet@1")
    store.undo("lenet")
    for step in range(CHAIN):
        store.put({"w": tuned(step)}, "tuned")
    last = store.parts.odb.depth(hash_chunk(tuned(CHAIN - 1).tobytes()))
    assert last == CHAIN - 1
    return store


def tuned(step: int) -> np.ndarray:
    """Numbers that differ a little from those of the step before."""
    return np.random.default_rng(30).standard_normal(100, np.float32) + np.float32(step * 1e-6)


def stored_files(store: Store) -> list[Path]:
    """The files whose every byte matters."""
    root = Path(store.path)
    found = [root / "config", *root.glob("objects/*"), *root.glob("refs/*/*/*")]
    return sorted(path for path in found if path.is_file())


def is_found(store: Store) -> bool:
    """Whether opening the store and checking all of it notices that something is wrong."""
    try:
        return not check(open_parts(LocalBackend(Path(store.path))), full=True).clean
    except (CorruptError, UnsupportedError):
        # Only the config is read when a store is opened.
        return True


def flips(content: bytes, step: int, first: int) -> Iterator[bytes]:
    """Copies of some bytes, each with another bit changed."""
    for bit in range(first % step, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_every_flipped_bit_is_found(small: Store, *, thorough: bool) -> None:
    """A store with one changed bit in any file under config, objects or refs is not clean."""
    assert not is_found(small)
    files = stored_files(small)
    bits = 8 * sum(path.stat().st_size for path in files)
    step = 1 if thorough else bits // FEW
    for number, path in enumerate(files):
        original = path.read_bytes()
        path.chmod(0o600)
        for changed in flips(original, step, first=3 * number):
            path.write_bytes(changed)
            assert is_found(small), f"{path} with another bit: {changed.hex()}"
        path.write_bytes(original)
    assert not is_found(small)


def test_every_version_behind_a_flip_is_named(small: Store) -> None:
    """A changed bit of a chunk hurts the version that has it, and all that are differences."""
    for step in range(CHAIN):
        place = small.parts.odb.find(hash_chunk(tuned(step).tobytes()))
        assert place is not None
        path, entry = Path(small.path) / place.pack_key, place.entry
        original = path.read_bytes()
        path.chmod(0o600)
        behind = {f"tuned@{number}" for number in range(step + 1, CHAIN + 1)}
        for at in range(entry.offset, entry.offset + entry.stored_size, 7):
            changed = bytearray(original)
            changed[at] ^= 1 << at % 8
            path.write_bytes(changed)
            report = check(open_parts(LocalBackend(Path(small.path))), full=True)
            assert set(report.hurt) == behind, f"byte {at} of step {step}"
        path.write_bytes(original)


def test_every_cut_is_found(small: Store, *, thorough: bool) -> None:
    """A file that ends early, or goes on after its end, is found."""
    for path in stored_files(small):
        original = path.read_bytes()
        path.chmod(0o600)
        step = 1 if thorough else max(1, len(original) // 20)
        for length in range(0, len(original), step):
            path.write_bytes(original[:length])
            assert is_found(small), f"{path} cut to {length} bytes"
        path.write_bytes(original + b"\0")
        assert is_found(small)
        path.write_bytes(original)


def test_every_exchange_is_found(small: Store) -> None:
    """Two files of one kind that stand under each other's names are found."""
    files = stored_files(small)
    for first in files:
        for second in files:
            if first >= second or first.parent.parent.name != second.parent.parent.name:
                continue
            contents = first.read_bytes(), second.read_bytes()
            for path, content in zip((first, second), reversed(contents), strict=True):
                path.chmod(0o600)
                path.write_bytes(content)
            assert is_found(small), f"{first} and {second} exchanged"
            for path, content in zip((first, second), contents, strict=True):
                path.write_bytes(content)


def test_every_missing_pack_is_found(small: Store) -> None:
    """A pack that is gone is found, and so is a slot that another one follows."""
    newest = {max(folder.iterdir()) for folder in Path(small.path).glob("refs/*/*")}
    for path in stored_files(small):
        if path in newest or path.name == "config":
            continue
        original = path.read_bytes()
        path.unlink()
        assert is_found(small), f"{path} missing"
        path.write_bytes(original)
