"""Walking trees that somebody else made."""

from pathlib import Path

import pytest

from mstore.errors import CorruptError, InvalidInputError
from mstore.ids import ID_SIZE, ObjectId
from mstore.objects import Tree, TreeEntry, Version
from mstore.ops.walk import closure, walk_entries
from mstore.parts import Transaction
from mstore.store import Store


def nested(store: Store, levels: int, width: int, files: tuple[TreeEntry, ...] = ()) -> ObjectId:
    """A tree that holds the tree below it ``width`` times, ``levels`` deep, and files at last."""
    with Transaction(store.parts) as transaction:
        oid = transaction.writer.add_object(Tree(files))
        for _ in range(levels):
            entries = tuple(TreeEntry(f"n{i}", "tree", bytes(oid)) for i in range(width))
            oid = transaction.writer.add_object(Tree(entries))
        transaction.publish()
    return oid


def test_too_deep_trees_are_refused(store: Store) -> None:
    """Folders that nest deeper than SPEC allows are corrupt, not a crash."""
    root = nested(store, 2000, 1)
    with pytest.raises(CorruptError, match="inside more than 64"):
        list(walk_entries(store.parts.odb, root))


def test_a_tree_repeated_a_million_times_is_refused(store: Store) -> None:
    """A few small trees that unfold to 10 to the 12 names are refused."""
    files = tuple(TreeEntry(f"f{i:03}", "file", bytes(ID_SIZE)) for i in range(1000))
    root = nested(store, 9, 10, files)
    with pytest.raises(CorruptError, match="more than 1000000 names"):
        for _ in walk_entries(store.parts.odb, root):
            pass


def test_closure_visits_a_repeated_tree_once(store: Store) -> None:
    """What a version needs is found without unfolding its trees."""
    root = nested(store, 12, 10)
    with Transaction(store.parts) as transaction:
        version = transaction.writer.add_object(Version(tree=bytes(root), size=0, time=0))
        transaction.publish()
    assert len(closure(store.parts, [version], payload=True)) == 14


def test_put_refuses_what_could_not_be_read_back(store: Store, tmp_path: Path) -> None:
    """A folder that nests too deep is refused while nothing was stored."""
    deep = tmp_path / "m"
    deep.joinpath(*["d"] * 70).mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="inside more than 64"):
        store.put(deep)
