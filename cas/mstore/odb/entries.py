"""One entry's stored bytes back to the object's, believed only when they hash to its id."""

from typing import NamedTuple

from mstore.codecs import RAW, codec
from mstore.errors import CorruptError
from mstore.format.pack import Entry, stored_check
from mstore.ids import Buffer, hash_object

HINT = "run 'mstore fsck --full'"


class Location(NamedTuple):
    """Where an object lies; ``live`` is false when its pack is condemned."""

    pack_key: str
    entry: Entry
    live: bool


def decode_entry(pack_key: str, entry: Entry, stored: Buffer) -> Buffer:
    """The object's bytes, verified; CorruptError when they are not what the id names."""
    raw = decode_unverified(pack_key, entry, stored)
    verify(pack_key, entry, raw)
    return raw


def decode_unverified(pack_key: str, entry: Entry, stored: Buffer) -> Buffer:
    """The object's bytes, ``entry.raw_size`` of them; only the check of coded bytes is held."""
    if len(stored) != entry.stored_size:
        raise damaged(pack_key, entry, f"is cut short: {len(stored)} of {entry.stored_size} bytes")
    decode = codec(entry.codec).decode
    if entry.base is not None:
        raise damaged(pack_key, entry, f"names a base, and codec {entry.codec} takes none")
    if entry.codec != RAW and stored_check(stored) != entry.check:
        raise damaged(pack_key, entry, "does not match its check")
    try:
        return decode(stored, entry.raw_size)
    except CorruptError as error:
        raise damaged(pack_key, entry, f"cannot be decoded: {error}") from error


def verify(pack_key: str, entry: Entry, raw: Buffer) -> None:
    """CorruptError unless ``raw`` hashes to the entry's id."""
    found = hash_object(entry.kind, raw)
    if found != entry.id:
        raise damaged(pack_key, entry, f"has bytes with the id '{found}'")


def damaged(pack_key: str, entry: Entry, reason: str) -> CorruptError:
    """The error that names an entry by kind, id and pack."""
    subject = f"{entry.kind.name.lower()} '{entry.id}' in pack '{pack_key}'"
    return CorruptError(f"{subject} {reason}", hint=HINT)
