"""In which form objects travel: as they are stored, or decoded and coded anew (SPEC §7.3).

1. An entry with a base is sent as it is only where its base is live at the receiver or was sent
   before. So nothing that is visible lacks its base, and no chain of bases runs in a circle.
2. Where its base stays behind, or its chain would get too long there, it is decoded and coded
   without a base.
3. Whatever its form, an object is decoded and held against its id before it is written.
4. A base that the receiver needs for nothing else travels only where that makes fewer bytes.
"""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Literal, NamedTuple, Protocol, TypeVar

from mstore.codecs import RAW, Coded
from mstore.errors import MstoreError
from mstore.format.pack import Entry
from mstore.ids import Buffer, Kind, ObjectId
from mstore.odb import Location, ObjectDatabase, PackWriter
from mstore.ops.bases import MAX_DEPTH
from mstore.ops.encoding import Encoder, Method
from mstore.ops.shelf import Shelf
from mstore.ops.walk import split_ids

Form = Literal["keep", "raw", "auto"]
"""Chunks as they are stored; raw, so that they can be mapped; coded, but none with a base."""

THREADS = min(4, os.cpu_count() or 1)
_INLINE = 1 << 20
"""Bytes below which starting threads costs more than it gains."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def form_of(entry: Entry, form: Form, *, base_there: bool) -> Form:
    """The form in which one entry travels where ``form`` is asked for: as it is, if it can be.

    ``base_there`` says whether its base, if it has one, is at the receiver or sent before it.
    """
    if entry.kind is not Kind.CHUNK or (form == "raw" and entry.codec == RAW):
        return "keep"
    if form == "keep":
        return "keep" if entry.base is None or base_there else "auto"
    if form == "auto" and entry.base is None and entry.codec != RAW:
        return "keep"
    return form


class ChunkOf(NamedTuple):
    """What a chunk is part of: a tensor, its dtype; ``place`` counts all chunks in their order."""

    tensor: ObjectId
    dtype: str
    place: int


class Recoder:
    """Codes chunks without a base; how is decided once per tensor, on its first chunk.

    ``described`` gives ids of objects in ``odbs``, tensors among them: a chunk alone does not say
    of what numbers it is made. It is asked when the first chunk has to be coded.
    """

    def __init__(
        self, odbs: Sequence[ObjectDatabase], described: Callable[[], Iterable[ObjectId]]
    ) -> None:
        self._odbs = odbs
        self._described = described
        self._lock = Lock()
        self._encoder = Encoder("auto")
        self._chunks: dict[bytes, ChunkOf] | None = None
        self._methods: dict[ObjectId, Method] = {}

    def __call__(self, oid: ObjectId, raw: Buffer) -> Coded | None:
        """The chunk coded; None where that gains nothing. Any thread may call it."""
        found = self.tensor_of(oid)
        tensor, dtype = (oid, None) if found is None else (found.tensor, found.dtype)
        method = self._methods.get(tensor)
        if method is None:
            method = self._methods.setdefault(tensor, self._encoder.plan(dtype, raw))
        return method.encode(raw)

    def tensor_of(self, oid: ObjectId) -> ChunkOf | None:
        """The tensor that a chunk is of; None for a chunk of another file."""
        with self._lock:
            if self._chunks is None:
                self._chunks = self._read_tensors()
        return self._chunks.get(oid)

    def _read_tensors(self) -> dict[bytes, ChunkOf]:
        """Every chunk of the tensors; those come first whose chunks are all described here.

        So a chunk counts as that of a tensor that is needed with its bytes, if there is one.
        """
        described = set(self._described())
        places = [(odb.find(oid), odb) for oid in described for odb in self._odbs]
        tensors = {
            found.entry.id: ((found.pack_key, found.entry.offset), odb.tensor(found.entry.id))
            for found, odb in places
            if found is not None and found.entry.kind is Kind.TENSOR
        }

        def order(oid: ObjectId) -> tuple[bool, tuple[str, int]]:
            place, tensor = tensors[oid]
            return not described.issuperset(split_ids(tensor.chunks)), place

        chunks: dict[bytes, ChunkOf] = {}
        for oid in sorted(tensors, key=order):
            tensor = tensors[oid][1]
            for chunk in split_ids(tensor.chunks):
                chunks.setdefault(chunk, ChunkOf(oid, tensor.dtype, len(chunks)))
        return chunks


class Count(Protocol):
    """Hears of an object that was sent: its bytes before compression, and whether it was new."""

    def __call__(self, size: int, *, new: bool) -> None:
        """Count it."""


class Parcel(NamedTuple):
    """An object on its way, and the form in which it travels."""

    location: Location
    form: Form


class Packed(NamedTuple):
    """An object that was read and verified, as it is to be written."""

    entry: Entry
    raw: Buffer
    coded: Coded | None


class Carrier:
    """Brings objects from a shelf to one store, in one form."""

    def __init__(
        self,
        shelf: Shelf,
        target: ObjectDatabase,
        recoder: Recoder,
        form: Form = "keep",
        *,
        more_bases: bool = True,
    ) -> None:
        """With ``more_bases`` bases that nobody asked for may travel (``worthwhile_bases``)."""
        self._shelf = shelf
        self._target = target
        self._recoder = recoder
        self._form: Form = form
        self._more_bases = more_bases and form == "keep"
        self._planned: set[ObjectId] = set()

    def plan(self, oids: Collection[ObjectId]) -> deque[Location]:
        """What to send so that the receiver has ``oids``; bases come before what needs them."""
        wanted = set(oids)
        if self._more_bases:
            wanted |= self._shelf.worthwhile_bases(wanted, self._target.is_live)
        self._planned |= wanted
        locations = self._shelf.in_order(wanted)
        if self._form != "keep":
            # Coded or not, what is raw now was not in one piece before.
            locations.sort(key=self._place)
        return deque(locations)

    def _place(self, location: Location) -> int:
        found = self._recoder.tensor_of(location.entry.id)
        return -1 if found is None else found.place

    def send(
        self,
        writer: PackWriter,
        waiting: deque[Location],
        add: Count,
        limit: int,
    ) -> None:
        """Write objects until ``limit`` bytes are done or none is waiting.

        CorruptError for one that is damaged.
        """
        total = sum(location.entry.raw_size for location in waiting)
        parcels = self._parcels(waiting, limit)
        for packed in ahead(parcels, self._pack, threaded=total > _INLINE):
            add(packed.entry.raw_size, new=_write(writer, packed))

    def _parcels(self, waiting: deque[Location], limit: int) -> Iterator[Parcel]:
        """Take from ``waiting``, and decide the form of each by what is there or was taken."""
        depths: dict[ObjectId, int] = {}
        taken, owed = 0, None
        while waiting and (taken < limit or owed is not None):
            location = waiting.popleft()
            entry = location.entry
            below = -1 if entry.base is None else self._depth_there(entry.base, depths)
            if below is None and entry.base in self._planned and self._shelf.chain(entry.id):
                # A gc at the receiver took it since it was sent. Both go in one publish now.
                waiting.extendleft((location, self._shelf.location(entry.base)))
                owed = owed or entry.id
                continue
            there = below is not None and below < MAX_DEPTH
            form = form_of(entry, self._form, base_there=there)
            depths[entry.id] = below + 1 if form == "keep" and below is not None else 0
            yield Parcel(location, form)
            taken += entry.raw_size
            owed = None if owed == entry.id else owed

    def _depth_there(self, oid: ObjectId, depths: dict[ObjectId, int]) -> int | None:
        """How long the chain behind an object is at the receiver; None where it is not there."""
        if oid in depths:
            return depths[oid]
        return self._target.depth(oid) if self._target.is_live(oid) else None

    def _pack(self, parcel: Parcel) -> Packed:
        entry = parcel.location.entry
        if parcel.form == "keep":
            try:
                raw, stored = self._shelf.unpack(parcel.location)
            except MstoreError:
                # Another copy of it may be sound; if none is, reading it says what is wrong.
                raw = self._shelf.read(entry.id)
            else:
                coded = Coded(entry.codec, stored, entry.base)
                return Packed(entry, raw, None if entry.codec == RAW else coded)
        else:
            raw = self._shelf.read(entry.id)
        stays_raw = entry.kind is not Kind.CHUNK or "raw" in (parcel.form, self._form)
        return Packed(entry, raw, None if stays_raw else self._recoder(entry.id, raw))


def _write(writer: PackWriter, packed: Packed) -> bool:
    entry = packed.entry
    if entry.kind is Kind.CHUNK:
        return writer.add_chunk(entry.id, packed.raw, packed.coded)
    return writer.add_payload(entry.kind, entry.id, packed.raw)


def ahead(
    items: Iterable[Item], work: Callable[[Item], Result], *, threaded: bool = True
) -> Iterator[Result]:
    """What ``work`` gives for each item, in their order, a few of them done ahead on threads."""
    if not threaded:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="mstore-send") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > THREADS + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
