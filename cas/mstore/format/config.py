"""The file ``config`` of a store: its format and its identity (SPEC §4.2)."""

import re
from typing import Final

import msgspec
from blake3 import blake3

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.ids import Buffer

FORMAT: Final = 1
"""The format this build reads and writes."""
MAX_CONFIG: Final = 64 << 10
"""Bytes of the file."""
CONFIG_CONTEXT: Final = "mstore v1 config"
CHECK_DIGITS: Final = 32
"""Hex digits of ``check``: BLAKE3 in key-derivation mode of the same line without ``check``."""
_STORE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a store says of itself: ``id`` is 32 hex digits, ``created`` UTC microseconds.

    ``origin`` is where it was cloned or stripped from: a place, and the id of the store there.
    """

    id: str
    created: int
    origin: tuple[str, str] | None = None


class _Stored(Config, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    format: int = 0
    check: str = ""


class _Format(msgspec.Struct, frozen=True):
    format: int


_decode_format = msgspec.json.Decoder(_Format).decode
_decode_config = msgspec.json.Decoder(_Stored).decode


def encode_config(config: Config) -> bytes:
    """The bytes of the file: one line of JSON. InvalidInputError for a malformed id or time."""
    fault = _fault(config)
    if fault:
        message = f"store config: {fault}"
        raise InvalidInputError(message)
    stored = _Stored(format=FORMAT, id=config.id, created=config.created, origin=config.origin)
    digest = blake3(_line(stored), derive_key_context=CONFIG_CONTEXT).hexdigest()
    return _line(msgspec.structs.replace(stored, check=digest[:CHECK_DIGITS]))


def decode_config(content: Buffer) -> Config:
    """What a store says of itself; UnsupportedError when its format is newer than ``FORMAT``."""
    if len(content) > MAX_CONFIG:
        message = f"store config: {len(content)} bytes, at most {MAX_CONFIG} are allowed"
        raise CorruptError(message)
    try:
        version = _decode_format(content).format
        if version > FORMAT:
            message = f"store config: format {version} is newer than {FORMAT}"
            raise UnsupportedError(message, hint="use a newer mstore")
        stored = _decode_config(content)
    except msgspec.ValidationError as error:
        message = f"store config: {error}"
        if str(error).startswith("Object contains unknown field"):
            raise UnsupportedError(message, hint="use a newer mstore") from None
        raise CorruptError(message) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        message = f"store config: {error}"
        raise CorruptError(message) from None
    config = Config(id=stored.id, created=stored.created, origin=stored.origin)
    fault = f"format {version} is unknown" if version != FORMAT else _fault(config)
    if not fault and encode_config(config) != content:
        fault = "not in canonical form, or its check does not fit"
    if fault:
        message = f"store config: {fault}"
        raise CorruptError(message)
    return config


def _line(stored: _Stored) -> bytes:
    return msgspec.json.encode(stored, order="sorted") + b"\n"


def _fault(config: Config) -> str | None:
    if not _STORE_ID.fullmatch(config.id):
        return f"id {config.id[:80]!r} is not 32 lower-case hex digits"
    if not 0 <= config.created < 1 << 63:
        return f"created is {config.created}"
    if config.origin and not _STORE_ID.fullmatch(config.origin[1]):
        return f"origin: id {config.origin[1][:80]!r} is not 32 lower-case hex digits"
    return None
