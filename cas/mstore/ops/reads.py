"""How often each version was read: what the archive planner weighs versions by.

A count stands in ``cache/reads/<version id>`` as ``<count> <16 hex digits of its BLAKE3>``. Counts
may be deleted at any time, and some get lost when several programs read at once. Reading never
fails because it could not be counted.
"""

from contextlib import suppress

from blake3 import blake3

from mstore.backends.base import Backend
from mstore.errors import MstoreError
from mstore.ids import ObjectId

PREFIX = "cache/reads"
MAX_COUNT = 1_000_000
_DIGITS = 16


def note_read(backend: Backend, version: ObjectId) -> None:
    """Count one read of a whole version, where that can be written."""
    count = min(reads(backend, version) + 1, MAX_COUNT)
    with suppress(MstoreError):
        backend.replace_cache(_key(version), f"{count} {_check(count)}".encode())


def reads(backend: Backend, version: ObjectId) -> int:
    """How often a version was read, as far as that is known."""
    with suppress(MstoreError, ValueError):
        number, _, check = backend.read(_key(version)).decode("ascii").partition(" ")
        if number.isdecimal() and check == _check(int(number)):
            return min(int(number), MAX_COUNT)
    return 0


def _key(version: ObjectId) -> str:
    return f"{PREFIX}/{version}"


def _check(count: int) -> str:
    return blake3(str(count).encode()).hexdigest()[:_DIGITS]
