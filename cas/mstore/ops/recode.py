"""Storing chunks in another form, and letting go of the form that they had.

1. It runs under the lock of gc, so no gc chooses between the two forms meanwhile.
2. The new copies are durable, and were read back and held against their ids, before an old one
   loses its place.
3. A pack with an old copy is written again without it, with whatever else it holds, needed or
   not; then it is condemned. Readers find it until gc deletes it by its own rules.
4. Nothing is condemned unless all that could be read from live packs still can be.

A crash leaves both forms: all of it reads as before, and doing it again ends it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from mstore.codecs import Coded
from mstore.errors import CorruptError, StorageError
from mstore.format.pack import Entry
from mstore.ids import Buffer, ObjectId
from mstore.odb import Location, PackWriter
from mstore.ops.condemn import condemn
from mstore.ops.sending import ahead
from mstore.parts import Parts, Transaction

Progress = Callable[[int, int, int], None]
"""Called with the bytes of chunks done, their bytes in all, and those written so far."""


_GROUP = 64 << 20
"""Bytes of chunks whose forms in steps are laid out together."""


class Step(NamedTuple):
    """A chunk and the form in which it is to be stored; None is raw."""

    id: ObjectId
    raw: Buffer
    coded: Coded | None


class Stepped(NamedTuple):
    """A form whose base is a chunk to be stored with it: ``below`` has that one, its base, ...

    The forms of many chunks are stored step by step: the last bases first, the forms themselves
    behind one another, so that they can be read without what is between them.
    """

    coded: Coded
    below: tuple[Step, ...]


class Change(NamedTuple):
    """A chunk, its bytes when decoded, and what gives its new form from them; None is raw."""

    id: ObjectId
    size: int
    encode: Callable[[Buffer], Coded | Stepped | None]


class Recoded(Struct, frozen=True):
    """What was done; bytes are those of whole packs.

    ``written_bytes`` went to ``packs``; ``condemned_bytes`` come back when gc deletes
    ``condemned``.
    """

    packs: tuple[str, ...]
    written_bytes: int
    condemned: tuple[str, ...]
    condemned_bytes: int


def recode(
    parts: Parts,
    changes: Iterable[Change],
    *,
    superseded: Callable[[Entry], bool] | None = None,
    expected: int = 0,
    progress: Progress | None = None,
) -> Recoded:
    """Store chunks in new forms, one after another, and condemn the packs with the old ones.

    ``changes`` is read under the lock of gc. ``superseded`` says of the entries of all other
    live packs which have to go, if not every copy of what is changed; it is asked when the new
    ones are there. ``expected`` is about how many bytes the new forms take. ConflictError when gc
    or another change of forms runs; StorageError, before anything is written, when the disk has no
    room; CorruptError, with nothing condemned, when an old or a new copy is not what its id names.
    """
    with parts.backend.exclusive("gc"):
        chosen = list(changes)
        ids = {change.id for change in chosen}
        goes = superseded or (lambda entry: entry.id in ids)
        _require_room(parts, goes, expected)
        packs, written = _write(parts, chosen, progress)
        _read_back(parts, packs)
        old = _packs_with(parts, goes, without=packs)
        rest, more = _write_rest(parts, old, goes)
        _require_ends(parts, old)
        sizes = {key: parts.backend.size(key) for key in old}
        condemned = condemn(parts.backend, set(old).difference(rest))
        parts.odb.refresh()
    freed = sum(sizes[key] for key in condemned)
    return Recoded((*packs, *rest), written + more, tuple(condemned), freed)


def _require_room(parts: Parts, goes: Callable[[Entry], bool], expected: int) -> None:
    """StorageError unless the new forms and the rest of the packs of the old ones fit."""
    free = parts.backend.free_bytes()
    if free is None:
        return
    entries = chain.from_iterable(
        parts.odb.entries(key) for key in _packs_with(parts, goes, without=())
    )
    needed = expected + sum(entry.stored_size for entry in entries if not goes(entry))
    if needed > free:
        raise StorageError(
            f"'{parts.backend.location}' has {free} bytes free, the new forms need about {needed}",
            hint="free some space, or name fewer versions; nothing was written",
        )


def _write(parts: Parts, changes: list[Change], progress: Progress | None) -> tuple[list[str], int]:
    """The new copies, durable; the keys of their packs, and by how much the store has grown."""
    if not changes:
        return [], 0
    total, done = sum(change.size for change in changes), 0

    def encode(change: Change) -> list[Step]:
        raw = parts.odb.read(change.id)
        form = change.encode(raw)
        if isinstance(form, Stepped):
            return [Step(change.id, raw, form.coded), *form.below]
        return [Step(change.id, raw, form)]

    with Transaction(parts) as transaction:
        layout = _Layout(transaction.writer)
        for steps in ahead(changes, encode):
            layout.add(steps)
            done += len(steps[0].raw)
            if progress is not None:
                progress(done, total, transaction.writer.stored_bytes)
        layout.write()
        return transaction.writer.publish(), transaction.writer.stored_bytes


class _Layout:
    """Puts forms in steps in an order in which each step of many chunks is in one place."""

    def __init__(self, writer: PackWriter) -> None:
        self._writer = writer
        self._waiting: list[list[Step]] = []
        self._size = 0

    def add(self, steps: list[Step]) -> None:
        """Write the form of a chunk, now or with those of the chunks after it."""
        if len(steps) == 1:
            self._writer.add_again(*steps[0])
            return
        self._waiting.append(steps)
        self._size += len(steps[0].raw)
        if self._size >= _GROUP:
            self.write()

    def write(self) -> None:
        """Write what is waiting: what is below first, as a base has to be there before."""
        for depth in reversed(range(max(map(len, self._waiting), default=0))):
            for steps in self._waiting:
                if depth < len(steps):
                    add = self._writer.add_chunk if depth else self._writer.add_again
                    add(*steps[depth])
        self._waiting, self._size = [], 0


def _read_back(parts: Parts, packs: Collection[str]) -> None:
    """CorruptError unless every entry of these packs decodes to what its id names."""
    for key in packs:
        for _ in ahead(_in_place(parts, key), lambda place: _stored(parts, place)):
            pass


def _in_place(parts: Parts, key: str) -> Iterator[Location]:
    for entry in sorted(parts.odb.entries(key), key=lambda entry: entry.offset):
        yield Location(key, entry, live=True)


def _stored(parts: Parts, place: Location) -> bytes:
    """The stored bytes of this very entry, which decode to what its id names."""
    stored = parts.odb.read_stored(place)
    parts.odb.check_entry(place.pack_key, place.entry, stored)
    return stored


def _packs_with(
    parts: Parts, goes: Callable[[Entry], bool], *, without: Collection[str]
) -> list[str]:
    others = (key for key in parts.odb.packs() if key not in without)
    return [key for key in others if any(map(goes, parts.odb.entries(key)))]


def _write_rest(
    parts: Parts, packs: Iterable[str], goes: Callable[[Entry], bool]
) -> tuple[list[str], int]:
    """What else some packs hold, written again as it is, each entry verified."""
    places = [
        place
        for key in packs
        for place in _in_place(parts, key)
        if not goes(place.entry) and _has_base(parts, place.entry)
    ]
    if not places:
        return [], 0
    with Transaction(parts) as transaction:
        for place, stored in zip(places, ahead(places, lambda p: _stored(parts, p)), strict=True):
            transaction.writer.add_stored(place.entry, stored)
        return transaction.writer.publish(), transaction.writer.stored_bytes


def _has_base(parts: Parts, entry: Entry) -> bool:
    """Whether an entry can be decoded; gc may have taken the base of one that it left over."""
    return parts.odb.has_base(entry)


def _require_ends(parts: Parts, packs: Collection[str]) -> None:
    """CorruptError unless what is live in ``packs`` can be read when they are gone.

    That is, if following the bases of what then is left comes to an end for each of it, here or
    in another place.
    """
    lent = parts.odb.elsewhere.ids()
    needing: dict[ObjectId, list[ObjectId]] = defaultdict(list)
    grounded: set[ObjectId] = set()
    for key in parts.odb.packs():
        for entry in parts.odb.entries(key) if key not in packs else ():
            if entry.base is None or entry.base in lent:
                grounded.add(entry.id)
            else:
                needing[entry.base].append(entry.id)
    waiting = list(grounded)
    while waiting:
        new = set(needing.pop(waiting.pop(), ())) - grounded
        grounded |= new
        waiting += new
    for key in packs:
        for entry in parts.odb.entries(key):
            if entry.id not in grounded and entry.id not in lent and parts.odb.is_live(entry.id):
                raise CorruptError(
                    f"chunk '{entry.id}' would be lost: its new base needs the old form of it",
                    hint="nothing was condemned; report this",
                )
