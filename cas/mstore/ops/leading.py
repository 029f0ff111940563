"""The leading bits of floats, of which the rest is not read (SPEC §8.7).

1. Every byte that is used was held against the check of its entry, or against an id. What comes
   out is not held against the chunk's id, for that is of all bits.
2. What comes out depends on the exact numbers and on how many bits are asked for, not on how
   they are stored: a chunk that is not stored in planes is read whole, verified, and trimmed.
3. Low chunks that are not needed are not looked for: they may be elsewhere, or gone.
4. Integers are given exactly: half an index or half a counter is of no use to anybody.

Loads NumPy: it is imported when somebody asks for bits.
"""

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import NamedTuple

from mstore.codecs import PLANES, intervals, planes
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.ids import Buffer, ObjectId
from mstore.objects import Tensor
from mstore.odb import MAX_CHAIN, Location, ObjectDatabase
from mstore.ops.encoding import FLOATS
from mstore.ops.memory import Arena
from mstore.ops.payload import (
    THREADS,
    Placed,
    each_batch,
    place,
    read_all,
    tensor_pieces,
)

MAX_BITS = 64
READERS = 2 * THREADS
"""Threads that read: while one waits for the disk another decodes."""
_BYTE = 8


class Wanted(NamedTuple):
    """A chunk, the memory for its numbers, and how many ``bits`` are wanted of each of them.

    ``width`` is the bytes of a number; 0 bits stand for all of them.
    """

    id: ObjectId
    size: int
    view: memoryview
    dtype: str
    width: int
    bits: int


def check_bits(bits: int) -> int:
    """``bits``; InvalidInputError unless numbers can have so many."""
    if not 1 <= bits <= MAX_BITS:
        hint = f"ask for 1 to {MAX_BITS}"
        raise InvalidInputError(f"there are no {bits} leading bits", hint=hint)
    return bits


class LeadingReader:
    """Reads ``bits`` leading bits and adds up what it took. Any number of threads may use one."""

    def __init__(self, odb: ObjectDatabase, bits: int) -> None:
        """InvalidInputError for a number of bits that no number has."""
        self._odb = odb
        self._lock = Lock()
        self.bits = check_bits(bits)
        self.bytes_read = 0
        """Bytes of packs that were read for numbers."""

    def wanted(self, dtype: str, placed: Iterable[Placed]) -> list[Wanted]:
        """What to read of chunks of a tensor of this dtype."""
        width = FLOATS.get(dtype, 0)
        bits = self.bits if self.bits < _BYTE * width else 0
        return [Wanted(*chunk, dtype, width, bits) for chunk in placed]

    def middle(self, tensors: Sequence[Tensor]) -> list[memoryview]:
        """The bytes of tensors whose numbers are about the middle of where they may lie.

        Several threads read. NotFoundError for what is needed and missing, CorruptError for what
        is damaged.
        """
        contents, wanted = self._place(tensors)
        each_batch(wanted, self.read_middle, threads=READERS)
        return contents

    def bounds(self, tensor: Tensor) -> tuple[memoryview, memoryview]:
        """The bytes of the least and of the greatest numbers; errors as ``middle``."""
        (content,), wanted = self._place([tensor])
        each_batch(wanted, self.read, threads=READERS)
        if not wanted or not wanted[0].bits:
            return content, memoryview(bytearray(content))
        _, _, _, dtype, width, bits = wanted[0]
        return intervals.bounds(content, width, bits, dtype)

    def read(self, wanted: Iterable[Wanted]) -> None:
        """Fill views with leading bits and zeros below; errors as ``middle``."""
        for chunk in wanted:
            read = self._read(chunk)
            with self._lock:
                self.bytes_read += read

    def read_middle(self, wanted: Iterable[Wanted]) -> None:
        """Fill views with numbers about the middle of where they may lie; errors as ``middle``."""
        for chunk in wanted:
            self.read([chunk])
            if chunk.bits:
                intervals.to_middle(chunk.view, chunk.width, chunk.bits, chunk.dtype)

    def to_middle(self, dtype: str, content: memoryview) -> None:
        """Make of exact numbers what would be given of them."""
        width = FLOATS.get(dtype, 0)
        if self.bits < _BYTE * width:
            intervals.trim(content, width, self.bits)
            intervals.to_middle(content, width, self.bits, dtype)

    def stored_size(self, tensors: Iterable[Tensor]) -> int:
        """Bytes of packs that reading these tensors whole would take; what is missing aside."""
        chunks = {piece.id for tensor in tensors for piece in tensor_pieces(tensor)}
        sizes: dict[ObjectId, int] = {}
        for oid in chunks:
            for entry in (location.entry for location in steps_of(self._odb, oid)):
                sizes[entry.id] = entry.stored_size
        return sum(sizes.values())

    def _place(self, tensors: Sequence[Tensor]) -> tuple[list[memoryview], list[Wanted]]:
        contents: list[memoryview] = []
        wanted: list[Wanted] = []
        sizes = [tensor_size(tensor.dtype, tensor.shape) for tensor in tensors]
        arena = Arena(sum(sizes))
        for tensor, size in zip(tensors, sizes, strict=True):
            content = arena.take(size)
            contents.append(content)
            wanted += self.wanted(tensor.dtype, place(tensor_pieces(tensor), content))
        return contents, wanted

    def _read(self, chunk: Wanted) -> int:
        if chunk.bits and not chunk.size % chunk.width:
            try:
                read = self._read_planes(chunk)
            except CorruptError:
                # Another copy of it may be sound; if none is, reading it whole says what is wrong.
                read = None
            if read is not None:
                return read
        read_all(self._odb, [Placed(chunk.id, chunk.size, chunk.view)])
        if chunk.bits:
            intervals.trim(chunk.view, chunk.width, chunk.bits)
        return sum(location.entry.stored_size for location in self._odb.chain(chunk.id))

    def _read_planes(self, chunk: Wanted) -> int | None:
        """The bytes read; None when the chunk is not stored as the planes of such numbers."""
        place, stored = self._stored(chunk.id)
        if place.entry.raw_size != chunk.size or not stored or planes.is_cut(stored):
            return None
        width, known, found = planes.leading_of(stored, chunk.size)
        if width != chunk.width:
            return None
        count, low_bits = chunk.size // width, _BYTE * width - known
        low, read = self._low(place, planes.low_size(count, low_bits, chunk.bits - known))
        found += planes.planes_of(low, count, low_bits)
        below = _BYTE * width - chunk.bits
        found = [plane for plane in found if plane.left + plane.bits > below]
        planes.merge(found, chunk.view, width)
        if found[-1].left < below:
            intervals.trim(chunk.view, width, chunk.bits)
        return len(stored) + read

    def _low(self, place: Location, size: int) -> tuple[Buffer, int]:
        """At least ``size`` first bytes of the low chunk of an entry, and what was read."""
        found, read = bytearray(), 0
        while len(found) < size and place.entry.base is not None:
            oid = place.entry.base
            if self._odb.is_lent(oid):
                found += self._odb.read_base(oid)
                return found, read + len(found)
            place, stored = self._stored(oid)
            if place.entry.codec == PLANES and planes.is_cut(stored):
                found += planes.first_of(stored, place.entry.raw_size).data
                read += len(stored)
                continue
            found += self._odb.read(oid)
            return found, read + sum(link.entry.stored_size for link in self._odb.chain(oid))
        return found, read

    def _stored(self, oid: ObjectId) -> tuple[Location, bytes]:
        """Where a chunk is, and its stored bytes where it is in planes, held against the check."""
        failure: MstoreError | None = None
        for _ in range(2):
            place = stepped_copy(self._odb, oid)
            if place.entry.codec != PLANES:
                return place, b""
            try:
                return place, self._odb.read_stored(place)
            except NotFoundError as error:
                # Condemned since it was looked up.
                failure = error
                self._odb.refresh()
        raise failure or missing(oid)


def stepped_copy(odb: ObjectDatabase, oid: ObjectId) -> Location:
    """Where the copy of a chunk is that is stored in planes, if there is one; else any other.

    NotFoundError when it is nowhere.
    """
    places = odb.copies(oid)
    if not places:
        raise missing(oid)
    return next((place for place in places if place.entry.codec == PLANES), places[0])


def steps_of(odb: ObjectDatabase, oid: ObjectId) -> list[Location]:
    """Where a chunk is and all that is below it: the steps in planes, then what the last needs.

    It ends where something is missing; NotFoundError when that is the chunk itself.
    """
    found = [stepped_copy(odb, oid)]
    while found[-1].entry.base is not None and len(found) <= MAX_CHAIN:
        try:
            found.append(stepped_copy(odb, found[-1].entry.base))
        except NotFoundError:
            break
    return found


def missing(oid: ObjectId) -> NotFoundError:
    """The error for a chunk that is needed and nowhere."""
    message = f"chunk '{oid}' is missing"
    return NotFoundError(message, hint="see what is hurt: mstore fsck", kind="missing")
