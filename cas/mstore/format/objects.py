"""Objects as bytes: canonical msgpack with every map sorted by key (SPEC §6).

1. One value has one encoding: decode, encode again, compare; anything else is corrupt.
2. A field this build does not know makes the object unsupported, never silently shorter.
3. Size, depth and counts are bounded before anything is built from the bytes.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.bounds import check_value, is_canonical_float
from mstore.format.dtypes import MAX_RANK, tensor_size
from mstore.format.layout import MAX_LITERALS
from mstore.format.names import check_tree_names
from mstore.format.safetensors import Header, check_tensor_name, header_length, parse_header
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
MAX_SIZE: Final = (1 << 63) - 1
"""Bytes of a file and of a version; also the largest time."""

_MAX_FIELDS: Final = 64
# Bytes of the shortest entry that is valid: in an array of so many bytes there are no more.
_TREE_ENTRY: Final = 42
_FILE_TENSOR: Final = 37
_NUMBER: Final = 8
"""Bytes of a step, a value or a time of a series."""
_GIT_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
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
    Kind.VERSION: ("parameters", "metrics", "metadata"),
    Kind.NOTE: ("metrics", "metadata"),
    Kind.RECORD: ("packages", "hardware", "seeds"),
}
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
        _CHECKS[type(value)](value)
    except (CorruptError, InvalidInputError) as error:
        message = f"{where}: {error}"
        raise CorruptError(message) from None
    except UnsupportedError as error:
        message = f"{where}: {error}"
        raise UnsupportedError(message, hint=error.hint) from None


def _check_tensor(value: Tensor) -> None:
    size = tensor_size(value.dtype, value.shape)
    expected = ID_SIZE * -(-size // CHUNK_SIZE)
    if len(value.chunks) != expected:
        message = f"chunks has {len(value.chunks)} bytes, {size} bytes of tensor need {expected}"
        raise CorruptError(message)


def _check_opaque(value: OpaqueFile) -> None:
    if len(value.chunks) != ID_SIZE * len(value.sizes):
        message = f"chunks has {len(value.chunks)} bytes for {len(value.sizes)} sizes"
        raise CorruptError(message)
    if not all(0 < size <= CHUNK_SIZE for size in value.sizes):
        message = f"sizes holds a number outside 1 to {CHUNK_SIZE}"
        raise CorruptError(message)
    if sum(value.sizes) != value.size:
        message = f"size is {value.size}, but sizes add up to {sum(value.sizes)}"
        raise CorruptError(message)


def _check_tensor_file(value: TensorFile) -> None:
    if value.size > MAX_SIZE:
        message = f"size {value.size} is over the limit"
        raise CorruptError(message)
    names = set()
    for name, oid in value.tensors:
        check_tensor_name(name)
        _check_id(oid, f"tensor '{name}'")
        names.add(name)
    if len(names) != len(value.tensors):
        message = "tensors holds one name twice"
        raise CorruptError(message)
    if value.format == "safetensors":
        _check_safetensors(value)
    else:
        _check_places(value)


def _check_safetensors(value: TensorFile) -> None:
    length = header_length(value.header[:8], value.size)
    if len(value.header) != 8 + length:
        message = f"header has {len(value.header)} bytes, its length field says 8 + {length}"
        raise CorruptError(message)
    if value.places:
        message = "places are for other formats than safetensors"
        raise CorruptError(message)


def _check_places(value: TensorFile) -> None:
    """What can be told without the tensors' sizes; ``layout`` checks the rest."""
    limit = min(MAX_LITERALS, value.size)
    if len(value.header) > limit:
        message = f"header has {len(value.header)} bytes, at most {limit} can be"
        raise CorruptError(message)
    if not value.places:
        # What mstore said of every other format before files had places.
        message = f"file format '{value.format}' without places"
        raise UnsupportedError(message, hint="a newer mstore may know it")
    if len(value.places) != len(value.tensors):
        message = f"there are {len(value.places)} places for {len(value.tensors)} tensors"
        raise CorruptError(message)
    if not all(0 <= place <= value.size for place in value.places):
        message = f"a place is not one of 0 to {value.size}"
        raise CorruptError(message)
    order = [
        (place, name.encode()) for place, (name, _) in zip(value.places, value.tensors, strict=True)
    ]
    if order != sorted(order):
        message = "tensors do not stand in the order of their places and names"
        raise CorruptError(message)


def _check_tree(value: Tree) -> None:
    check_tree_names(entry.name for entry in value.entries)
    previous = b""
    for entry in value.entries:
        _check_id(entry.id, f"entry '{entry.name}'")
        name = entry.name.encode()
        if name <= previous:
            message = f"entry '{entry.name}' is out of order"
            raise CorruptError(message)
        previous = name


def _check_version(value: Version) -> None:
    _check_id(value.tree, "tree")
    _check_optional_id(value.model_hash, "model_hash")
    for parent in value.parents:
        _check_id(parent.id, "parents")
    for name in ("code", "environment"):
        _check_optional_id(getattr(value, name), name)
    for oid in value.logs:
        _check_id(oid, "logs")
    for name, oid in value.dataset_ids.items():
        _check_id(oid, f"data set '{name}'")
    for name in ("size", "time", "tensor_count"):
        _check_natural(getattr(value, name), name)


def _check_note(value: Note) -> None:
    _check_id(value.version, "version")
    _check_optional_id(value.dataset_id, "dataset_id")
    _check_optional_id(value.retracts, "retracts")
    _check_natural(value.time, "time")
    if value.step is not None:
        _check_natural(value.step, "step")


def _check_code(value: Code) -> None:
    for name in ("commit", "tree"):
        text = getattr(value, name)
        if text and not _GIT_ID.fullmatch(text):
            message = f"{name} '{text[:80]}' is not an id of git"
            raise CorruptError(message)
    if value.patch and value.omitted:
        message = "a patch that is said to be left out"
        raise CorruptError(message)


def _check_log(value: Log) -> None:
    names = {series.name for series in value.series}
    if len(names) != len(value.series):
        message = "one series occurs twice"
        raise CorruptError(message)
    for series in value.series:
        size = len(series.steps)
        if size % _NUMBER or len(series.values) != size or len(series.times) not in (0, size):
            message = f"series '{series.name}' has steps, values and times of different counts"
            raise CorruptError(message)


def _check_natural(number: int, field: str) -> None:
    if not 0 <= number <= MAX_SIZE:
        message = f"{field} is {number}, not one of 0 to {MAX_SIZE}"
        raise CorruptError(message)


def _check_optional_id(oid: bytes | None, field: str) -> None:
    if oid is not None:
        _check_id(oid, field)


def _check_id(oid: bytes, field: str) -> None:
    if len(oid) != ID_SIZE:
        message = f"{field}: an id of {len(oid)} bytes, not {ID_SIZE}"
        raise CorruptError(message)


_CHECKS: Final[dict[type[Object], Callable[[Any], None]]] = {
    Tensor: _check_tensor,
    OpaqueFile: _check_opaque,
    TensorFile: _check_tensor_file,
    Tree: _check_tree,
    Version: _check_version,
    Note: _check_note,
    Code: _check_code,
    Environment: lambda _: None,
    Log: _check_log,
}
