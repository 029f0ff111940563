"""One entry's stored bytes back to the object's, believed only when they hash to its id."""

from collections.abc import Callable
from typing import NamedTuple

from mstore.codecs import RAW, ZSTD, Codec, codec
from mstore.errors import CorruptError, UnsupportedError
from mstore.format.pack import Entry, stored_check
from mstore.ids import Buffer, Kind, ObjectId, hash_object

HINT = "run 'mstore fsck --full'"

_OF_OBJECTS = (RAW, ZSTD)

Bases = Callable[[ObjectId], Buffer]
"""Gives the verified bytes of a chunk that others are stored as a difference from."""


class Location(NamedTuple):
    """Where an object lies; ``live`` is false when its pack is condemned."""

    pack_key: str
    entry: Entry
    live: bool


def decode_entry(pack_key: str, entry: Entry, stored: Buffer, bases: Bases | None = None) -> Buffer:
    """The object's bytes, verified; CorruptError when they are not what the id names.

    ``bases`` is asked for the base of an entry that has one, and its errors are let through.
    """
    check_stored(pack_key, entry, stored)
    raw = stored
    if entry.codec != RAW:
        base = bases(entry.base) if bases is not None and entry.base is not None else None
        raw = bytearray(entry.raw_size)
        _decode(pack_key, entry, stored, memoryview(raw), base)
    verify(pack_key, entry, raw)
    return raw


def decode_into(
    pack_key: str, entry: Entry, stored: Buffer, target: memoryview, base: Buffer | None = None
) -> None:
    """Fill ``target``, ``entry.raw_size`` bytes, with the object's; the id is not held against it.

    CorruptError for a wrong check and for what the codec refuses; UnsupportedError for a codec
    that this build lacks.
    """
    check_stored(pack_key, entry, stored)
    if entry.codec == RAW:
        target[:] = stored
    else:
        _decode(pack_key, entry, stored, target, base)


def _decode(
    pack_key: str, entry: Entry, stored: Buffer, target: memoryview, base: Buffer | None
) -> None:
    method = _codec(pack_key, entry)
    if entry.base is not None and base is None:
        raise damaged(pack_key, entry, f"cannot be decoded without its base '{entry.base}'")
    try:
        method.decode_into(stored, target, base)
    except CorruptError as error:
        raise damaged(pack_key, entry, f"cannot be decoded: {error}") from error


def check_stored(pack_key: str, entry: Entry, stored: Buffer) -> None:
    """CorruptError unless the stored bytes are as many as the row says and fit its check.

    An entry that is stored raw has no check but its id.
    """
    if len(stored) != entry.stored_size:
        raise damaged(pack_key, entry, f"is cut short: {len(stored)} of {entry.stored_size} bytes")
    if entry.kind is not Kind.CHUNK and entry.base is not None:
        raise damaged(pack_key, entry, f"names the base '{entry.base}', as only chunks may")
    if entry.kind is not Kind.CHUNK and entry.codec not in _OF_OBJECTS:
        raise damaged(pack_key, entry, f"has codec {entry.codec}, as only chunks may")
    if entry.codec != RAW and stored_check(stored) != entry.check:
        raise damaged(pack_key, entry, "does not match its check")


def verify(pack_key: str, entry: Entry, raw: Buffer) -> None:
    """CorruptError unless ``raw`` hashes to the entry's id."""
    found = hash_object(entry.kind, raw)
    if found != entry.id:
        raise damaged(pack_key, entry, f"has bytes with the id '{found}'")


def require_kind(entry: Entry, kind: Kind) -> None:
    """CorruptError unless an entry is of the kind that is needed."""
    if entry.kind is not kind:
        message = f"'{entry.id}' is a {entry.kind.name.lower()}, not a {kind.name.lower()}"
        raise CorruptError(message, hint=HINT)


def damaged(pack_key: str, entry: Entry, reason: str) -> CorruptError:
    """The error that names an entry by kind, id and pack."""
    return CorruptError(f"{subject(pack_key, entry)} {reason}", hint=HINT)


def subject(pack_key: str, entry: Entry) -> str:
    """An entry by kind, id and pack, for messages."""
    return f"{entry.kind.name.lower()} '{entry.id}' in pack '{pack_key}'"


def _codec(pack_key: str, entry: Entry) -> Codec:
    try:
        method = codec(entry.codec)
    except UnsupportedError as error:
        message = f"{subject(pack_key, entry)} cannot be decoded: {error}"
        raise UnsupportedError(message, hint=error.hint) from error
    if entry.base is not None and not method.TAKES_BASE:
        raise damaged(pack_key, entry, f"names a base, and codec {entry.codec} takes none")
    if entry.base is None and method.TAKES_BASE:
        raise damaged(pack_key, entry, f"names no base, and codec {entry.codec} needs one")
    return method
