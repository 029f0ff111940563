"""Bundles: packs and names in one file, for where no store can be reached (SPEC §10).

header, manifest, packs, trailer. Zeros fill up to each pack, which starts on a multiple of 4096.
The trailer hashes everything before it, so a bundle is checked whole before any of it is used.
"""

import struct
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from blake3 import blake3

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.slots import MAX_NUMBER, Row, check_ref_name
from mstore.ids import ID_SIZE, Buffer

MAGIC: Final = b"MSTOREBD"
FORMAT_VERSION: Final = 1
CONTEXT: Final = "mstore v1 bundle"
PACK_ALIGNMENT: Final = 4096
MAX_MANIFEST: Final = 64 << 20
MAX_PACK: Final = 1 << 48
TRAILER_SIZE: Final = 32
PACK_NAME_SIZE: Final = 64
STORE_ID_SIZE: Final = 32

_HEADER: Final = struct.Struct("<8sIIQQ")
HEADER_SIZE: Final = _HEADER.size


class Header(NamedTuple):
    """The lengths that a bundle begins with, in bytes; ``file_size`` is the whole file's."""

    manifest_size: int
    file_size: int


class PackSpan(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One pack inside the bundle: its name (64 hex digits) and its length in bytes."""

    name: str
    size: int


class OfferedRef(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A name with the rows that the receiver gets; a row that is kept comes with its bytes."""

    namespace: Literal["heads", "tags", "notes"]
    name: str
    rows: tuple[Row, ...]


class Prerequisite(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A version that the receiver must hold already, and what the sender called it."""

    label: str
    version: bytes


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle brings; ``source`` is the sending store's id, ``time`` UTC microseconds."""

    source: str
    time: int
    refs: tuple[OfferedRef, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    packs: tuple[PackSpan, ...] = ()


def encode_header(header: Header) -> bytes:
    """The first ``HEADER_SIZE`` bytes of a bundle."""
    return _HEADER.pack(MAGIC, FORMAT_VERSION, header.manifest_size, header.file_size, 0)


def check_magic(head: bytes) -> None:
    """CorruptError unless a file begins as a bundle of any version does."""
    if len(head) < HEADER_SIZE:
        raise CorruptError(f"bundle has {len(head)} bytes, fewer than its header's {HEADER_SIZE}")
    if head[: len(MAGIC)] != MAGIC:
        raise CorruptError(f"not a bundle: it begins with {head[: len(MAGIC)]!r}, not {MAGIC!r}")


def stated_size(head: bytes) -> int:
    """How long the file should be, by its header; not believed before the trailer is checked."""
    return int(_HEADER.unpack_from(head)[3])


def decode_header(head: bytes, file_size: int) -> Header:
    """The header of a bundle of ``file_size`` bytes; its lengths are inside the file."""
    check_magic(head)
    _, version, manifest_size, stated, zero = _HEADER.unpack_from(head)
    if version != FORMAT_VERSION:
        raise UnsupportedError(
            f"bundle has format {version}, this mstore reads {FORMAT_VERSION}",
            hint="read it with a newer mstore",
        )
    if zero:
        raise CorruptError(f"bundle header ends in {zero}, not in zero")
    if stated != file_size:
        raise CorruptError(f"bundle has {file_size} bytes, its header says {stated}")
    if manifest_size > min(MAX_MANIFEST, file_size - HEADER_SIZE - TRAILER_SIZE):
        raise CorruptError(f"bundle manifest of {manifest_size} bytes is larger than allowed")
    return Header(manifest_size, file_size)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest; InvalidInputError when it breaks a rule."""
    try:
        _check(manifest)
    except CorruptError as error:
        raise InvalidInputError(str(error)) from error
    content = msgspec.msgpack.encode(manifest)
    if len(content) > MAX_MANIFEST:
        raise InvalidInputError(f"bundle manifest of {len(content)} bytes is larger than allowed")
    return content


def decode_manifest(content: Buffer) -> Manifest:
    """The manifest whose canonical bytes are ``content``."""
    if len(content) > MAX_MANIFEST:
        raise CorruptError(f"bundle manifest of {len(content)} bytes is larger than allowed")
    try:
        manifest = msgspec.msgpack.decode(content, type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = f"bundle manifest cannot be read: {error}"
        if str(error).startswith(("Object contains unknown field", "Invalid enum value")):
            raise UnsupportedError(message, hint="use a newer mstore") from error
        raise CorruptError(message) from error
    if msgspec.msgpack.encode(manifest) != content:
        raise CorruptError("bundle manifest is not in canonical form")
    _check(manifest)
    return manifest


def pack_offsets(manifest_size: int, packs: Sequence[PackSpan]) -> tuple[list[int], int]:
    """Where each pack starts, and where the trailer does."""
    offsets, end = [], HEADER_SIZE + manifest_size
    for pack in packs:
        start = -(-end // PACK_ALIGNMENT) * PACK_ALIGNMENT
        offsets.append(start)
        end = start + pack.size
    return offsets, end


def check_layout(header: Header, manifest: Manifest) -> list[int]:
    """Where each pack starts; CorruptError unless packs and trailer fill the file exactly."""
    offsets, end = pack_offsets(header.manifest_size, manifest.packs)
    if end + TRAILER_SIZE != header.file_size:
        raise CorruptError(
            f"bundle has {header.file_size} bytes, its manifest says {end + TRAILER_SIZE}"
        )
    return offsets


def hasher() -> blake3:
    """What the bytes before the trailer are fed to; its digest is the trailer."""
    return blake3(derive_key_context=CONTEXT)


def _check(manifest: Manifest) -> None:
    if len(manifest.source) != STORE_ID_SIZE or not _is_hex(manifest.source):
        raise CorruptError(f"bundle comes from '{manifest.source}', not a store id")
    if not 0 <= manifest.time < 1 << 63:
        raise CorruptError(f"bundle was made at {manifest.time}, not a time since 1970")
    names = [(ref.namespace, ref.name) for ref in manifest.refs]
    if names != sorted(set(names)):
        raise CorruptError("names of the bundle are not sorted, or one stands twice")
    for ref in manifest.refs:
        _check_ref(ref)
    for prerequisite in manifest.prerequisites:
        _check_id(prerequisite.version, prerequisite.label)
    if len({pack.name for pack in manifest.packs}) != len(manifest.packs):
        raise CorruptError("a pack stands twice in the bundle")
    for pack in manifest.packs:
        _check_pack(pack)


def _check_ref(ref: OfferedRef) -> None:
    try:
        check_ref_name(ref.name)
    except InvalidInputError as error:
        raise CorruptError(f"name in the bundle: {error}") from error
    numbers = [row.number for row in ref.rows]
    in_range = not numbers or 1 <= numbers[0] <= numbers[-1] <= MAX_NUMBER
    if numbers != sorted(set(numbers)) or not in_range:
        raise CorruptError(f"rows of '{ref.name}' in the bundle are not in ascending order")
    if ref.namespace == "tags" and (len(ref.rows) != 1 or ref.rows[0].state == "deleted"):
        raise CorruptError(
            f"tag '{ref.name}' in the bundle names {len(ref.rows)} versions, not one"
        )
    for row in ref.rows:
        _check_id(row.version, ref.name)


def _check_id(oid: bytes, label: str) -> None:
    if len(oid) != ID_SIZE:
        raise CorruptError(f"version id of '{label}' has {len(oid)} bytes, not {ID_SIZE}")


def _check_pack(pack: PackSpan) -> None:
    if len(pack.name) != PACK_NAME_SIZE or not _is_hex(pack.name):
        raise CorruptError(f"'{pack.name}' is not the name of a pack")
    if not 0 < pack.size <= MAX_PACK:
        raise CorruptError(f"pack '{pack.name}' in the bundle has {pack.size} bytes")


def _is_hex(text: str) -> bool:
    return not text.strip("0123456789abcdef")
