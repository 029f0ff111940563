"""What a version is made of, and what the names of a store keep alive (SPEC §4.6).

Roots: every kept row of every model and of every tag, with all their bytes, and every note.
Versions that are stripped, or only ancestors of a root, keep their description: every object
but the chunks. So do those that list what is in another place.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from mstore.errors import CorruptError, NotFoundError
from mstore.format.names import MAX_FOLDER_DEPTH, MAX_NAMES
from mstore.ids import ID_SIZE, Kind, ObjectId
from mstore.objects import EntryType, File, OpaqueFile, Tree, TreeEntry, Version
from mstore.odb import ObjectDatabase
from mstore.parts import Parts
from mstore.refs import HEADS, NOTES, TAGS
from mstore.tiers import tiers


class Roots(NamedTuple):
    """The versions that the names of a store hold, with their bytes or only described; the notes.

    A note stays whether or not the version that it is about does.
    """

    kept: frozenset[ObjectId]
    described: frozenset[ObjectId]
    notes: frozenset[ObjectId]


class Folders(Protocol):
    """What files are looked up in: an object database, or objects that are only in memory."""

    def tree(self, oid: bytes) -> Tree:
        """The tree with this id."""
        ...

    def file(self, oid: bytes) -> File:
        """The file with this id."""
        ...


class FoundFile(NamedTuple):
    """One file of a version; ``path`` uses "/"."""

    path: str
    type: EntryType
    id: ObjectId
    file: File


def split_ids(packed: bytes) -> list[ObjectId]:
    """The ids that stand one after another in ``packed``."""
    return [ObjectId(packed[at : at + ID_SIZE]) for at in range(0, len(packed), ID_SIZE)]


def walk_entries(odb: Folders, tree_id: bytes) -> Iterator[tuple[str, TreeEntry]]:
    """Every folder and file below a tree with its path, folder by folder, names in order.

    CorruptError when folders nest too deep or there are too many names (SPEC §11).
    """
    open_trees = [("", iter(odb.tree(ObjectId(tree_id)).entries))]
    count = 0
    while open_trees:
        prefix, entries = open_trees[-1]
        entry = next(entries, None)
        if entry is None:
            open_trees.pop()
            continue
        count += 1
        if count > MAX_NAMES:
            raise CorruptError(f"tree {tree_id.hex()} holds more than {MAX_NAMES} names")
        yield prefix + entry.name, entry
        if entry.type == "tree":
            check_depth(len(open_trees), entry.id)
            below = iter(odb.tree(ObjectId(entry.id)).entries)
            open_trees.append((f"{prefix}{entry.name}/", below))


def walk_files(odb: Folders, tree_id: bytes) -> Iterator[FoundFile]:
    """The files below a tree, in the order of their names, folder by folder."""
    for path, entry in walk_entries(odb, tree_id):
        if entry.type != "tree":
            oid = ObjectId(entry.id)
            yield FoundFile(path, entry.type, oid, odb.file(oid))


def require_single(odb: ObjectDatabase, version: Version) -> None:
    """CorruptError unless a version that says it is one file has the tree of one (SPEC §6.5)."""
    entries = odb.tree(ObjectId(version.tree)).entries
    if len(entries) != 1 or entries[0].type == "tree":
        raise CorruptError(f"tree {version.tree.hex()} of a single file holds something else")


def check_depth(depth: int, tree_id: bytes) -> None:
    """CorruptError when a tree stands inside too many others (SPEC §11)."""
    if depth > MAX_FOLDER_DEPTH:
        raise CorruptError(
            f"tree {tree_id.hex()} stands inside more than {MAX_FOLDER_DEPTH} others"
        )


def walk_version(parts: Parts, version_id: ObjectId) -> Iterator[tuple[Kind, ObjectId]]:
    """Every object of one version, each once, in the order in which its files are read."""
    yield Kind.VERSION, version_id
    version = parts.odb.version(version_id)
    for record in records_of(version):
        yield Kind.RECORD, record
    yield from _walk_tree(parts.odb, ObjectId(version.tree), set())


def records_of(version: Version) -> list[ObjectId]:
    """The records that a version names, each once: its code, its environment and its logs."""
    named = [version.code, version.environment, *version.logs]
    return list(dict.fromkeys(ObjectId(oid) for oid in named if oid is not None))


def _walk_tree(
    odb: ObjectDatabase, tree_id: ObjectId, seen: set[ObjectId], depth: int = 0
) -> Iterator[tuple[Kind, ObjectId]]:
    if tree_id in seen:
        return
    check_depth(depth, tree_id)
    seen.add(tree_id)
    yield Kind.TREE, tree_id
    for entry in odb.tree(tree_id).entries:
        oid = ObjectId(entry.id)
        if entry.type == "tree":
            yield from _walk_tree(odb, oid, seen, depth + 1)
        elif oid not in seen:
            seen.add(oid)
            yield Kind.FILE, oid
            yield from _walk_file(odb, odb.file(oid), seen)


def _walk_file(
    odb: ObjectDatabase, file: File, seen: set[ObjectId]
) -> Iterator[tuple[Kind, ObjectId]]:
    if isinstance(file, OpaqueFile):
        yield from _new_chunks(file.chunks, seen)
        return
    for _, tensor_id in file.tensors:
        oid = ObjectId(tensor_id)
        if oid not in seen:
            seen.add(oid)
            yield Kind.TENSOR, oid
            yield from _new_chunks(odb.tensor(oid).chunks, seen)


def _new_chunks(packed: bytes, seen: set[ObjectId]) -> Iterator[tuple[Kind, ObjectId]]:
    for chunk in split_ids(packed):
        if chunk not in seen:
            seen.add(chunk)
            yield Kind.CHUNK, chunk


def closure(parts: Parts, versions: Iterable[ObjectId], *, payload: bool) -> set[ObjectId]:
    """The objects of some versions together, their chunks only with ``payload``.

    NotFoundError or CorruptError when a description cannot be read.
    """
    seen: set[ObjectId] = set()
    chunks: set[ObjectId] = set()
    for version_id in versions:
        version = parts.odb.version(version_id)
        seen.update([version_id, *records_of(version)])
        found = _walk_tree(parts.odb, ObjectId(version.tree), seen)
        chunks |= {oid for kind, oid in found if kind is Kind.CHUNK}
    return seen if payload else seen - chunks


def roots(parts: Parts, without: Mapping[str, Collection[int]] | None = None) -> Roots:
    """Which versions the names of the store hold. CorruptError when a name cannot be read.

    ``without`` asks what they would hold if some numbers of some models were deleted.
    """
    gone = without or {}
    rows = [row for table in parts.refs.tables(TAGS).values() for row in table.rows.values()]
    for name, table in parts.refs.tables(HEADS).items():
        rows += [row for row in table.rows.values() if row.number not in gone.get(name, ())]
    kept = {ObjectId(row.version) for row in rows if row.state == "kept"}
    described = {ObjectId(row.version) for row in rows if row.state == "stripped"}
    described |= set(ancestors(parts, kept | described))
    return Roots(frozenset(kept), frozenset(described - kept), note_ids(parts))


def note_ids(parts: Parts) -> frozenset[ObjectId]:
    """Every note of the store."""
    tables = parts.refs.tables(NOTES).values()
    rows = (row for table in tables for row in table.rows.values())
    return frozenset(ObjectId(row.version) for row in rows if row.state == "kept")


def ancestors(parts: Parts, versions: Iterable[ObjectId]) -> Iterator[ObjectId]:
    """The parents of some versions, their parents, and so on; each once."""
    waiting = list(versions)
    seen = set(waiting)
    while waiting:
        for parent in parts.odb.version(waiting.pop()).parents:
            oid = ObjectId(parent.id)
            if oid not in seen:
                seen.add(oid)
                waiting.append(oid)
                yield oid


def reachable(parts: Parts, without: Mapping[str, Collection[int]] | None = None) -> set[ObjectId]:
    """Every object that the names of the store need; ``without`` as in ``roots``."""
    found = roots(parts, without)
    listing = {version for tier in tiers(parts.refs) for version in tier.versions}
    described = closure(parts, found.described | listing, payload=False)
    return described | closure(parts, found.kept, payload=True) | found.notes


class Bases:
    """What chunks are stored as a difference from; each is asked for once."""

    def __init__(self, odb: ObjectDatabase) -> None:
        self._odb = odb
        self._known: dict[ObjectId, tuple[ObjectId, ...]] = {}

    def of(self, chunk: ObjectId) -> tuple[ObjectId, ...]:
        """The chunks that a reader decodes before this one; none where that cannot be told."""
        found = self._known.get(chunk)
        if found is None:
            found = self._known[chunk] = self._look_up(chunk)
        return found

    def with_bases(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Some objects and what they are based on."""
        found = set(oids)
        return found.union(*(bases for bases in map(self.of, found) if bases))

    def _look_up(self, chunk: ObjectId) -> tuple[ObjectId, ...]:
        try:
            return tuple(location.entry.id for location in self._odb.chain(chunk)[1:])
        except (NotFoundError, CorruptError):
            return ()


def stored_bytes(odb: ObjectDatabase, oids: Iterable[ObjectId]) -> int:
    """What objects take in packs, headers and indexes of packs aside."""
    locations = (odb.find(oid) for oid in oids)
    return sum(location.entry.stored_size for location in locations if location is not None)
