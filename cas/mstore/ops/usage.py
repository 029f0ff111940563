"""What versions cost on disk (``du``), and what keeps an object there (``why``)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.errors import InvalidInputError, NotFoundError
from mstore.ids import Kind, ObjectId
from mstore.objects import File, OpaqueFile
from mstore.odb import ObjectDatabase
from mstore.ops.describe import labels_by_version
from mstore.ops.names import tags
from mstore.ops.walk import Bases, Roots, ancestors, records_of, roots, split_ids
from mstore.parts import Parts
from mstore.revision import MIN_PREFIX, resolve
from mstore.tiers import tiers

_MANY = ObjectId(bytes(32))
"""Stands for "more than one version" where a version is expected; no hash is all zeros."""
_HEX = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


class Usage(Struct, frozen=True):
    """What one version costs, in bytes; all but ``size_bytes`` are as stored in packs.

    ``exclusive_bytes`` are in no other version, ``shared_bytes`` in at least one; what a version's
    chunks are stored as a difference from is in it too, whoever's it was. ``freed_bytes``
    is what gc would free if nothing named this version any more: less than the exclusive ones
    where a descendant keeps the description, more where it alone keeps ancestors' descriptions.
    """

    label: str
    version: ObjectId
    size_bytes: int
    exclusive_bytes: int
    shared_bytes: int
    freed_bytes: int


class Reason(Struct, frozen=True):
    """One reason why an object is in the store, or that there is none.

    ``state`` is "kept" (a version with its bytes), "described" (a stripped version or an
    ancestor), "condemned" (gc is about to delete it) or "unreachable" (the next gc will).
    ``base_of`` is the chunk there that is stored as a difference from this one, when that is the
    reason.
    """

    id: ObjectId
    kind: str
    state: Literal["kept", "described", "condemned", "unreachable"]
    label: str | None = None
    version: ObjectId | None = None
    tags: tuple[str, ...] = ()
    path: str | None = None
    tensor: str | None = None
    base_of: ObjectId | None = None

    def __str__(self) -> str:
        if self.label is None:
            gone = "is condemned, gc deletes it" if self.state == "condemned" else "goes with gc"
            return f"{self.kind} {self.id} {gone}: no name needs it"
        place = self.label + (f":{self.path}" if self.path else "")
        place += f"#{self.tensor}" if self.tensor is not None else ""
        tagged = f" (tags: {', '.join(self.tags)})" if self.tags else ""
        if self.base_of is not None:
            place = f"what chunk {self.base_of} in {place} is based on"
            return f"{self.kind} {self.id} is {place}, {self.state}{tagged}"
        return f"{self.kind} {self.id} is in {place}, {self.state}{tagged}"


def du(parts: Parts, revisions: Sequence[str] = ()) -> list[Usage]:
    """What each of some versions costs, all that a model or tag names when none is asked for.

    Cost: two walks of every version of the store, about 0.5 ms for one of 100 tensors.
    """
    labels = _labels(parts)
    kept = roots(parts).kept
    keepers = _keepers(parts, labels)
    objects = _Objects(parts)
    exclusive, freed = _Holders(), _Holders()
    totals: dict[ObjectId, int] = {}
    for version in {*labels, *keepers}:
        own = objects.of(version, payload=version in kept)
        totals[version] = objects.size(own)
        exclusive.claim(own, version)
        if version in labels:
            freed.claim(own, version)
    for version, keeper in keepers.items():
        freed.claim(objects.of(version, payload=False), keeper)
    alone, freeable = exclusive.sizes(objects), freed.sizes(objects)
    return [
        Usage(
            label=label,
            version=version,
            size_bytes=parts.odb.version(version).size,
            exclusive_bytes=alone[version],
            shared_bytes=totals[version] - alone[version],
            freed_bytes=freeable[version],
        )
        for version, label in (_chosen(parts, revisions) if revisions else labels).items()
    ]


class _Objects:
    """The objects of versions; what most versions share is read once."""

    def __init__(self, parts: Parts) -> None:
        self._odb = parts.odb
        self._tensors: dict[bytes, tuple[ObjectId, list[ObjectId]]] = {}
        self._sizes: dict[ObjectId, int] = {}
        self._bases = Bases(parts.odb)

    def of(self, version: ObjectId, *, payload: bool) -> set[ObjectId]:
        """The objects of a version, its chunks and their bases only with ``payload``."""
        found = {version}
        described = self._odb.version(version)
        found.update(records_of(described))
        self._add_tree(ObjectId(described.tree), found, payload=payload)
        return self._bases.with_bases(found) if payload else found

    def size(self, oids: Iterable[ObjectId]) -> int:
        """What objects take in packs."""
        return sum(map(self._size, oids))

    def _size(self, oid: ObjectId) -> int:
        size = self._sizes.get(oid)
        if size is None:
            location = self._odb.find(oid)
            size = self._sizes[oid] = 0 if location is None else location.entry.stored_size
        return size

    def _add_tree(self, tree: ObjectId, found: set[ObjectId], *, payload: bool) -> None:
        found.add(tree)
        for entry in self._odb.tree(tree).entries:
            oid = ObjectId(entry.id)
            if entry.type == "tree":
                self._add_tree(oid, found, payload=payload)
            elif oid not in found:
                found.add(oid)
                self._add_file(self._odb.file(oid), found, payload=payload)

    def _add_file(self, file: File, found: set[ObjectId], *, payload: bool) -> None:
        if isinstance(file, OpaqueFile):
            found.update(split_ids(file.chunks) if payload else ())
            return
        for _, tensor_id in file.tensors:
            if tensor_id not in self._tensors:
                oid = ObjectId(tensor_id)
                self._tensors[oid] = oid, split_ids(self._odb.tensor(oid).chunks)
            oid, chunks = self._tensors[tensor_id]
            found.add(oid)
            found.update(chunks if payload else ())


class _Holders:
    """Which version holds each object, ``_MANY`` when several do."""

    def __init__(self) -> None:
        self._holders: dict[ObjectId, ObjectId] = {}

    def claim(self, oids: Iterable[ObjectId], version: ObjectId) -> None:
        for oid in oids:
            self._holders[oid] = _join(self._holders.get(oid), version)

    def sizes(self, objects: _Objects) -> Counter[ObjectId]:
        """The stored bytes of the objects that each version holds alone."""
        found: Counter[ObjectId] = Counter()
        for oid, version in self._holders.items():
            found[version] += objects.size([oid])
        return found


def _join(one: ObjectId | None, other: ObjectId) -> ObjectId:
    return other if one in (None, other) else _MANY


def _labels(parts: Parts) -> dict[ObjectId, str]:
    """Every version that a model or a tag names, with one label for each."""
    found = {ObjectId(version): labels[0] for version, labels in labels_by_version(parts).items()}
    for tag, version in tags(parts).items():
        found.setdefault(version, tag)
    return found


def _chosen(parts: Parts, revisions: Sequence[str]) -> dict[ObjectId, str]:
    found = (resolve(parts, text) for text in revisions)
    return {target.version: target.label for target in found}


def _keepers(parts: Parts, named: Iterable[ObjectId]) -> dict[ObjectId, ObjectId]:
    """For each ancestor of a named version, the one descendant that keeps it, or ``_MANY``."""
    named = set(named)
    keepers: dict[ObjectId, ObjectId] = {}
    for version in _children_first(parts, named):
        passed = keepers.get(version)
        if version in named:
            passed = _join(passed, version)
        for parent in parts.odb.version(version).parents:
            oid = ObjectId(parent.id)
            if passed is not None:
                keepers[oid] = _join(keepers.get(oid), passed)
    return keepers


def _children_first(parts: Parts, named: set[ObjectId]) -> list[ObjectId]:
    """The versions and all their ancestors, each after every one of its descendants."""
    waiting_for: dict[ObjectId, int] = dict.fromkeys(named, 0)
    everyone = [*named, *ancestors(parts, named)]
    for version in everyone:
        for parent in _parents(parts, version):
            waiting_for[parent] = waiting_for.get(parent, 0) + 1
    ready = [version for version in everyone if not waiting_for.get(version)]
    for version in ready:
        for parent in _parents(parts, version):
            waiting_for[parent] -= 1
            if not waiting_for[parent]:
                ready.append(parent)
    return ready


def _parents(parts: Parts, version: ObjectId) -> set[ObjectId]:
    return {ObjectId(parent.id) for parent in parts.odb.version(version).parents}


def why(parts: Parts, digits: str) -> list[Reason]:
    """What keeps the object whose hash begins with ``digits``; at least one reason.

    NotFoundError for an object that no pack holds, InvalidInputError for an ambiguous hash.
    """
    oid, kind = _find(parts, digits)
    labels, tagged, names = _labels(parts), _tags_by_version(parts), roots(parts)
    noun, search = kind.name.lower(), _Search(parts.odb, oid, kind)
    lists = {one: f"chunks at '{t.place}'" for t in tiers(parts.refs) for one in t.versions}
    labels |= lists
    described = names.described.union(lists)
    holding = names.kept if kind is Kind.CHUNK else names.kept | described
    reasons = [
        Reason(
            id=oid,
            kind=noun,
            state="kept" if version in names.kept else "described",
            label=labels.get(version, str(version)[:12]),
            version=version,
            tags=tagged.get(version, ()),
            path=path,
            tensor=tensor,
            base_of=base_of,
        )
        for version in sorted(holding, key=lambda version: labels.get(version, "~"))
        for path, tensor, base_of in search.places(version)
    ]
    if oid in names.notes:
        reasons.append(_reason_of_note(parts, oid, names, labels))
    if reasons:
        return reasons
    location = parts.odb.find(oid)
    gone = location is not None and not location.live
    return [Reason(oid, noun, "condemned" if gone else "unreachable")]


def _reason_of_note(
    parts: Parts, oid: ObjectId, names: Roots, labels: Mapping[ObjectId, str]
) -> Reason:
    """A note stays by itself; the version that it is about may be gone."""
    version = ObjectId(parts.odb.note(oid).version)
    state: Literal["kept", "described"] = "kept" if version in names.kept else "described"
    label = labels.get(version, str(version)[:12])
    return Reason(oid, "note", state, label, version)


def _find(parts: Parts, digits: str) -> tuple[ObjectId, Kind]:
    digits = digits.removeprefix("blake3:")
    if not _HEX.fullmatch(digits):
        raise InvalidInputError(
            f"'{digits}' is not a hash", hint=f"give {MIN_PREFIX} to 64 lower-case hex digits"
        )
    found = sorted(set(parts.odb.prefix(digits)))
    if not found:
        raise NotFoundError(f"no object with hash '{digits}'")
    if len({oid for oid, _ in found}) > 1:
        some = ", ".join(str(oid)[:16] for oid, _ in found[:5])
        raise InvalidInputError(
            f"hash '{digits}' is ambiguous: {some}", hint="give more digits", kind="ambiguous"
        )
    return found[0]


def _tags_by_version(parts: Parts) -> dict[ObjectId, tuple[str, ...]]:
    found: dict[ObjectId, tuple[str, ...]] = {}
    for tag, version in tags(parts).items():
        found[version] = (*found.get(version, ()), tag)
    return found


class _Place(NamedTuple):
    """Where in a version an object is; all None for the version itself or its root folder."""

    path: str | None = None
    tensor: str | None = None
    base_of: ObjectId | None = None


class _Search:
    """Looks for one object in versions; a tensor that they share is looked into once."""

    def __init__(self, odb: ObjectDatabase, oid: ObjectId, kind: Kind) -> None:
        self._odb = odb
        self._oid = oid
        self._is_chunk = kind is Kind.CHUNK
        self._bases = Bases(odb)
        self._users: dict[bytes, ObjectId | None] = {}

    def places(self, version: ObjectId) -> Iterator[_Place]:
        """Wherever it is, and where a chunk is that is based on it."""
        described = self._odb.version(version)
        if self._oid in (version, described.tree, *records_of(described)):
            yield _Place()
        else:
            yield from self._below(ObjectId(described.tree), "")

    def _below(self, tree: ObjectId, prefix: str) -> Iterator[_Place]:
        for entry in self._odb.tree(tree).entries:
            path = prefix + entry.name
            if entry.id == self._oid:
                yield _Place(path)
            elif entry.type == "tree":
                yield from self._below(ObjectId(entry.id), path + "/")
            else:
                yield from self._in_file(self._odb.file(entry.id), path)

    def _in_file(self, file: File, path: str) -> Iterator[_Place]:
        if isinstance(file, OpaqueFile):
            user = self._user_among(split_ids(file.chunks)) if self._is_chunk else None
            if user is not None:
                yield self._place(path, None, user)
            return
        for name, tensor_id in file.tensors:
            if tensor_id == self._oid:
                yield _Place(path, name)
                continue
            user = self._user_in(tensor_id)
            if user is not None:
                yield self._place(path, name, user)

    def _place(self, path: str, tensor: str | None, user: ObjectId) -> _Place:
        return _Place(path, tensor, None if user == self._oid else user)

    def _user_in(self, tensor_id: bytes) -> ObjectId | None:
        if not self._is_chunk:
            return None
        if tensor_id not in self._users:
            chunks = split_ids(self._odb.tensor(tensor_id).chunks)
            self._users[tensor_id] = self._user_among(chunks)
        return self._users[tensor_id]

    def _user_among(self, chunks: list[ObjectId]) -> ObjectId | None:
        """The chunk itself if it is one of these, else one of them that is based on it."""
        if self._oid in chunks:
            return self._oid
        return next((chunk for chunk in chunks if self._oid in self._bases.of(chunk)), None)
