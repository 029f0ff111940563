"""Object ids: which bytes an id names, and how it is made (SPEC §5).

A chunk's id is the plain BLAKE3-256 of its bytes, as ``b3sum`` prints it. Every other kind is
hashed in key-derivation mode with a context string of its own, so that bytes of one kind can
never pass for another.
"""

import enum
import re
from collections.abc import Iterable
from typing import Self

from blake3 import blake3

from mstore.errors import InvalidInputError

Buffer = bytes | bytearray | memoryview

ID_SIZE = 32
_HEX_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Kind(enum.IntEnum):
    """What an object is; the number is its code in a pack index (SPEC §5)."""

    CHUNK = 0
    TENSOR = 1
    FILE = 2
    TREE = 3
    VERSION = 5
    NOTE = 6
    RECORD = 7


CONTEXTS = {
    Kind.TENSOR: "mstore v1 tensor",
    Kind.FILE: "mstore v1 file",
    Kind.TREE: "mstore v1 tree",
    Kind.VERSION: "mstore v1 version",
    Kind.NOTE: "mstore v1 note",
    Kind.RECORD: "mstore v1 record",
}
MODEL_CONTEXT = "mstore v1 model"


class ObjectId(bytes):
    """The 32-byte name of an object; ``str()`` gives 64 lower-case hex digits."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """``value`` as an id; InvalidInputError unless it has 32 bytes."""
        if len(value) != ID_SIZE:
            message = f"object id has {len(value)} bytes, not {ID_SIZE}"
            raise InvalidInputError(message)
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id written as 64 lower-case hex digits; InvalidInputError for anything else."""
        if not _HEX_ID.fullmatch(text):
            message = f"'{text}' is not an object id of 64 lower-case hex digits"
            raise InvalidInputError(message)
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"ObjectId({self.hex()!r})"


def hash_chunk(content: Buffer) -> ObjectId:
    """The id of a chunk: plain BLAKE3-256. Releases the GIL above a few KiB."""
    return ObjectId(blake3(content).digest())


def hash_object(kind: Kind, payload: Buffer) -> ObjectId:
    """The id of an object of ``kind`` whose canonical bytes are ``payload``."""
    if kind is Kind.CHUNK:
        return hash_chunk(payload)
    return ObjectId(blake3(payload, derive_key_context=CONTEXTS[kind]).digest())


def hash_model(tensors: Iterable[tuple[str, bytes]]) -> ObjectId:
    """The model hash of ``(tensor name, tensor id)`` pairs (SPEC §5.3).

    It does not depend on the order of the pairs, nor on how often one pair occurs, so it stays
    the same when a model is re-saved, re-sharded or stripped.
    """
    hasher = blake3(derive_key_context=MODEL_CONTEXT)
    for name, oid in sorted({(name.encode(), bytes(oid)) for name, oid in tensors}):
        hasher.update(len(name).to_bytes(8, "little") + name + oid)
    return ObjectId(hasher.digest())
