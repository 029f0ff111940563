"""What a database asks of chunks that are in another place (SPEC §7.5)."""

from collections.abc import Set as AbstractSet
from typing import Protocol

from mstore.errors import NotFoundError
from mstore.ids import Buffer, ObjectId

UNREACHABLE = "unreachable"
"""The ``kind`` of the error that a place with chunks of the store cannot be read."""


class Elsewhere(Protocol):
    """Chunks that a store has let go of, because another place has them."""

    def ids(self) -> AbstractSet[bytes]:
        """Every such chunk, by what the names say now."""

    def read(self, oid: bytes) -> Buffer:
        """One of them, verified.

        NotFoundError, of the kind ``UNREACHABLE`` where that is so; CorruptError.
        """

    def look_for(self, oid: bytes) -> None:
        """See that a place has one of them, by its index; errors as ``read``."""


class Nowhere:
    """A store all of whose chunks are its own."""

    def ids(self) -> AbstractSet[bytes]:
        """None."""
        return frozenset()

    def read(self, oid: bytes) -> Buffer:
        """NotFoundError."""
        raise nowhere(oid)

    def look_for(self, oid: bytes) -> None:
        """NotFoundError."""
        raise nowhere(oid)


def nowhere(oid: bytes) -> NotFoundError:
    """The error that no other place is known that has a chunk."""
    return NotFoundError(f"chunk '{ObjectId(oid)}' is in no other place")


def is_unreachable(error: BaseException | None) -> bool:
    """Whether an error says no more than that another place cannot be read."""
    return isinstance(error, NotFoundError) and error.kind == UNREACHABLE
