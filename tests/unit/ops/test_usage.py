"""What versions cost, and what keeps objects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mstore.errors import InvalidInputError, NotFoundError
from mstore.ids import ObjectId
from mstore.ops.strip import strip
from mstore.ops.usage import Usage, du, why
from mstore.ops.walk import closure, reachable, stored_bytes
from mstore.store import Store

Writer = Callable[..., Path]
RAW = 4 * 5000


@pytest.fixture
def used(store: Store, write_model: Writer) -> Store:
    """Two versions that share one tensor of 20 kB and have one each for themselves; a tag."""
    shared = np.arange(5000, dtype=np.float32)
    for number in (1, 2):
        own = np.arange(5000, dtype=np.float32) * np.float32(number + 0.5)
        store.put(write_model({"shared": shared, "own": own}), "lenet", codec="raw")
    store.tag("lenet@2", "prod")
    return store


def usage(store: Store, label: str) -> Usage:
    """What one version costs."""
    return {row.label: row for row in du(store.parts)}[label]


def test_all_bytes_are_exclusive_or_shared(used: Store) -> None:
    """Exclusive and shared bytes of a version are what its objects take."""
    row = usage(used, "lenet@1")
    objects = closure(used.parts, [row.version], payload=True)
    assert row.exclusive_bytes + row.shared_bytes == stored_bytes(used.parts.odb, objects)


def test_own_tensor_is_exclusive(used: Store) -> None:
    """A tensor that no other version has is exclusive; one that two have is shared."""
    row = usage(used, "lenet@1")
    assert RAW < row.exclusive_bytes < RAW + 1500
    assert RAW <= row.shared_bytes < RAW + 500


def test_descendants_keep_the_description(used: Store) -> None:
    """Deleting a parent frees its bytes, not its description; deleting the newest frees both."""
    assert usage(used, "lenet@1").freed_bytes == RAW
    newest = usage(used, "lenet@2")
    assert newest.freed_bytes == newest.exclusive_bytes


@pytest.mark.parametrize("label", ["lenet@1", "lenet@2"])
def test_freed_is_what_becomes_unreachable(used: Store, label: str) -> None:
    """The freed bytes are those that no name needs once the version is deleted."""
    expected = usage(used, label).freed_bytes
    before = reachable(used.parts)
    used.delete("prod")
    used.delete(label)
    assert stored_bytes(used.parts.odb, before - reachable(used.parts)) == expected


@pytest.fixture
def tuned(store: Store, write_model: Writer) -> Store:
    """A version, and a fine-tune of it that is stored as a difference."""
    weights = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    for step in range(2):
        weights = weights * np.float32(1 + step * 1e-5)
        store.put(write_model({"w": weights}), "lenet")
    assert store.parts.odb.depth(chunk_of(store, "lenet@2")) == 1
    return store


def chunk_of(store: Store, label: str) -> ObjectId:
    """The only chunk of a version's only tensor."""
    (row,) = store.tensors(label)
    return ObjectId(store.parts.odb.tensor(row.id).chunks)


def test_a_base_is_shared_by_those_that_need_it(tuned: Store) -> None:
    """Deleting the version that a fine-tune is based on frees nothing of the base."""
    base = tuned.parts.odb.find(chunk_of(tuned, "lenet@1"))
    assert base is not None
    first, second = usage(tuned, "lenet@1"), usage(tuned, "lenet@2")
    assert first.freed_bytes < first.exclusive_bytes < base.entry.stored_size
    assert first.shared_bytes >= base.entry.stored_size
    assert second.shared_bytes >= base.entry.stored_size
    dry = tuned.delete("lenet@1", dry_run=True)
    assert dry.freed_bytes == first.freed_bytes
    tuned.delete("lenet@1")
    after = usage(tuned, "lenet@2")
    assert after.exclusive_bytes >= base.entry.stored_size
    tuned.gc(now=True)
    assert tuned.parts.odb.find(chunk_of(tuned, "lenet@2")) is not None
    assert tuned.fsck(full=True).clean


def test_why_tells_of_what_is_based_on_a_chunk(tuned: Store) -> None:
    """A chunk is kept by its own version and by each that is stored as a difference from it."""
    base, user = chunk_of(tuned, "lenet@1"), chunk_of(tuned, "lenet@2")
    own, based = why(tuned.parts, str(base))
    assert (own.label, own.tensor, own.base_of) == ("lenet@1", "w", None)
    assert (based.label, based.tensor, based.base_of) == ("lenet@2", "w", user)
    tuned.delete("lenet@1")
    (only,) = [reason for reason in why(tuned.parts, str(base)) if reason.state == "kept"]
    assert only.base_of == user
    assert f"is what chunk {user} in lenet@2:" in str(only)
    assert "is based on, kept" in str(only)


def test_a_chain_of_ancestors_is_freed_with_its_only_descendant(used: Store) -> None:
    """Descriptions that only one version keeps alive go when it goes."""
    used.delete("prod")
    used.delete("lenet@1")
    row = usage(used, "lenet@2")
    before = reachable(used.parts)
    used.delete("lenet@2")
    assert stored_bytes(used.parts.odb, before - reachable(used.parts)) == row.freed_bytes
    assert row.freed_bytes > row.exclusive_bytes


def test_chosen_versions(used: Store) -> None:
    """Only the versions asked for are listed, by the label of their model."""
    assert [row.label for row in du(used.parts, ["prod"])] == ["lenet@2"]


def test_stripped_version_costs_its_description(used: Store) -> None:
    """What was stripped takes no bytes of payload."""
    strip(used.parts, ["lenet@2"])
    row = usage(used, "lenet@1")
    assert row.exclusive_bytes + row.shared_bytes < 1500
    assert row.size_bytes > 2 * RAW


def test_why_names_version_path_and_tensor(used: Store) -> None:
    """A tensor is kept by each version that holds it, with path, name and tags."""
    oid = next(row.id for row in used.tensors("lenet@1") if row.name == "shared")
    reasons = why(used.parts, str(oid))
    assert [(r.label, r.path, r.tensor, r.tags, r.state) for r in reasons] == [
        ("lenet@1", "lenet.safetensors", "shared", (), "kept"),
        ("lenet@2", "lenet.safetensors", "shared", ("prod",), "kept"),
    ]
    assert "lenet@1:lenet.safetensors#shared" in str(reasons[0])


def test_why_of_a_chunk(used: Store) -> None:
    """A chunk leads to its tensor, from a prefix of its hash too."""
    oid = next(row.id for row in used.tensors("lenet@1") if row.name == "own")
    chunk = used.parts.odb.tensor(oid).chunks.hex()
    (reason,) = why(used.parts, "blake3:" + chunk[:12])
    assert (reason.kind, reason.label, reason.tensor) == ("chunk", "lenet@1", "own")


def test_why_of_a_version(used: Store) -> None:
    """A version keeps itself."""
    (reason,) = why(used.parts, str(used.resolve("lenet@2").version))
    assert (reason.kind, reason.label, reason.path) == ("version", "lenet@2", None)


def test_why_of_a_stripped_version(used: Store) -> None:
    """A description is kept by a stripped version, a chunk is not."""
    chunk_of_own = {row.name: row.id for row in used.tensors("lenet@1")}["own"]
    strip(used.parts, ["lenet@2"])
    (described,) = why(used.parts, str(chunk_of_own))
    assert (described.state, described.label) == ("described", "lenet@1")
    chunk = ObjectId(used.parts.odb.tensor(chunk_of_own).chunks)
    (gone,) = why(used.parts, str(chunk))
    assert (gone.state, gone.label) == ("unreachable", None)
    assert "no name needs it" in str(gone)


def test_why_of_a_condemned_object(used: Store, write_model: Writer) -> None:
    """An object in a condemned pack is said to be about to go."""
    used.put(write_model({"alone": np.arange(3.0)}), "alone")
    oid = used.tensors("alone")[0].id
    used.delete("alone")
    place = used.parts.odb.find(oid)
    assert place is not None
    name = place.pack_key.rpartition("/")[2]
    condemned = Path(used.path) / "condemned" / f"{0:016x}"
    condemned.mkdir(parents=True)
    (Path(used.path) / place.pack_key).rename(condemned / name)
    used.parts.odb.refresh()
    (reason,) = why(used.parts, str(oid))
    assert reason.state == "condemned"


@pytest.mark.parametrize("digits", ["abc", "not-a-hash", "G" * 64])
def test_what_is_no_hash(used: Store, digits: str) -> None:
    """Too few digits, or none, are the caller's mistake."""
    with pytest.raises(InvalidInputError, match="is not a hash"):
        why(used.parts, digits)


def test_unknown_hash(used: Store) -> None:
    """A hash of nothing is not found."""
    with pytest.raises(NotFoundError):
        why(used.parts, "0" * 64)
