"""The merged pack indexes under ``cache/index``: disposable, and never believed when torn.

Nothing here is needed to read a store, so failures to keep the cache are let pass on purpose: a
store on read-only media has no cache and is only slower to open.
"""

from contextlib import suppress

from mstore.backends.base import Backend
from mstore.errors import CorruptError, NotFoundError, StorageError
from mstore.odb.segments import Segment, decode_segment

CACHE_PREFIX = "cache/index"
_NAME_DIGITS = 32


class SegmentCache:
    """The segments that are kept between one opening of a store and the next."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def load(self) -> list[Segment]:
        """The sound segments, the one of the most packs first; others are thrown away."""
        found: list[Segment] = []
        for key in self._keys():
            try:
                found.append(decode_segment(self._backend.read(key)))
            except CorruptError:
                self._remove(key)
            except (NotFoundError, StorageError):
                # Another process has merged it meanwhile, or it cannot be read: do without.
                continue
        return self._without_repeats(sorted(found, key=lambda item: -len(item.packs)))

    def save(self, segment: Segment) -> bool:
        """Keep a segment; False when the place takes no writes, and then nothing is lost."""
        content = segment.encode()
        try:
            self._backend.replace_cache(_key(content), content)
        except StorageError:
            return False
        return True

    def drop(self, segment: Segment) -> None:
        """Forget a segment that another one covers."""
        self._remove(_key(segment.encode()))

    def clear(self) -> None:
        """Forget all of them."""
        for key in self._keys():
            self._remove(key)

    def _keys(self) -> list[str]:
        try:
            return [item.key for item in self._backend.list(CACHE_PREFIX)]
        except StorageError:
            return []

    def _remove(self, key: str) -> None:
        with suppress(NotFoundError, StorageError):
            self._backend.remove(key)

    def _without_repeats(self, segments: list[Segment]) -> list[Segment]:
        # Left behind when a process was killed between writing a merged segment and removing
        # those it was made of.
        kept: list[Segment] = []
        covered: set[str] = set()
        for segment in segments:
            if covered.issuperset(segment.packs):
                self.drop(segment)
            else:
                kept.append(segment)
                covered.update(segment.packs)
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


def _key(content: bytes) -> str:
    return f"{CACHE_PREFIX}/{content[-_NAME_DIGITS // 2 :].hex()}"
