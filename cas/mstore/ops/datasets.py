"""Data sets by what is in them: the hash that ``put`` would give to their files.

A data set is hashed once: ``cache/datasets/<place>`` keeps its id beside what tells that none of
its files changed (path, size, times, inode of each). Such an entry may be deleted at any time, has
a check of its own, and counts for exactly these files only.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from mstore.backends.base import Backend
from mstore.errors import InvalidInputError, MstoreError, NotFoundError
from mstore.ids import ID_SIZE, ObjectId
from mstore.ops.ids_only import hash_source
from mstore.ops.intake import Progress
from mstore.ops.sources import SourceTree, scan_paths
from mstore.parts import Parts

PREFIX = "cache/datasets"
SETTLED_SECONDS = 2.0
"""Files younger than this may change once more without a change of their times."""

PathLike = str | os.PathLike[str]
Given = Sequence[str] | Mapping[str, PathLike | None]
"""Names of data sets, with the paths of those that are at hand."""


class DataSets(NamedTuple):
    """The names of data sets, the ids of those that are at hand, and what was noticed."""

    names: tuple[str, ...] = ()
    ids: Mapping[str, ObjectId] = {}
    remarks: tuple[str, ...] = ()


class _Entry(NamedTuple):
    state: bytes
    id: ObjectId
    name: str


def hash_datasets(parts: Parts, given: Given, progress: Progress | None = None) -> DataSets:
    """The names and the ids of data sets; a name without a path has no id.

    Files that are the same as when they were last hashed are not read. Of data that was hashed
    under another name before, a remark says so. NotFoundError for a path where nothing stands.
    """
    if not isinstance(given, Mapping):
        return DataSets(tuple(given))
    ids: dict[str, ObjectId] = {}
    remarks: list[str] = []
    for name, path in given.items():
        if path is None:
            continue
        ids[name] = _hash(parts.backend, Path(path), name, progress)
        same = next(_other_names(parts.backend, ids[name], name), None)
        if same is not None:
            remarks.append(f"data set '{name}' is the same data as '{same}'")
    return DataSets(tuple(given), ids, tuple(remarks))


def split_dataset(text: str) -> tuple[str, Path | None]:
    """The name and the path of ``NAME``, ``NAME=PATH`` or ``PATH``, as the command line has them.

    A word that is no path is a name; one with a slash that is no path is a mistake.
    """
    name, equals, place = text.partition("=")
    if not text or (equals and not (name and place)):
        raise InvalidInputError(f"data set '{text}' is not of the form NAME or NAME=PATH")
    path = Path(place if equals else text).expanduser()
    if path.exists():
        return (name if equals else text.rstrip("/") or text), path
    if "/" in str(path):
        raise NotFoundError(
            f"data set '{name}': no file or folder '{path}'", hint="look at the path"
        )
    return text, None


def _hash(backend: Backend, path: Path, name: str, progress: Progress | None) -> ObjectId:
    source = scan_paths([path], follow=True)
    state, newest = _state(source)
    key = f"{PREFIX}/{blake3(os.fsencode(path.resolve())).hexdigest(length=16)}"
    kept = _load(backend, key)
    is_known = kept is not None and kept.state == state
    oid = kept.id if kept is not None and is_known else hash_source(source, progress).id
    if kept != (state, oid, name) and newest + SETTLED_SECONDS < time.time():
        with suppress(MstoreError):
            backend.replace_cache(key, _encode(_Entry(state, oid, name)))
    return oid


def _state(source: SourceTree) -> tuple[bytes, float]:
    """What tells whether any file changed, and when the newest did."""
    hasher = blake3()
    newest = 0.0
    for folder in source.folders:
        hasher.update(repr(folder).encode("utf-8", "replace"))
    for file in source.files:
        assert isinstance(file.origin, str)
        found = Path(file.origin).stat()
        times = (found.st_mtime_ns, found.st_ctime_ns)
        facts = (file.parts, file.executable, found.st_size, *times, found.st_ino, found.st_dev)
        hasher.update(repr(facts).encode("utf-8", "replace"))
        newest = max(newest, found.st_mtime, found.st_ctime)
    return hasher.digest(), newest


def _encode(entry: _Entry) -> bytes:
    content = entry.state + entry.id + entry.name.encode("utf-8", "replace")
    return blake3(content).digest() + content


def _load(backend: Backend, key: str) -> _Entry | None:
    with suppress(MstoreError, UnicodeDecodeError):
        content = backend.read(key)
        check, rest = content[:ID_SIZE], content[ID_SIZE:]
        if len(rest) >= 2 * ID_SIZE and blake3(rest).digest() == check:
            state, oid = rest[:ID_SIZE], ObjectId(rest[ID_SIZE : 2 * ID_SIZE])
            return _Entry(state, oid, rest[2 * ID_SIZE :].decode())
    return None


def _other_names(backend: Backend, oid: ObjectId, name: str) -> Iterator[str]:
    """Other names under which the same data was hashed before."""
    with suppress(MstoreError):
        for item in backend.list(PREFIX):
            entry = _load(backend, item.key)
            if entry is not None and entry.id == oid and entry.name != name:
                yield entry.name
