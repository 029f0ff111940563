"""Ref slots: the write-once files that names are made of (SPEC §9).

A ref is a folder of slots numbered by generation. Each slot lists the rows that it changes and
the hash of the slot before it; a full slot lists all rows. The table of a ref is the fold of its
slots, the newest row of each number winning.
"""

import re
from typing import Final, Literal

import msgspec
from blake3 import blake3

from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.names import fold_name, is_reserved
from mstore.ids import ID_SIZE, Buffer

MAGIC: Final = b"MSTORESL"
SLOT_CONTEXT: Final = "mstore v1 slot"
MAX_SLOT: Final = 16 << 20
"""Bytes of one slot: a full one has about 50 per version of its model."""
FULL_AFTER: Final = 16
"""How many slots, plus one for every ``FULL_ROWS`` rows, a writer lets pass between full ones."""
FULL_ROWS: Final = 16
TRANSACTION_SIZE: Final = 16
NAMESPACES: Final = ("heads", "tags", "notes", "remotes")
MAX_REF_NAME: Final = 200
MAX_NUMBER: Final = 1 << 32
"""Largest number of a version of one model."""
MAX_GENERATION: Final = (1 << 63) - 1

State = Literal["kept", "stripped", "deleted"]

_KEY_PARTS: Final = 4
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_HASH_LIKE = re.compile(r"[0-9A-Fa-f]{8,}", re.ASCII)
_GENERATION = re.compile(r"[0-9a-f]{16}", re.ASCII)
_encode = msgspec.msgpack.Encoder(order="sorted").encode


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Version ``number`` of a ref. A stripped one is described in full, its payload is gone.

    A deleted one keeps nothing alive; its number is never given again.
    """

    number: int
    version: bytes
    state: State


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One change of a ref: who made it, when (UTC microseconds), why, and the rows it sets.

    ``previous`` is the ``slot_hash`` of the generation before, empty in generation 1.
    ``transaction`` is 16 random bytes: two writers never make the same slot. ``full`` says that
    ``rows`` is the whole table. ``place`` is where another store is. ``ref`` is "NAMESPACE/NAME"
    of the ref that the slot was made for: a slot found under another is damage.
    """

    generation: int
    previous: bytes
    time: int
    transaction: bytes
    author: str
    reason: str
    ref: str
    rows: tuple[Row, ...]
    full: bool = False
    place: str = ""


_decode = msgspec.msgpack.Decoder(Slot).decode


def encode_slot(slot: Slot) -> bytes:
    """The bytes of the slot's file; InvalidInputError when it breaks a rule of SPEC §9."""
    try:
        body = MAGIC + _encode(slot)
        content = body + _digest(body)
        decode_slot(content, slot.generation)
    except (TypeError, ValueError, OverflowError, MstoreError) as error:
        message = f"cannot write a slot of generation {slot.generation}: {error}"
        raise InvalidInputError(message) from error
    return content


def decode_slot(content: Buffer, generation: int, ref: str = "") -> Slot:
    """The slot in a file's bytes; CorruptError when damaged or not of this generation.

    With ``ref`` ("heads/lenet"), also when it was made for another ref. A slot with a field this
    build does not know is an UnsupportedError.
    """
    where = f"slot {generation}"
    body = _verified_body(content, where)
    try:
        slot = _decode(body)
    except msgspec.ValidationError as error:
        message = f"{where}: {error}"
        if str(error).startswith(("Object contains unknown field", "Invalid enum value")):
            raise UnsupportedError(message, hint="use a newer mstore") from None
        raise CorruptError(message) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None
    fault = _fault(slot, generation, ref)
    if not fault and _encode(slot) != body:
        fault = "not in canonical form"
    if fault:
        message = f"{where}: {fault}"
        raise CorruptError(message)
    return slot


def slot_hash(content: Buffer) -> bytes:
    """The 32 bytes by which the next slot names this one: the last of its file."""
    return bytes(content[-ID_SIZE:])


def check_ref_name(name: str) -> None:
    """InvalidInputError unless ``name`` may name a model or a tag (SPEC §9.1)."""
    fault = "is too long" if len(name) > MAX_REF_NAME else None
    for component in name.split("/"):
        fault = fault or _component_fault(component)
    if fault:
        message = f"name '{name[:MAX_REF_NAME]}' {fault}"
        raise InvalidInputError(message, hint="use letters, digits, '.', '_', '-' and '/'")


def fold_ref_name(name: str) -> str:
    """What two names of one namespace must not share: they differ in more than case."""
    return fold_name(name)


def quote_name(name: str) -> str:
    """The folder that a ref's slots stand in: its name with "/" as "%2F"."""
    check_ref_name(name)
    return name.replace("/", "%2F")


def unquote_name(folder: str) -> str:
    """The ref whose slots stand in ``folder``; CorruptError when no ref is written so."""
    name = folder.replace("%2F", "/")
    try:
        check_ref_name(name)
    except InvalidInputError as error:
        message = f"folder '{folder[:MAX_REF_NAME]}' is not a ref: {error}"
        raise CorruptError(message) from None
    if name.count("/") != folder.count("%2F"):
        message = f"folder '{folder[:MAX_REF_NAME]}' is not a ref: it contains a '/'"
        raise CorruptError(message)
    return name


def slot_key(namespace: str, name: str, generation: int) -> str:
    """The key of a slot in a backend: "refs/heads/lenet/0000000000000001"."""
    if namespace not in NAMESPACES or not 0 < generation <= MAX_GENERATION:
        message = f"no slot {generation} in namespace '{namespace}'"
        raise InvalidInputError(message)
    return f"refs/{namespace}/{quote_name(name)}/{generation:016x}"


def parse_slot_key(key: str) -> tuple[str, str, int]:
    """The namespace, name and generation of a slot's key; CorruptError when it is not one."""
    parts = key.split("/")
    if len(parts) != _KEY_PARTS or parts[0] != "refs" or parts[1] not in NAMESPACES:
        message = f"'{key[:MAX_REF_NAME]}' is not the key of a slot"
        raise CorruptError(message)
    return parts[1], unquote_name(parts[2]), parse_generation(parts[3])


def parse_generation(text: str) -> int:
    """The generation that is a slot's file name; CorruptError for any other name."""
    generation = int(text, 16) if _GENERATION.fullmatch(text) else 0
    if not 0 < generation <= MAX_GENERATION:
        message = f"'{text[:MAX_REF_NAME]}' is not a generation"
        raise CorruptError(message)
    return generation


def _digest(body: Buffer) -> bytes:
    return blake3(body, derive_key_context=SLOT_CONTEXT).digest()


def _verified_body(content: Buffer, where: str) -> bytes:
    """The msgpack between magic and hash, once both are right."""
    if len(content) > MAX_SLOT:
        message = f"{where}: {len(content)} bytes, at most {MAX_SLOT} are allowed"
        raise CorruptError(message)
    if len(content) < len(MAGIC) + ID_SIZE or content[: len(MAGIC)] != MAGIC:
        message = f"{where}: not a slot"
        raise CorruptError(message)
    if _digest(content[:-ID_SIZE]) != content[-ID_SIZE:]:
        message = f"{where}: the hash at its end does not fit its content"
        raise CorruptError(message)
    return bytes(content[len(MAGIC) : -ID_SIZE])


def _fault(slot: Slot, generation: int, ref: str) -> str | None:
    if slot.generation != generation or not 0 < generation <= MAX_GENERATION:
        return f"says that it is generation {slot.generation}"
    if not _is_ref(slot.ref) or ref not in ("", slot.ref):
        return f"was made for '{slot.ref[:MAX_REF_NAME]}', not for '{ref}'"
    if len(slot.previous) != (0 if generation == 1 else ID_SIZE):
        return f"previous has {len(slot.previous)} bytes"
    if len(slot.transaction) != TRANSACTION_SIZE:
        return f"transaction has {len(slot.transaction)} bytes, not {TRANSACTION_SIZE}"
    if not 0 <= slot.time <= MAX_GENERATION:
        return f"time is {slot.time}"
    return _rows_fault(slot.rows)


def _is_ref(ref: str) -> bool:
    namespace, _, name = ref.partition("/")
    try:
        check_ref_name(name)
    except InvalidInputError:
        return False
    return namespace in NAMESPACES


def _rows_fault(rows: tuple[Row, ...]) -> str | None:
    previous = 0
    for row in rows:
        if not previous < row.number <= MAX_NUMBER:
            return f"row {row.number} is out of order or range"
        if len(row.version) != ID_SIZE:
            return f"row {row.number}: an id of {len(row.version)} bytes, not {ID_SIZE}"
        previous = row.number
    return None


def _component_fault(component: str) -> str | None:
    if not _COMPONENT.fullmatch(component):
        return "has a part that is empty or not made of letters, digits, '.', '_' and '-'"
    if ".." in component or component.endswith((".", ".lock")):
        return "has a part with '..', or one that ends with '.' or '.lock'"
    if _HASH_LIKE.fullmatch(component):
        return "has a part that looks like a hash"
    if is_reserved(component):
        return "has a part that names a device on Windows"
    return None
