"""Every version that the names of a store reach, with its parents: the graph of all models.

Cost: the descriptions of the versions, which a model of many versions keeps together
(``mstore.ops.descriptions``).
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

from msgspec import Struct

from mstore.errors import NotFoundError
from mstore.ids import ObjectId
from mstore.objects import Version
from mstore.ops.describe import State, versions_of
from mstore.ops.names import tags
from mstore.parts import Parts
from mstore.refs import HEADS


class Known(Struct, frozen=True):
    """A version, the names it has (``lenet@3``), its tags, and what it says of itself.

    ``state`` is "deleted" for one that no model has any more but that others came from.
    """

    id: ObjectId
    names: tuple[str, ...]
    tags: tuple[str, ...]
    state: State
    version: Version

    @property
    def label(self) -> str:
        """Its first name, else the first digits of its id."""
        return self.names[0] if self.names else str(self.id)[:12]

    @property
    def parents(self) -> Iterator[tuple[ObjectId, str]]:
        """The ids it names as its parents, each with the relation."""
        return ((ObjectId(parent.id), parent.relation) for parent in self.version.parents)


class History:
    """The versions of a store by id, and who came from whom."""

    def __init__(self, known: Mapping[ObjectId, Known]) -> None:
        self.known = known
        self._children: dict[ObjectId, list[tuple[ObjectId, str]]] = {}
        for node in known.values():
            for parent, relation in node.parents:
                self._children.setdefault(parent, []).append((node.id, relation))

    def children(self, oid: ObjectId) -> list[tuple[ObjectId, str]]:
        """The versions that name one as their parent, each with the relation."""
        return self._children.get(oid, [])

    def up(self, starts: Iterable[ObjectId], depth: int | None = None) -> dict[ObjectId, int]:
        """Some versions and their ancestors, each with the fewest steps to it; ``depth`` at most.

        An ancestor whose description is not here is left out.
        """
        return self._reach(starts, depth, up=True)

    def down(self, starts: Iterable[ObjectId], depth: int | None = None) -> dict[ObjectId, int]:
        """Some versions and their descendants, likewise."""
        return self._reach(starts, depth, up=False)

    def _reach(
        self, starts: Iterable[ObjectId], depth: int | None, *, up: bool
    ) -> dict[ObjectId, int]:
        found = dict.fromkeys(starts, 0)
        waiting = list(found)
        for oid in waiting:
            if depth is not None and found[oid] >= depth:
                continue
            following = self.known[oid].parents if up else self.children(oid)
            for other, _ in following:
                if other not in found and other in self.known:
                    found[other] = found[oid] + 1
                    waiting.append(other)
        return found

    def ordered(self, oids: Iterable[ObjectId]) -> list[Known]:
        """Some versions, newest first, and no parent before a child of it."""
        wanted = set(oids)
        before = dict.fromkeys(wanted, 0)
        for oid in wanted:
            for parent in {parent for parent, _ in self.known[oid].parents}:
                if parent in before:
                    before[parent] += 1
        ready: list[tuple[int, ObjectId]] = []
        for oid, count in before.items():
            if not count:
                heappush(ready, self._newest_first(oid))
        found = []
        while ready:
            _, oid = heappop(ready)
            found.append(self.known[oid])
            for parent in {parent for parent, _ in self.known[oid].parents}:
                if parent in before:
                    before[parent] -= 1
                    if not before[parent]:
                        heappush(ready, self._newest_first(parent))
        return found

    def _newest_first(self, oid: ObjectId) -> tuple[int, ObjectId]:
        return -self.known[oid].version.time, oid

    def duplicates(self, oids: Iterable[ObjectId]) -> list[tuple[ObjectId, ...]]:
        """Versions of several models, among these, that have the very same weights."""
        groups: dict[bytes, list[ObjectId]] = {}
        for oid in oids:
            model_hash = self.known[oid].version.model_hash
            if model_hash is not None:
                groups.setdefault(model_hash, []).append(oid)
        found = (tuple(sorted(group, key=self._oldest_first)) for group in groups.values())
        return [group for group in found if len(self._models(group)) > 1]

    def _oldest_first(self, oid: ObjectId) -> tuple[int, ObjectId]:
        return self.known[oid].version.time, oid

    def _models(self, group: Iterable[ObjectId]) -> set[str]:
        names = (name for oid in group for name in self.known[oid].names)
        return {name.rpartition("@")[0] for name in names}


def read_history(parts: Parts) -> History:
    """All versions that models and tags name, and all that these came from, as far as known."""
    labels: dict[ObjectId, list[str]] = {}
    states: dict[ObjectId, State] = {}
    versions: dict[ObjectId, Version] = {}
    for name, table in parts.refs.tables(HEADS).items():
        rows = [row for row in table.rows.values() if row.state != "deleted"]
        found = versions_of(parts, name, rows)
        for row in rows:
            oid = ObjectId(row.version)
            labels.setdefault(oid, []).append(f"{name}@{row.number}")
            versions[oid] = found[row.version]
            # Kept under one name is kept.
            states[oid] = "kept" if states.get(oid) == "kept" else row.state
    tagged: dict[ObjectId, list[str]] = {}
    for tag, version in tags(parts).items():
        tagged.setdefault(ObjectId(version), []).append(tag)
    _add_ancestors(parts, versions, tagged)
    return History(
        {
            oid: Known(
                id=oid,
                names=tuple(labels.get(oid, ())),
                tags=tuple(tagged.get(oid, ())),
                state=states.get(oid, "kept" if oid in tagged else "deleted"),
                version=version,
            )
            for oid, version in versions.items()
        }
    )


def _add_ancestors(
    parts: Parts, versions: dict[ObjectId, Version], tagged: Iterable[ObjectId]
) -> None:
    """Add what tags and parents name beside the versions of the models."""
    named = (ObjectId(parent.id) for version in versions.values() for parent in version.parents)
    waiting = [oid for oid in (*named, *tagged) if oid not in versions]
    for oid in waiting:
        if oid in versions:
            continue
        try:
            versions[oid] = parts.odb.version(oid)
        except NotFoundError:
            # Forgotten by gc, or never here: a child may name it all the same.
            continue
        waiting += [ObjectId(parent.id) for parent in versions[oid].parents]
