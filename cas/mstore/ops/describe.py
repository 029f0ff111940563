"""What a store holds, for people to look at: list, log, show, tensors. Reads only."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.errors import CorruptError
from mstore.format.dtypes import tensor_size
from mstore.format.objects import decode_object
from mstore.format.slots import Row
from mstore.ids import Kind, ObjectId, hash_object
from mstore.notes import NoteRow, notes_of
from mstore.objects import EntryType, Environment, TensorFile, Version
from mstore.ops import descriptions, names
from mstore.ops.descriptions import MIN_VERSIONS
from mstore.ops.records import CodeRow, LogSummary, code_row, environment_of, log_summary
from mstore.ops.walk import FoundFile, walk_files
from mstore.parts import Parts
from mstore.refs import HEADS
from mstore.revision import Resolved, resolve
from mstore.schema import SCHEMA_MODEL

State = Literal["kept", "stripped", "deleted"]


class ModelRow(Struct, frozen=True):
    """One model and its newest version."""

    name: str
    number: int
    version: ObjectId
    versions: int
    size_bytes: int
    tensors: int
    time: int
    state: State
    tags: tuple[str, ...]
    message: str


class LogRow(Struct, frozen=True):
    """One version of a model; ``version`` is None when its description is not here."""

    name: str
    number: int
    id: ObjectId
    state: State
    version: Version | None
    tags: tuple[str, ...]


class FileRow(NamedTuple):
    """One file of a version; ``tensors`` is 0 for a file without tensors."""

    path: str
    type: EntryType
    size_bytes: int
    tensors: int
    id: ObjectId


class TensorRow(NamedTuple):
    """One tensor of a version."""

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    id: ObjectId


class Kin(NamedTuple):
    """A version that another came from: how, its id, and its name here if it has one."""

    relation: str
    id: ObjectId
    label: str | None


class Shown(Struct, frozen=True):
    """Everything known of one version."""

    id: ObjectId
    names: tuple[str, ...]
    state: State
    tags: tuple[str, ...]
    version: Version
    parents: tuple[Kin, ...]
    files: tuple[FileRow, ...]
    notes: tuple[NoteRow, ...]
    code: CodeRow | None = None
    environment: Environment | None = None
    logs: tuple[LogSummary, ...] = ()


def models(parts: Parts) -> list[ModelRow]:
    """Every model by name, deleted ones and the store's schema left out."""
    tags = _tags_by_version(parts)
    found = []
    for name, table in parts.refs.tables(HEADS).items():
        head = table.head
        if head is None or name == SCHEMA_MODEL:
            continue
        version = parts.odb.version(ObjectId(head.version))
        found.append(
            ModelRow(
                name=name,
                number=head.number,
                version=ObjectId(head.version),
                versions=sum(row.state != "deleted" for row in table.rows.values()),
                size_bytes=version.size,
                tensors=version.tensor_count,
                time=version.time,
                state=head.state,
                tags=tags.get(head.version, ()),
                message=version.message,
            )
        )
    return found


def log(parts: Parts, name: str) -> list[LogRow]:
    """The versions of a model, newest first, deleted ones too.

    What they say of themselves is read from their packs, one read each, or from the cache.
    """
    tags = _tags_by_version(parts)
    rows = parts.refs.table(HEADS, name).rows
    versions = versions_of(parts, name, rows.values())
    return [
        LogRow(
            name,
            row.number,
            ObjectId(row.version),
            row.state,
            versions.get(row.version),
            tags.get(row.version, ()),
        )
        for row in reversed(rows.values())
    ]


def versions_of(parts: Parts, name: str, rows: Collection[Row]) -> dict[bytes, Version]:
    """The versions of these rows by id, as far as deleted ones are still here."""
    kept = descriptions.load(parts.backend, name) if len(rows) >= MIN_VERSIONS else {}
    wanted: descriptions.Payloads = {}
    found: dict[bytes, Version] = {}
    for row in rows:
        oid = row.version
        if row.state == "deleted":
            if oid not in found and parts.odb.find(oid) is not None:
                found[oid] = parts.odb.version(oid)
        elif oid not in wanted:
            wanted[oid], found[oid] = _described(parts, oid, kept.get(oid))
    descriptions.save(parts.backend, name, kept, wanted)
    return found


def _described(parts: Parts, oid: bytes, payload: bytes | None) -> tuple[bytes, Version]:
    if payload is None:
        payload = parts.odb.read(oid)
        if hash_object(Kind.VERSION, payload) != oid:
            # No version: the odb says what it is, and where.
            return payload, parts.odb.version(oid)
    try:
        version = decode_object(Kind.VERSION, payload)
    except CorruptError:
        return payload, parts.odb.version(oid)
    assert isinstance(version, Version)
    return payload, version


def show(parts: Parts, text: str) -> Shown:
    """Everything known of one version."""
    target = resolve(parts, text)
    version = parts.odb.version(target.version)
    labels = labels_by_version(parts)
    return Shown(
        id=target.version,
        names=labels.get(target.version, ()),
        state=_state(target),
        tags=_tags_by_version(parts).get(target.version, ()),
        version=version,
        parents=kin_of(version, labels),
        files=tuple(_file_row(found) for found in walk_files(parts.odb, version.tree)),
        notes=tuple(notes_of(parts, target.version)),
        code=code_row(parts, version),
        environment=environment_of(parts, version),
        logs=tuple(log_summary(parts, oid) for oid in version.logs),
    )


def tensors(parts: Parts, text: str) -> list[TensorRow]:
    """Every tensor of a version, or of one of its files, in the order of the files' bytes."""
    target = resolve(parts, text)
    tree = parts.odb.version(target.version).tree
    return [
        row
        for found in walk_files(parts.odb, tree)
        if target.path in (None, found.path)
        for row in _tensor_rows(parts, found)
    ]


def _tensor_rows(parts: Parts, found: FoundFile) -> list[TensorRow]:
    if not isinstance(found.file, TensorFile):
        return []
    rows = []
    for name, oid in found.file.tensors:
        tensor = parts.odb.tensor(ObjectId(oid))
        size = tensor_size(tensor.dtype, tensor.shape)
        rows.append(TensorRow(found.path, name, tensor.dtype, tensor.shape, size, ObjectId(oid)))
    return rows


def labels_by_version(parts: Parts) -> dict[bytes, tuple[str, ...]]:
    """The names, as ``lenet@3``, that each version has."""
    labels: dict[bytes, tuple[str, ...]] = {}
    for name, table in parts.refs.tables(HEADS).items():
        for row in table.rows.values():
            if row.state != "deleted":
                labels[row.version] = (*labels.get(row.version, ()), f"{name}@{row.number}")
    return labels


def kin_of(version: Version, labels: Mapping[bytes, Sequence[str]]) -> tuple[Kin, ...]:
    """What a version came from; ``labels`` are the names of versions here."""
    return tuple(
        Kin(parent.relation, ObjectId(parent.id), next(iter(labels.get(parent.id, ())), None))
        for parent in version.parents
    )


def _file_row(found: FoundFile) -> FileRow:
    count = len(found.file.tensors) if isinstance(found.file, TensorFile) else 0
    return FileRow(found.path, found.type, found.file.size, count, found.id)


def _state(target: Resolved) -> State:
    return "stripped" if target.state == "stripped" else "kept"


def _tags_by_version(parts: Parts) -> dict[bytes, tuple[str, ...]]:
    tags: dict[bytes, tuple[str, ...]] = {}
    for tag, version in names.tags(parts).items():
        tags[version] = (*tags.get(version, ()), tag)
    return tags
