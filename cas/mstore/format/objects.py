"""Objects as bytes: canonical msgpack with every map sorted by key (SPEC §6).

1. One value has one encoding: decode, encode again, compare; anything else is corrupt.
2. A field this build does not know makes the object unsupported, never silently shorter.
3. Size, depth and counts are bounded before anything is built from the bytes.
"""

from typing import Final

import msgspec

from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.bounds import check_map, check_value, is_canonical_float
from mstore.format.dtypes import MAX_RANK
from mstore.format.object_rules import check_rules
from mstore.format.safetensors import Header, parse_header
from mstore.ids import ID_SIZE, Buffer, Kind
from mstore.objects import (
    CHUNK_SIZE,
    Code,
    Environment,
    File,
    Log,
    Note,
    Object,
    OpaqueFile,
    Record,
    Tensor,
    TensorFile,
    Tree,
    Version,
)

MAX_OBJECT: Final = 64 << 20
"""Bytes of any object's payload (SPEC §11)."""
MAX_VERSION: Final = 4 << 20
"""Bytes of a version's payload: it may hold free JSON, which decoding blows up most."""
MAX_TREE: Final = 16 << 20
"""Bytes of a tree's payload: some 250,000 names in one folder."""
MAX_NOTE: Final = 1 << 20
"""Bytes of a note's payload."""
MAX_RECORD: Final = 16 << 20
"""Bytes of a record's payload: a log of 700,000 values, or a patch."""
MAX_PAYLOAD: Final = {
    Kind.CHUNK: CHUNK_SIZE,
    Kind.TENSOR: MAX_OBJECT,
    Kind.FILE: MAX_OBJECT,
    Kind.TREE: MAX_TREE,
    Kind.VERSION: MAX_VERSION,
    Kind.NOTE: MAX_NOTE,
    Kind.RECORD: MAX_RECORD,
}
"""Bytes of the payload of each kind (SPEC §11)."""

_MAX_FIELDS: Final = 64
# Bytes of the shortest entry that is valid: in an array of so many bytes there are no more.
_TREE_ENTRY: Final = 42
_FILE_TENSOR: Final = 37
_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_DECODERS: Final[dict[Kind, msgspec.msgpack.Decoder[Object]]] = {
    Kind.TENSOR: msgspec.msgpack.Decoder(Tensor),
    Kind.FILE: msgspec.msgpack.Decoder(File),
    Kind.TREE: msgspec.msgpack.Decoder(Tree),
    Kind.VERSION: msgspec.msgpack.Decoder(Version),
    Kind.NOTE: msgspec.msgpack.Decoder(Note),
    Kind.RECORD: msgspec.msgpack.Decoder(Record),
}
_KINDS: Final[dict[type[Object], Kind]] = {
    Tensor: Kind.TENSOR,
    OpaqueFile: Kind.FILE,
    TensorFile: Kind.FILE,
    Tree: Kind.TREE,
    Version: Kind.VERSION,
    Note: Kind.NOTE,
    Code: Kind.RECORD,
    Environment: Kind.RECORD,
    Log: Kind.RECORD,
}
# The fields that hold free JSON.
_FREE: Final = {
    Kind.VERSION: ("parameters", "metadata"),
    Kind.NOTE: ("metadata",),
    Kind.RECORD: ("packages", "hardware", "seeds"),
}
# The kinds that have metrics, which are maps of floats: there are many, and they are read often.
_MEASURED: Final = (Kind.VERSION, Kind.NOTE)
# What msgspec says of names that a later format may add (tests/unit/format hold this).
_UNKNOWN: Final = ("Object contains unknown field", "Invalid enum value", "Invalid value")


def encode_object(value: Object) -> tuple[Kind, bytes]:
    """The kind and the canonical payload of ``value``.

    InvalidInputError when it breaks a rule of SPEC §6: what is returned always decodes again.
    Metrics are written as 64-bit floats.
    """
    kind = _KINDS[type(value)]
    try:
        if isinstance(value, Version | Note) and value.metrics:
            value = msgspec.structs.replace(value, metrics=_floats(value.metrics))
        payload = _encode(value)
        decode_object(kind, payload)
    except (TypeError, ValueError, OverflowError, RecursionError, MstoreError) as error:
        message = f"cannot store this {kind.name.lower()}: {error}"
        raise InvalidInputError(message) from error
    return kind, payload


def decode_object(kind: Kind, payload: Buffer) -> Object:
    """The value of a payload; CorruptError or UnsupportedError if it is not canonical.

    ``kind`` is any but CHUNK, which has no structure. Ids are checked for their length only:
    whether they exist is fsck's question.
    """
    where = f"{kind.name.lower()} object"
    _check_bounds(kind, payload, where)
    try:
        value = _DECODERS[kind].decode(payload)
        again = _encode(value)
    except msgspec.ValidationError as error:
        message = f"{where}: {error}"
        if str(error).startswith(_UNKNOWN):
            raise UnsupportedError(message, hint="a newer mstore may know it") from None
        raise CorruptError(message) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, OverflowError) as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None
    if again != payload:
        message = f"{where}: not in canonical form"
        raise CorruptError(message)
    _check_value(value, where)
    return value


def parse_tensor_file(file: TensorFile) -> Header:
    """The parsed header of ``file``; CorruptError unless it agrees with the file's own fields.

    Costs a JSON parse; ``decode_object`` leaves it out, whoever rebuilds a file needs it.
    """
    header = parse_header(file.header, file.size)
    declared = [span.name for span in header.spans]
    if declared != [name for name, _ in file.tensors]:
        message = "file object: the header does not name the file's tensors in their order"
        raise CorruptError(message)
    return header


def _floats(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics as the format has them: every number a float, every NaN the canonical one."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {
        name: value if is_canonical_float(value) else float("nan")
        for name, value in numbers.items()
    }


def _check_bounds(kind: Kind, payload: Buffer, where: str) -> None:
    """Hold the bytes against the limits at a cost that does not grow with them."""
    limit = MAX_PAYLOAD[kind]
    if len(payload) > limit:
        message = f"{where}: {len(payload)} bytes, at most {limit} are allowed"
        raise CorruptError(message)
    view = memoryview(payload)
    if not 0 <= _field_count(view) <= _MAX_FIELDS:
        message = f"{where}: does not start with a map of at most {_MAX_FIELDS} fields"
        raise CorruptError(message)
    try:
        fields = _decode_fields(view)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None
    if kind is Kind.TENSOR:
        _check_count(fields, "shape", MAX_RANK, where)
    elif kind is Kind.FILE:
        _check_count(fields, "sizes", _length(fields, "chunks") // ID_SIZE, where)
        _check_count(fields, "tensors", _length(fields, "tensors") // _FILE_TENSOR, where)
    elif kind is Kind.TREE:
        _check_count(fields, "entries", _length(fields, "entries") // _TREE_ENTRY, where)
    for name in _FREE.get(kind, ()):
        if name in fields:
            check_value(memoryview(fields[name]), f"{where}: {name}")
    if kind in _MEASURED and "metrics" in fields:
        check_map(memoryview(fields["metrics"]), f"{where}: metrics")


def _field_count(view: memoryview) -> int:
    """How many fields the map has that ``view`` starts with; -1 when it is no small map."""
    first = view[:1].tobytes()
    if b"\x80" <= first <= b"\x8f":
        return first[0] & 0x0F
    if first == b"\xde":
        return int.from_bytes(view[1:3], "big")
    return -1


def _length(fields: dict[str, msgspec.Raw], name: str) -> int:
    """Bytes of a field's msgpack; 0 when it is left out."""
    return len(memoryview(fields[name])) if name in fields else 0


def _check_count(fields: dict[str, msgspec.Raw], name: str, limit: int, where: str) -> None:
    """CorruptError when a field is an array of more than ``limit`` values."""
    if name not in fields:
        return
    head = memoryview(fields[name])[:5].tobytes()
    if b"\x90" <= head[:1] <= b"\x9f":
        count = head[0] & 0x0F
    else:
        count = int.from_bytes(head[1:], "big") >> (16 if head[:1] == b"\xdc" else 0)
    if count > limit:
        message = f"{where}: {name} says that it holds {count} values, at most {limit} can be"
        raise CorruptError(message)


def _check_value(value: Object, where: str) -> None:
    try:
        check_rules(value)
    except (CorruptError, InvalidInputError) as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None
    except UnsupportedError as error:
        message = f"{where}: {error}"
        raise UnsupportedError(message, hint=error.hint) from None
