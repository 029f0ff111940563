"""From an entry to its base, to the base of that one, and so on (SPEC §7.4).

1. Of all ways to decode a chunk the one over the fewest bases is taken: a copy without a base
   where there is one. A way never meets an id twice, so bases that go in a circle are no way.
2. A copy that proves bad is left out and another way looked for, until none is left.
3. Only the last bytes are hashed. When they are wrong, every base of the way is, to find the
   link that is bad.
4. Beside the target and the stored bytes at hand two chunks are in memory, whatever the depth.
5. A base that is in no pack but in another place (SPEC §7.5) is read there, where no way leads
   through packs alone.
"""

from collections.abc import Callable, Collection, Container
from contextlib import suppress
from threading import local
from typing import NamedTuple, TypeVar

from mstore.backends.base import Backend
from mstore.codecs import RAW
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.format.pack import Entry, row_entry
from mstore.ids import ID_SIZE, Kind
from mstore.objects import CHUNK_SIZE
from mstore.odb.elsewhere import Elsewhere
from mstore.odb.entries import (
    HINT,
    check_stored,
    damaged,
    decode_into,
    require_kind,
    subject,
    verify,
)
from mstore.odb.index import Index
from mstore.odb.segments import Copy

T = TypeVar("T")

MAX_CHAIN = 64
"""Bases that may have to be decoded, one from another, before a chunk is (SPEC §11)."""
MAX_IDS = 4096
"""Ids that are looked at to find a way."""
MAX_BAD = 64
"""Copies that may prove bad before no more are tried."""


_STORED = 2
"""The number of the buffer for stored bytes."""


class Link(NamedTuple):
    """One copy on the way to a chunk's bytes: the key of its pack and its entry there."""

    copy: Copy
    key: str
    entry: Entry


class _BrokenError(Exception):
    """The link ``at`` of a chain is what is wrong."""

    def __init__(self, at: int, error: MstoreError) -> None:
        super().__init__(at)
        self.at = at
        self.error = error


class _Scratch(local):
    """Buffers of each thread, as fresh memory costs more than what is decoded into it.

    Two are for bases, one is for stored bytes.
    """

    def __init__(self) -> None:
        self._buffers = [bytearray(), bytearray(), bytearray()]

    def view(self, number: int, size: int) -> memoryview:
        """The first ``size`` bytes of a buffer."""
        if len(self._buffers[number]) < size:
            self._buffers[number] = bytearray(size)
        return memoryview(self._buffers[number])[:size]


class Chains:
    """Decodes objects over as many bases as it takes. For any number of threads."""

    def __init__(self, backend: Backend, index: Index, elsewhere: Elsewhere) -> None:
        self._backend = backend
        self._index = index
        self._elsewhere = elsewhere
        self._scratch = _Scratch()

    def plan(
        self, oid: bytes, without: Collection[Copy] = (), *, live_only: bool = False
    ) -> list[Copy]:
        """The copies to decode: the object's own, its base's, and so on to one that has none.

        Or to one whose base is elsewhere. NotFoundError when the object or a base of it is
        nowhere; CorruptError when every way is a circle or longer than ``MAX_CHAIN``. Decodes
        nothing.
        """
        copies = self._live_copies if live_only else self._index.copies
        own = copies(oid)
        for copy in own:
            if copy.base is None and copy not in without:
                return [copy]
        if not own:
            raise self.missing(oid)
        return _Search(self._index, copies, oid, without).way(self._elsewhere)

    def lasting(self, oid: bytes) -> list[Copy]:
        """``plan`` over live packs if they do: those in condemned ones are about to go."""
        with suppress(MstoreError):
            return self.plan(oid, live_only=True)
        return self.plan(oid)

    def reach(self, oid: bytes) -> list[Copy]:
        """Every copy of an object, of its bases, and so on, as far as a search would look."""
        found: list[Copy] = []
        waiting, seen = [oid], {oid}
        while waiting and len(seen) <= MAX_IDS:
            for copy in self._index.copies(waiting.pop()):
                found.append(copy)
                if copy.base is not None and copy.base not in seen:
                    seen.add(copy.base)
                    waiting.append(copy.base)
        return found

    def use(self, oid: bytes, action: Callable[[list[Link]], T], *, live_only: bool = False) -> T:
        """What ``action`` gives for the first way on which it does not fail.

        It is given the links, the object's own first. Its error says that the last bytes are
        wrong; ``decode`` says by itself which link is.
        """
        bad: list[Copy] = []
        failure: MstoreError | None = None
        while len(bad) < MAX_BAD:
            try:
                copies = self.plan(oid, bad, live_only=live_only)
            except MstoreError as error:
                raise failure or error from None
            try:
                return self._act(copies, action)
            except _BrokenError as broken:
                bad.append(copies[broken.at])
                failure = more_telling(failure, self._named(copies, broken))
        raise failure or self.missing(oid)

    def read(self, links: list[Link]) -> bytes:
        """The bytes of the first link, verified."""
        _, key, entry = links[0]
        if entry.codec == RAW:
            raw = self._backend.read(key, entry.offset, entry.offset + entry.stored_size)
            check_stored(key, entry, raw)
        else:
            target = bytearray(entry.raw_size)
            self.decode(links, memoryview(target))
            raw = bytes(target)
        verify(key, entry, raw)
        return raw

    def read_chunk(self, oid: bytes) -> bytes:
        """A chunk, verified, from any sound copy; NotFoundError, CorruptError."""

        def read(links: list[Link]) -> bytes:
            require_kind(links[0].entry, Kind.CHUNK)
            return self.read(links)

        return self.use(oid, read)

    def decode(self, links: list[Link], target: memoryview) -> None:
        """Fill ``target`` with the bytes of the first link; what comes out is not verified."""
        base = self._ground(links)
        for at in range(len(links) - 1, 0, -1):
            view = self._scratch.view(at % 2, _base_size(links, at))
            self._decode_link(links, at, view, base)
            base = view
        self._decode_link(links, 0, target, base)

    def missing(self, oid: bytes) -> NotFoundError:
        """The error that an object is nowhere; it says when packs could not be looked into."""
        unreadable = len(self._index.unreadable)
        hint = f"{unreadable} packs cannot be read: {HINT}" if unreadable else None
        return NotFoundError(f"no object '{oid.hex()}' in '{self._backend.location}'", hint=hint)

    def _live_copies(self, oid: bytes) -> list[Copy]:
        return [copy for copy in self._index.copies(oid) if self._index.is_live_pack(copy.pack)]

    def _act(self, copies: list[Copy], action: Callable[[list[Link]], T]) -> T:
        links = [self._link(at, copy) for at, copy in enumerate(copies)]
        try:
            return action(links)
        except InvalidInputError as error:
            raise _BrokenError(0, error) from error
        except MstoreError as error:
            raise _BrokenError(self._bad_link(links), error) from error

    def _link(self, at: int, copy: Copy) -> Link:
        try:
            return Link(copy, self._index.key(copy.pack), row_entry(copy.row, copy.base))
        except MstoreError as error:
            raise _BrokenError(at, error) from error

    def _ground(self, links: list[Link]) -> memoryview | None:
        """What the last link is based on: nothing, or a chunk that is elsewhere."""
        oid = links[-1].entry.base
        if oid is None:
            return None
        try:
            return memoryview(self._elsewhere.read(oid))
        except MstoreError as error:
            raise _BrokenError(len(links) - 1, error) from error

    def _decode_link(
        self, links: list[Link], at: int, target: memoryview, base: memoryview | None
    ) -> None:
        try:
            self._fill(links[at], target, base)
        except MstoreError as error:
            raise _BrokenError(at, error) from error

    def _fill(self, link: Link, target: memoryview, base: memoryview | None) -> None:
        _, key, entry = link
        if entry.codec == RAW:
            self._read_into(key, entry, target)
            return
        size = entry.stored_size
        stored = (
            self._scratch.view(_STORED, size) if size <= CHUNK_SIZE else memoryview(bytearray(size))
        )
        self._read_into(key, entry, stored)
        decode_into(key, entry, stored, target, base)

    def _read_into(self, key: str, entry: Entry, target: memoryview) -> None:
        try:
            self._backend.read_into(key, entry.offset, target)
        except CorruptError as error:
            raise damaged(key, entry, f"is cut short: {error}") from error

    def _bad_link(self, links: list[Link]) -> int:
        """Which link it is, when the last bytes are wrong: the first whose own are, from below."""
        base = self._ground(links)
        for at in range(len(links) - 1, 0, -1):
            view = self._scratch.view(at % 2, _base_size(links, at))
            self._decode_link(links, at, view, base)
            try:
                verify(links[at].key, links[at].entry, view)
            except CorruptError as error:
                raise _BrokenError(at, error) from error
            base = view
        return 0

    def _named(self, copies: list[Copy], broken: _BrokenError) -> MstoreError:
        """The error of a link, naming the object that needs it."""
        if not broken.at:
            return broken.error
        first = copies[0]
        user = subject(self._index.key(first.pack), row_entry(first.row, first.base))
        message = f"{user} needs a base that cannot be used: {broken.error}"
        return type(broken.error)(message, hint=broken.error.hint, kind=broken.error.kind)


class _Search:
    """Looks for the shortest way from an object to a copy without a base, level by level."""

    def __init__(
        self,
        index: Index,
        copies: Callable[[bytes], list[Copy]],
        oid: bytes,
        without: Collection[Copy],
    ) -> None:
        self._index = index
        self._copies = copies
        self._oid = oid
        self._without = without
        self._named_by: dict[bytes, Copy] = {}
        self._lost: list[bytes] = []

    def way(self, elsewhere: Elsewhere) -> list[Copy]:
        """The copies of the way; errors as ``Chains.plan``."""
        level = [self._oid]
        for _ in range(MAX_CHAIN + 1):
            following: list[bytes] = []
            for oid in level:
                ground = self._look_at(oid, following)
                if ground is not None:
                    return self._back_from(ground)
            if not following or len(self._named_by) > MAX_IDS:
                break
            level = following
        lent = elsewhere.ids() if self._lost else ()
        for oid in self._lost:
            if oid in lent and oid in self._named_by:
                return self._back_from(self._named_by[oid])
        raise self._no_way(endless=bool(following))

    def _look_at(self, oid: bytes, following: list[bytes]) -> Copy | None:
        copies = [copy for copy in self._copies(oid) if copy not in self._without]
        for copy in copies:
            if copy.base is None:
                return copy
            if copy.base not in self._named_by and copy.base != self._oid:
                self._named_by[copy.base] = copy
                following.append(copy.base)
        if not copies:
            self._lost.append(oid)
        return None

    def _back_from(self, copy: Copy) -> list[Copy]:
        way = [copy]
        while (oid := way[-1].row[:ID_SIZE]) != self._oid:
            way.append(self._named_by[oid])
        return way[::-1]

    def _no_way(self, *, endless: bool) -> MstoreError:
        lost = next((oid for oid in self._lost[:1] if oid in self._named_by), None)
        if lost is not None:
            user = self._named_by[lost]
            name = f"chunk '{user.row[:ID_SIZE].hex()}' in pack '{self._index.key(user.pack)}'"
            message = f"{name} needs the base '{lost.hex()}', which is missing"
            return NotFoundError(message, hint=HINT, kind="missing")
        reason = f"needs over {MAX_CHAIN} bases" if endless else "has bases that go in a circle"
        return CorruptError(f"chunk '{self._oid.hex()}' {reason}", hint=HINT)


def is_live(index: Index, oid: bytes, also: Container[bytes] = ()) -> bool:
    """Whether live packs hold the object and all that is needed to decode it.

    A base that is in ``also`` counts as live. A copy whose base has gone is none.
    """
    waiting, seen = [oid], {oid}
    while waiting and len(seen) <= MAX_IDS:
        for copy in index.copies(waiting.pop()):
            if not index.is_live_pack(copy.pack):
                continue
            if copy.base is None or copy.base in also:
                return True
            if copy.base not in seen:
                seen.add(copy.base)
                waiting.append(copy.base)
    return False


def _base_size(links: list[Link], at: int) -> int:
    entry = links[at].entry
    if entry.kind is not Kind.CHUNK or entry.raw_size > CHUNK_SIZE:
        reason = f"is the base of '{links[at - 1].entry.id}', as only chunks may be"
        raise _BrokenError(at, damaged(links[at].key, entry, reason))
    return entry.raw_size


def more_telling(first: MstoreError | None, second: MstoreError) -> MstoreError:
    """Which of two errors, the earlier one given first, says more about what is wrong."""
    # Gone only says that a pack was moved meanwhile: damage tells more.
    return second if first is None or isinstance(first, NotFoundError) else first
