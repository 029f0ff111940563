"""Which copy of every object stays when there are several (SPEC §4.6).

1. The home of an object is one of its copies. A copy is eligible when it has no base or its base
   has a home already, so following the bases of homes always comes to an end.
2. Of the eligible copies the one in the first pack is home; packs are given in order. Bases are
   given homes first, so that only a circle makes a copy wait for what is behind it. A copy over
   more than ``DEPTH`` bases is home only when there is no other.
3. A copy in a condemned pack is home only when live packs alone do not do.
4. A copy whose base is in another place (SPEC §7.5) is home only when live packs have none that
   needs nothing from there; then that base needs no home.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mstore.errors import CorruptError, MstoreError
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.odb import MAX_CHAIN, ObjectDatabase

DEPTH = 8
"""Bases over which a chunk is read as quickly as may be expected: what writers keep to."""


class Home(NamedTuple):
    """The pack that an object stays in, its base there, and how many bases are below it.

    ``is_lent`` says that the base is in another place: then it needs no home.
    """

    pack: str
    base: ObjectId | None
    depth: int
    is_lent: bool = False


class _Copy(NamedTuple):
    pack: str
    base: ObjectId | None


class Homes:
    """The homes of the objects that are needed, and of all that they may need as bases."""

    def __init__(self, odb: ObjectDatabase, named: Iterable[ObjectId]) -> None:
        """Of nothing yet; ``named`` are the objects that names need."""
        self._odb = odb
        self.needed: set[ObjectId] = set(named)
        """What names need, and once ``settle`` was called what that needs as bases."""
        self.lent: set[ObjectId] = set()
        """The bases that what is needed has in other places."""
        self._elsewhere: AbstractSet[bytes] = odb.elsewhere.ids()
        self._reaching: AbstractSet[bytes] = frozenset()
        self._homes: dict[ObjectId, Home] = {}
        self._copies: dict[ObjectId, list[_Copy]] = {}

    def settle(self, live: Iterable[str], condemned: Iterable[str] = ()) -> None:
        """Choose homes among packs in their order; live packs come before condemned ones.

        NotFoundError or CorruptError when an object that is needed has no copy that can be
        decoded as far as indexes tell. Packs whose index cannot be read are passed over.
        """
        packs, held = list(live), list(condemned)
        for chosen in (packs, packs + held) if held else (packs,):
            self._reaching = frozenset()
            self._take_in(chosen)
            if self._elsewhere:
                self._reaching = self._elsewhere
                self._take_in(chosen)
        self._copies.clear()
        self._add_bases()

    def __getitem__(self, oid: ObjectId) -> Home:
        return self._homes[oid]

    def is_home(self, oid: ObjectId, pack: str) -> bool:
        """Whether an object is needed and the copy in a pack is the one that stays."""
        return oid in self.needed and self._homes[oid].pack == pack

    def need(self, oids: Iterable[ObjectId]) -> bool:
        """Let more objects be needed, with their bases, as far as they have homes.

        Whether any was not needed before.
        """
        before = len(self.needed)
        self.needed.update(oid for oid in oids if oid in self._homes)
        self._add_bases()
        return len(self.needed) > before

    def _take_in(self, packs: list[str]) -> None:
        """Give homes to what has none yet, among the copies in these packs."""
        self._copies.clear()
        wanted = self.needed.union(*(self._bases(key) for key in packs))
        for key in packs:
            for entry in self._entries(key):
                if entry.id in wanted:
                    copies = self._copies.setdefault(entry.id, [])
                    # Nothing behind a copy without a base is ever asked for.
                    if not copies or copies[-1].base is not None:
                        copies.append(_Copy(key, entry.base))
        seen: set[ObjectId] = set()
        for oid in self._copies:
            self._choose(oid, seen)
        self._choose_rest()

    def _choose(self, oid: ObjectId, seen: set[ObjectId]) -> None:
        """Find a home for an object, for the bases of its copies first; each is tried once."""
        if oid in seen:
            return
        seen.add(oid)
        open_ids = [(oid, 0)]
        while open_ids:
            one, at = open_ids.pop()
            for place in range(at, len(self._copies[one])):
                copy = self._copies[one][place]
                if self._settle_in(one, copy, DEPTH):
                    break
                base = copy.base
                if base not in self._homes and base not in seen and base in self._copies:
                    seen.add(base)
                    open_ids += [(one, place), (base, 0)]
                    break

    def _choose_rest(self) -> None:
        """Find homes for what a circle or its depth has left over, as long as that gets on."""
        rest = [oid for oid in self._copies if oid not in self._homes]
        before = -1
        while len(rest) != before:
            before = len(rest)
            rest = [oid for oid in rest if not self._has_settled(oid)]

    def _has_settled(self, oid: ObjectId) -> bool:
        return any(self._settle_in(oid, copy, MAX_CHAIN) for copy in self._copies[oid])

    def _settle_in(self, oid: ObjectId, copy: _Copy, limit: int) -> bool:
        """Whether an object has a home: a copy becomes it if its base has one, not too deep."""
        if oid in self._homes:
            return True
        below = None if copy.base is None else self._homes.get(copy.base)
        if below is None:
            is_lent = copy.base in self._reaching
            if copy.base is not None and not is_lent:
                return False
            self._homes[oid] = Home(copy.pack, copy.base, int(is_lent), is_lent)
        elif below.depth >= limit:
            return False
        else:
            self._homes[oid] = Home(copy.pack, copy.base, below.depth + 1)
        return True

    def _add_bases(self) -> None:
        waiting = list(self.needed)
        while waiting:
            oid = waiting.pop()
            if oid not in self._homes:
                self._settle_unlisted(oid)
            base = self._homes[oid].base
            if base is not None and self._homes[oid].is_lent:
                self.lent.add(base)
            elif base is not None and base not in self.needed:
                self.needed.add(base)
                waiting.append(base)

    def _settle_unlisted(self, oid: ObjectId) -> None:
        """A home in a pack whose whole index cannot be read, but this row of it can; or an error.

        Such a pack stays as it is.
        """
        for location in reversed(self._odb.chain(oid)):
            entry = location.entry
            self._copies[entry.id] = [_Copy(location.pack_key, entry.base)]
            self._has_settled(entry.id)
        self._copies.clear()
        if oid not in self._homes:
            raise CorruptError(f"chunk '{oid}' needs over {MAX_CHAIN} bases that stay")

    def _bases(self, key: str) -> Iterator[ObjectId]:
        return (entry.base for entry in self._entries(key) if entry.base is not None)

    def _entries(self, key: str) -> list[Entry]:
        try:
            return self._odb.entries(key)
        except MstoreError:
            return []
