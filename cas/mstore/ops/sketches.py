"""Finding the tensor of the store that a new one is most like, without reading any of them.

A sketch is the leading 16 bits of 256 elements of a tensor's first chunk, at places that depend on
the size of the tensor alone: two tensors of one dtype and shape are alike when their sketches are.

Sketches are kept under ``cache/sketches``, which may be deleted at any time and is never believed:
whoever asks tries for himself whether a tensor found here is like his. Where it is missing, or
after tensors came without a sketch, as in a pull, the newest version of each model is gone through
once, at most ``MAX_READ`` tensors at a time; what is older is only found while the cache has it.

A segment is laid out as ``magic | version count u64 | version ids | rows | BLAKE3 of what
precedes``, a row as ``8 bytes of a hash of dtype and shape | tensor id | 256 x u16``, all integers
little-endian. The versions are those all of whose tensors have been sketched.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from mstore.backends.base import Backend
from mstore.errors import MstoreError
from mstore.format.dtypes import tensor_size
from mstore.format.layout import Span
from mstore.ids import ID_SIZE, Buffer, ObjectId
from mstore.objects import TensorFile
from mstore.ops.encoding import width_of
from mstore.ops.walk import walk_files
from mstore.parts import Parts
from mstore.refs import HEADS

if TYPE_CHECKING:
    from mstore.numerics.likeness import Candidates

PREFIX = "cache/sketches"
ELEMENTS = 256
MIN_SKETCHED = 4 << 10
"""Bytes of the smallest tensor for which a sketch is kept."""
MAX_READ = 128
"""Tensors of which one put reads the first chunk because the cache does not know them."""
MAX_SKETCHES = 32 << 10
"""Sketches that are kept, 18 MB; the oldest go first."""
MAX_SEGMENTS = 8
NEAREST = 3
ALIKE = 0.75
"""In how many fewer bits than two elements of one tensor those of two tensors must differ."""

_MAGIC = b"MSTORESK"
_HEAD = len(_MAGIC) + 8
_CHECK = 32
_KEY_SIZE = 8
_VALUES_SIZE = 2 * ELEMENTS
_ROW_SIZE = _KEY_SIZE + ID_SIZE + _VALUES_SIZE


def sketch(dtype: str, first_chunk: Buffer) -> bytes:
    """The sketch of a tensor with this first chunk, of one element or more."""
    width = width_of(dtype)
    view = memoryview(first_chunk)
    if width == 1:
        return b"".join(view[at : at + 1].tobytes() + b"\0" for at in _places(len(view)))
    ends = [at * width + width for at in _places(len(view) // width)]
    return b"".join(view[end - 2 : end] for end in ends)


@lru_cache(maxsize=256)
def _places(count: int) -> list[int]:
    digits = blake3(b"mstore sketch %d" % count).digest(length=4 * ELEMENTS)
    words = (digits[at : at + 4] for at in range(0, len(digits), 4))
    return sorted(int.from_bytes(word, "little") * count >> 32 for word in words)


class Segment(NamedTuple):
    """Some sketches, and the versions that they cover."""

    versions: frozenset[bytes]
    rows: bytes

    def encode(self) -> bytes:
        """The segment as bytes."""
        head = _MAGIC + len(self.versions).to_bytes(8, "little")
        content = b"".join((head, *sorted(self.versions), self.rows))
        return content + blake3(content).digest()


def decode_segment(content: bytes) -> Segment | None:
    """Read a segment back; None when it is torn, changed or of another format."""
    count = int.from_bytes(content[len(_MAGIC) : _HEAD], "little")
    start, end = _HEAD + count * ID_SIZE, len(content) - _CHECK
    if content[: len(_MAGIC)] != _MAGIC or start > end or (end - start) % _ROW_SIZE:
        return None
    if blake3(memoryview(content)[:end]).digest() != content[end:]:
        return None
    versions = (content[at : at + ID_SIZE] for at in range(_HEAD, start, ID_SIZE))
    return Segment(frozenset(versions), content[start:end])


def kept_sketches(backend: Backend) -> dict[bytes, bytes]:
    """The sketches that are kept, by tensor id. They may be those of other tensors: a cache."""
    rows = _merge([segment for _, segment in _Cache(backend).load()])
    starts = range(0, len(rows), _ROW_SIZE)
    return {bytes(_tensor_of(rows[at : at + _ROW_SIZE])): _values(rows, at) for at in starts}


UNSEEN = Segment(frozenset(), b"")
"""Kept beside the others, it says that there may be tensors without a sketch."""


def note_unseen(backend: Backend) -> None:
    """Let the next search look for tensors that came into the store without a sketch."""
    with suppress(MstoreError):
        _Cache(backend).note(unseen=True)


class SketchIndex:
    """The sketches of one store, read when first asked; what was added lasts once saved.

    Any number of threads may ask and add.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = Lock()
        self._rows: dict[bytes, list[bytes]] | None = None
        self._candidates: dict[bytes, Candidates] = {}
        self._added: dict[bytes, bytes] = {}
        self._covered: set[bytes] = set()
        self._left: int | None = None

    def add(self, span: Span, tensor_id: bytes, values: bytes) -> None:
        """Keep the sketch of a tensor."""
        self._added[bytes(tensor_id)] = _row(span, tensor_id, values)

    def nearest(self, span: Span, values: bytes) -> list[ObjectId]:
        """The few tensors of the same dtype and shape that are alike, the nearest first.

        Cost: about 0.15 µs for each tensor of that dtype and shape.
        """
        candidates = self._candidates_for(_key(span))
        if candidates is None:
            return []
        mine = int.from_bytes(values, "little")
        rotated = int.from_bytes(values[2:] + values[:2], "little")
        alike = candidates.alike(values, ALIKE * (mine ^ rotated).bit_count())
        is_live = self._parts.odb.is_live
        return [ObjectId(oid) for oid in islice(filter(is_live, alike), NEAREST)]

    def _candidates_for(self, key: bytes) -> "Candidates | None":
        with self._lock:
            if self._rows is None:
                self._rows = _by_key(self._load())
            rows = self._rows.pop(key, None)
            if rows is not None:
                from mstore.numerics.likeness import Candidates  # noqa: PLC0415 - loads NumPy

                ids = [row[_KEY_SIZE : _KEY_SIZE + ID_SIZE] for row in rows]
                self._candidates[key] = Candidates(ids, [_values(row, 0) for row in rows])
            return self._candidates.get(key)

    def save(self, version: ObjectId) -> None:
        """Keep what was added, which covers ``version``; does without where it cannot be kept."""
        if not self._added and not self._covered:
            return
        self._covered.add(bytes(version))
        cache = _Cache(self._parts.backend)
        segment = Segment(frozenset(self._covered), b"".join(self._added.values()))
        with suppress(MstoreError):
            cache.save(segment)
            if self._left is not None:
                cache.note(unseen=self._left < 0)

    def _load(self) -> bytes:
        """The rows of all that is kept, and of what had to be sketched now."""
        segments = [segment for _, segment in _Cache(self._parts.backend).load()]
        rows = _merge(segments)
        if segments and UNSEEN not in segments:
            return rows
        known = set[bytes]().union(*(segment.versions for segment in segments))
        ids = {rows[at : at + ID_SIZE] for at in range(_KEY_SIZE, len(rows), _ROW_SIZE)}
        return rows + b"".join(self._sketch_missing(known, ids))

    def _sketch_missing(self, known: set[bytes], ids: set[bytes]) -> Iterator[bytes]:
        self._left = MAX_READ
        for version in self._newest():
            if version in known:
                continue
            missing = [pair for pair in self._tensors(version) if pair[1] not in ids]
            for span, tensor_id in missing[: self._left]:
                with suppress(MstoreError):
                    first = ObjectId(self._parts.odb.tensor(ObjectId(tensor_id)).chunks[:ID_SIZE])
                    values = sketch(span.dtype, self._parts.odb.read(first))
                    self.add(span, tensor_id, values)
                    ids.add(tensor_id)
                    yield _row(span, tensor_id, values)
            self._left -= len(missing)
            if self._left < 0:
                return
            self._covered.add(version)

    def _newest(self) -> Iterator[bytes]:
        with suppress(MstoreError):
            for table in self._parts.refs.tables(HEADS).values():
                if table.head is not None and table.head.state == "kept":
                    yield table.head.version

    def _tensors(self, version: bytes) -> Iterator[tuple[Span, bytes]]:
        odb = self._parts.odb
        with suppress(MstoreError):
            for found in walk_files(odb, odb.version(ObjectId(version)).tree):
                if isinstance(found.file, TensorFile):
                    for name, oid in found.file.tensors:
                        tensor = odb.tensor(ObjectId(oid))
                        size = tensor_size(tensor.dtype, tensor.shape)
                        if size >= MIN_SKETCHED:
                            yield Span(name, tensor.dtype, tensor.shape, 0, size), oid


class _Cache:
    """The segments of a store, oldest first."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def load(self) -> list[tuple[str, Segment]]:
        """The segments with their keys; broken ones are thrown away, and UNSEEN given for them."""
        found = []
        for key in self._keys():
            with suppress(MstoreError):
                segment = decode_segment(self._backend.read(key))
                if segment is None:
                    self._backend.remove(key)
                found.append((key, UNSEEN if segment is None else segment))
        return found

    def note(self, *, unseen: bool) -> None:
        """Say whether there may be tensors without a sketch."""
        key, keys = _cache_key(UNSEEN.encode()), self._keys()
        if unseen and keys:
            # Where nothing is kept, all is looked for anyway.
            self._write(UNSEEN)
        elif key in keys and not unseen:
            self._backend.remove(key)

    def save(self, segment: Segment) -> None:
        """Keep a segment; merge all of them when there are many."""
        keys = self._keys()
        if len(keys) < MAX_SEGMENTS:
            self._write(segment)
            return
        found = [(key, kept) for key, kept in self.load() if kept != UNSEEN]
        segments = [*(segment for _, segment in found), segment]
        rows = _merge(segments)[-MAX_SKETCHES * _ROW_SIZE :]
        versions = frozenset[bytes]().union(*(segment.versions for segment in segments))
        merged = self._write(Segment(versions, rows))
        for key, _ in found:
            if key != merged:
                self._backend.remove(key)

    def _write(self, segment: Segment) -> str:
        content = segment.encode()
        key = _cache_key(content)
        self._backend.replace_cache(key, content)
        return key

    def _keys(self) -> list[str]:
        with suppress(MstoreError):
            items = sorted(self._backend.list(PREFIX), key=lambda item: item.modified)
            return [item.key for item in items]
        return []


def _merge(segments: list[Segment]) -> bytes:
    """The rows of some segments, each tensor once."""
    rows: dict[bytes, bytes] = {}
    for segment in segments:
        for at in range(0, len(segment.rows), _ROW_SIZE):
            row = segment.rows[at : at + _ROW_SIZE]
            rows[row[_KEY_SIZE : _KEY_SIZE + ID_SIZE]] = row
    return b"".join(rows.values())


def _key(span: Span) -> bytes:
    return blake3(repr((span.dtype, tuple(span.shape))).encode()).digest(length=_KEY_SIZE)


def _row(span: Span, tensor_id: bytes, values: bytes) -> bytes:
    return b"".join((_key(span), tensor_id, values))


def _by_key(rows: bytes) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for at in range(0, len(rows), _ROW_SIZE):
        row = rows[at : at + _ROW_SIZE]
        found.setdefault(row[:_KEY_SIZE], []).append(row)
    return found


def _tensor_of(row: bytes) -> ObjectId:
    return ObjectId(row[_KEY_SIZE : _KEY_SIZE + ID_SIZE])


def _values(rows: bytes, at: int) -> bytes:
    return rows[at + _KEY_SIZE + ID_SIZE : at + _ROW_SIZE]


def _cache_key(content: bytes) -> str:
    return f"{PREFIX}/{content[-_CHECK:].hex()}"
