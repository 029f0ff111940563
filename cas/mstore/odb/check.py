"""Checking a whole pack, so that no changed bit of it goes unnoticed (SPEC §7).

Every byte of a pack is covered by a check: the header is compared, an entry hashes to its id,
padding is zero, and the index section hashes to the pack's name. An entry whose base cannot be
read is held against the check in its row alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mstore.backends.base import Backend
from mstore.errors import CorruptError, MstoreError, StorageError, UnsupportedError
from mstore.format.pack import HEADER_SIZE, Entry, check_header
from mstore.ids import Buffer, ObjectId
from mstore.odb.chains import Chains
from mstore.odb.elsewhere import Nowhere, is_unreachable
from mstore.odb.entries import Bases, damaged, decode_entry, subject
from mstore.odb.footer import Footer, read_footer
from mstore.odb.index import Index


class Problem(NamedTuple):
    """Something wrong with a pack, and the objects that it makes unreadable there.

    ``kind``: "index" (no object of the pack can be found; ``ids`` is empty), "header",
    "padding", "entry" (bytes are not what the id names), "base" (the pack is sound, but what an
    entry of it is a difference from cannot be read), "elsewhere" (it is sound as far as its check
    tells; its base is in another place, which cannot be read now), "unreadable" (the place failed)
    or "unsupported" (written by a newer mstore).
    """

    kind: str
    message: str
    ids: tuple[ObjectId, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether the pack's bytes are wrong, and not only the means to decode them missing."""
        return is_damage(self.kind, self.ids)


def is_damage(kind: str, ids: tuple[ObjectId, ...]) -> bool:
    """``Problem.is_damage`` of a problem of this kind that hurts these objects."""
    return kind not in {"base", "elsewhere"} and not (kind == "unsupported" and ids)


class _BaseError(Exception):
    """A base cannot be read; the cause says why."""


def check_pack(backend: Backend, key: str, bases: Bases | None = None) -> Iterator[Problem]:
    """Every problem of a pack, in the order of its bytes; nothing when it is sound.

    ``bases`` gives the chunks that entries are a difference from; without it they are looked for
    in the packs of ``backend``. NotFoundError when there is no such pack. Reads all of it, an
    entry at a time.
    """
    try:
        footer = read_footer(backend, key)
        entries = sorted(footer.entries(), key=lambda entry: entry.offset)
    except (CorruptError, StorageError, UnsupportedError) as error:
        yield Problem(_kind(error, "index"), str(error))
        return
    yield from _check_header(backend, footer)
    position = HEADER_SIZE
    bases = bases or bases_in(backend)
    for entry in entries:
        yield from _check_entry(backend, key, position, entry, bases)
        position = entry.offset + entry.stored_size


def salvage(backend: Backend, key: str, bases: Bases | None = None) -> list[Entry]:
    """The entries of a damaged pack that are still good, by offset; CorruptError if none can be.

    It takes an index that is whole: an entry whose place is unknown cannot be found again. One
    that cannot be decoded here, for want of its base or its codec, is good when its check fits.
    """
    entries = sorted(read_footer(backend, key).entries(), key=lambda entry: entry.offset)
    bases = bases or bases_in(backend)
    return [entry for entry in entries if _is_good(backend, key, entry, bases)]


def bases_in(backend: Backend) -> Bases:
    """What reads bases from the packs of a place, which are listed when first needed."""
    chains = Chains(backend, Index(backend, cached=False), Nowhere())
    return chains.read_chunk


def _is_good(backend: Backend, key: str, entry: Entry, bases: Bases) -> bool:
    problems = _check_entry(backend, key, entry.offset, entry, bases)
    return not any(problem.is_damage for problem in problems)


def _check_header(backend: Backend, footer: Footer) -> Iterator[Problem]:
    try:
        check_header(backend.read(footer.key, 0, HEADER_SIZE))
    except (CorruptError, StorageError, UnsupportedError) as error:
        yield Problem(_kind(error, "header"), f"pack '{footer.key}': {error}")


def _check_entry(
    backend: Backend, key: str, position: int, entry: Entry, bases: Bases
) -> Iterator[Problem]:
    """What is wrong from the end of the entry before, at ``position``, to the end of this one."""
    gap = entry.offset - position
    try:
        content = memoryview(backend.read(key, position, entry.offset + entry.stored_size))
        if any(content[:gap]):
            message = f"pack '{key}' has padding at {position} that is not zero"
            yield Problem("padding", message)
        decode_entry(key, entry, content[gap:], _reporting(bases))
    except _BaseError as error:
        message = f"{subject(key, entry)} needs a base that cannot be read: {error.__cause__}"
        kind = "elsewhere" if is_unreachable(error.__cause__) else "base"
        yield Problem(kind, message, (entry.id,))
    except (CorruptError, UnsupportedError) as error:
        yield Problem(_kind(error, "entry"), str(error), (entry.id,))
    except StorageError as error:
        message = str(damaged(key, entry, f"cannot be read: {error}"))
        yield Problem("unreadable", message, (entry.id,))


def _reporting(bases: Bases) -> Bases:
    """The same bases, with errors that tell them from errors of the entry at hand."""

    def read(oid: ObjectId) -> Buffer:
        try:
            return bases(oid)
        except MstoreError as error:
            raise _BaseError from error

    return read


def _kind(error: MstoreError, otherwise: str) -> str:
    if isinstance(error, StorageError):
        return "unreadable"
    return "unsupported" if isinstance(error, UnsupportedError) else otherwise
