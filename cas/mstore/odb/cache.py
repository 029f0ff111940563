"""The merged pack indexes under ``cache/index``: disposable, and never believed when torn.

Nothing here is needed to read a store, so failures to keep the cache are let pass on purpose: a
store on read-only media has no cache and is only slower to open.
"""

from contextlib import suppress
from functools import partial

from mstore.backends.base import Backend, Item
from mstore.errors import CorruptError, NotFoundError, StorageError
from mstore.odb.segments import Segment, open_segment

CACHE_PREFIX = "cache/index"


class SegmentCache:
    """The segments that are kept between one opening of a store and the next."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def load(self) -> list[Segment]:
        """The segments whose heads are sound, the largest first; others are thrown away."""
        found: list[Segment] = []
        for item in self._items():
            try:
                found.append(open_segment(item.size, partial(self._backend.read, item.key)))
            except CorruptError:
                self._remove(item.key)
            except (NotFoundError, StorageError):
                # Another process has merged it meanwhile, or it cannot be read: do without.
                continue
        return self._without_repeats(sorted(found, key=lambda item: -item.row_count))

    def save(self, segment: Segment) -> bool:
        """Keep a segment; False when the place takes no writes, and then nothing is lost."""
        try:
            self._backend.replace_cache(_key(segment), segment.encode())
        except StorageError:
            return False
        return True

    def drop(self, segment: Segment) -> None:
        """Forget a segment that another one covers."""
        self._remove(_key(segment))

    def clear(self) -> None:
        """Forget all of them."""
        for item in self._items():
            self._remove(item.key)

    def _items(self) -> list[Item]:
        try:
            return list(self._backend.list(CACHE_PREFIX))
        except StorageError:
            return []

    def _remove(self, key: str) -> None:
        with suppress(NotFoundError, StorageError):
            self._backend.remove(key)

    def _without_repeats(self, segments: list[Segment]) -> list[Segment]:
        # Left behind when a process was killed between writing a merged segment and removing
        # those it was made of.
        kept: list[Segment] = []
        for segment in segments:
            if kept and all(any(item.has_pack(pack) for item in kept) for pack in segment.packs):
                self.drop(segment)
            else:
                kept.append(segment)
        return kept


class NoCache:
    """Keeps nothing: for those who must see what the packs themselves say."""

    def load(self) -> list[Segment]:
        """Give no segment."""
        return []

    def save(self, segment: Segment) -> bool:
        """Keep nothing."""
        del segment
        return False

    def drop(self, segment: Segment) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


def _key(segment: Segment) -> str:
    return f"{CACHE_PREFIX}/{segment.name}"
