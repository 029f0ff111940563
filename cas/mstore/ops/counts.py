"""How many parameters a version has: counted in the headers of its files, and remembered.

A file ``cache/parameters`` holds, for each tree, its id and the count (u64, little-endian), and at
its end the plain BLAKE3 of what comes before. It may be deleted at any time. A tree never changes,
so a count never grows old; a file that does not hash to its end is not used.
"""

from collections.abc import Iterable
from contextlib import suppress
from math import prod

from mstore.backends.base import Backend
from mstore.errors import MstoreError
from mstore.format.safetensors import parse_header
from mstore.ids import ID_SIZE, ObjectId, hash_chunk
from mstore.objects import TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.walk import walk_files
from mstore.parts import Parts

KEY = "cache/parameters"
_COUNT = 8
_ROW = ID_SIZE + _COUNT
_WORTHWHILE = 64
"""Trees that have to be counted anew before the file is written."""

Counts = dict[bytes, int]


class ParameterCounts:
    """Counts of trees; ``save`` keeps those that were new."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known = _load(parts.backend)
        self._new = 0

    def of(self, tree: bytes) -> int:
        """The elements of all tensors below a tree; equal tensors count as often as they occur."""
        count = self._known.get(tree)
        if count is None:
            count = self._known[tree] = count_parameters(self._parts, tree)
            self._new += 1
        return count

    def save(self) -> None:
        """Keep what was counted, if that is worth it and something can be written."""
        if self._new < _WORTHWHILE:
            return
        rows = b"".join(tree + n.to_bytes(_COUNT, "little") for tree, n in self._known.items())
        with suppress(MstoreError):
            self._parts.backend.replace_cache(KEY, rows + hash_chunk(rows))
        self._new = 0


def count_parameters(parts: Parts, tree: bytes) -> int:
    """The elements of all tensors below a tree, from the headers of files where they say it."""
    files = (found.file for found in walk_files(parts.odb, tree))
    return sum(
        prod(shape)
        for file in files
        if isinstance(file, TensorFile)
        for shape in _shapes(parts.odb, file)
    )


def _shapes(odb: ObjectDatabase, file: TensorFile) -> Iterable[tuple[int, ...]]:
    if file.format == "safetensors":
        # One object says them all.
        return (span.shape for span in parse_header(file.header, file.size).spans)
    return (odb.tensor(ObjectId(oid)).shape for _, oid in file.tensors)


def _load(backend: Backend) -> Counts:
    try:
        content = backend.read(KEY)
    except MstoreError:
        # Not there or not readable: everything is counted anew.
        return {}
    rows, end = content[:-ID_SIZE], content[-ID_SIZE:]
    if len(rows) % _ROW or hash_chunk(rows) != end:
        return {}
    places = range(0, len(rows), _ROW)
    return {
        rows[at : at + ID_SIZE]: int.from_bytes(rows[at + ID_SIZE : at + _ROW], "little")
        for at in places
    }
