"""Storing files as the next version of a model.

Order (SPEC §4): lease, chunks and objects, everything durable, then the name. Until the name's
slot is linked nothing is visible, so a failure anywhere leaves the store as it was. What is kept
of the tensors' sketches comes last: losing it loses nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from msgspec import Struct, field, structs

from mstore.errors import ConflictError
from mstore.format.slots import Row, check_ref_name
from mstore.ids import ObjectId, hash_model
from mstore.objects import Code, Environment, Log, Parent, Record, Relation, Value, Version
from mstore.odb import PackWriter
from mstore.ops.deltas import Encoding
from mstore.ops.encoding import Policy
from mstore.ops.intake import Progress, StoredTree, store_tree
from mstore.ops.names import tag_value, tag_version
from mstore.ops.revive import keep_alive
from mstore.ops.sources import SourceTree
from mstore.parts import Parts, Transaction
from mstore.refs import HEADS, Change, RefTable
from mstore.revision import resolve


class Description(Struct, frozen=True):
    """What the caller says of a version; ``parents`` are revisions, None the version before.

    Where there is none before, ``begun_from`` is what the model was fine-tuned from.
    """

    message: str = ""
    author: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] | None = None
    relation: Relation = "derived"
    parameters: Mapping[str, Value] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)
    code: Code | None = None
    environment: Environment | None = None
    logs: tuple[Log, ...] = ()
    dataset_ids: Mapping[str, ObjectId] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    begun_from: ObjectId | None = None


Complete = Callable[[Description], Description]
"""Adds to a description what takes long to find out."""


@contextmanager
def completing(
    description: Description, complete: Complete | None
) -> Iterator[Callable[[], Description]]:
    """Complete a description beside what is done meanwhile; what is given waits for it."""
    if complete is None:
        yield lambda: description
        return
    with ThreadPoolExecutor(1, "mstore-describe") as aside:
        yield aside.submit(complete, description).result


class Upon(NamedTuple):
    """The version that has to be a model's newest when it is built upon; None for no model."""

    version: ObjectId | None

    def require(self, table: RefTable | None, name: str) -> None:
        """ConflictError when another version is the newest."""
        head = table.head if table else None
        found = ObjectId(head.version) if head else None
        if found != self.version:
            raise ConflictError(f"'{name}' got another version meanwhile", hint="try again")


class PutResult(Struct, frozen=True):
    """What a put did. Sizes are bytes: of the files, new to the store, and grown on disk.

    ``deltas`` of the tensors are stored as differences from others. ``remarks`` say what of the
    code, the logs, the data sets and the tensors could not be taken down, or only in part.
    """

    name: str
    number: int
    version: ObjectId
    unchanged: bool
    files: int
    tensors: int
    size_bytes: int
    new_bytes: int
    stored_bytes: int
    deltas: int = 0
    tags: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def put(
    parts: Parts,
    source: SourceTree,
    name: str,
    description: Description,
    complete: Complete | None = None,
    *,
    codec: Policy = "auto",
    always: bool = False,
    upon: Upon | None = None,
    progress: Progress | None = None,
) -> PutResult:
    """Store ``source`` as the next version of ``name``; durable when it returns.

    ``complete`` adds to the description while the files are stored. ``codec`` says how much is done
    to make tensors small, "raw" nothing.

    Without ``always``, files and description that equal the newest version's make no new
    version. CorruptError names a file whose header breaks a rule, ConflictError one that changed
    while it was read; either way nothing was stored. ``source`` may name files of the version
    that it is built ``upon``; ConflictError when that is not the newest of ``name``.
    """
    _check_names(name, *description.tags)
    with completing(description, complete) as completed, Transaction(parts) as transaction:
        before = _before(parts, name)
        parents = _parents(parts, before, description)
        keep_alive(parts, _built_upon(upon, before, name), [ObjectId(p.id) for p in parents])
        encoding = Encoding(parts, codec, _origins(parents, before))
        stored = store_tree(transaction.writer, source, progress, encoding)
        description = completed()
        version = _version(stored, description, parents, single=source.single, now=parts.clock())
        version = structs.replace(version, **_store_records(transaction.writer, description))
        same = None if always else _unchanged(parts, before, version)
        row = same or _commit(transaction, name, version, upon)
    encoding.save(ObjectId(row.version))
    _tag(parts, ObjectId(row.version), description)
    return PutResult(
        name,
        row.number,
        ObjectId(row.version),
        unchanged=same is not None,
        files=stored.files,
        tensors=len(stored.tensors),
        size_bytes=stored.size,
        new_bytes=transaction.writer.new_bytes,
        stored_bytes=transaction.writer.stored_bytes,
        deltas=encoding.deltas,
        tags=description.tags,
        remarks=(*description.remarks, *stored.remarks),
    )


def _check_names(*names: str) -> None:
    for name in names:
        check_ref_name(name)


def _before(parts: Parts, name: str) -> RefTable | None:
    """The versions of a model; ConflictError where the name is a tag."""
    before = parts.refs.find(HEADS, name)
    is_new = before is None or before.head is None
    if is_new and tag_value(parts, name) is not None:
        raise ConflictError(f"'{name}' is a tag", hint="choose another name: --name")
    return before


def _built_upon(upon: Upon | None, before: RefTable | None, name: str) -> list[ObjectId]:
    """The version of which files are named; it is the newest, so it is live (rule W2)."""
    if upon is None:
        return []
    upon.require(before, name)
    return [] if upon.version is None else [upon.version]


def _commit(transaction: Transaction, name: str, version: Version, upon: Upon | None) -> Row:
    oid = transaction.writer.add_object(version)
    transaction.publish()
    committed: list[Row] = []

    def change(table: RefTable | None) -> Change:
        if upon is not None:
            upon.require(table, name)
        number = 1 if table is None else table.next_number
        committed[:] = [Row(number, bytes(oid), "kept")]
        return Change(tuple(committed), "put", version.author)

    transaction.commit(HEADS, name, change)
    return committed[0]


def _tag(parts: Parts, version: ObjectId, description: Description) -> None:
    for tag in description.tags:
        tag_version(parts, version, tag, author=description.author)


def _parents(parts: Parts, before: RefTable | None, description: Description) -> tuple[Parent, ...]:
    if description.parents is not None:
        found = [resolve(parts, text).version for text in description.parents]
    elif before is not None and before.head is not None:
        found = [ObjectId(before.head.version)]
    else:
        begun = description.begun_from
        if begun is None or parts.odb.find(begun) is None:
            return ()
        return (Parent(bytes(begun), "fine-tuned"),)
    return tuple(Parent(bytes(oid), description.relation) for oid in found)


def _origins(parents: tuple[Parent, ...], before: RefTable | None) -> list[ObjectId]:
    """The versions whose tensors new ones are likely to resemble, the likeliest first."""
    found = [ObjectId(parent.id) for parent in parents]
    if before is not None and before.head is not None:
        found.append(ObjectId(before.head.version))
    return list(dict.fromkeys(found))


def _version(
    stored: StoredTree,
    description: Description,
    parents: tuple[Parent, ...],
    *,
    single: bool,
    now: int,
) -> Version:
    return Version(
        tree=bytes(stored.id),
        size=stored.size,
        time=now,
        single=single,
        tensor_count=len(stored.tensors),
        model_hash=bytes(hash_model(stored.tensors)) if stored.tensors else None,
        parents=parents,
        author=description.author,
        message=description.message,
        task=description.task,
        tags=description.tags,
        parameters=dict(description.parameters),
        metrics=dict(description.metrics),
        datasets=description.datasets,
        metadata=dict(description.metadata),
        dataset_ids={name: bytes(oid) for name, oid in description.dataset_ids.items()},
    )


def _store_records(writer: PackWriter, description: Description) -> dict[str, Any]:
    """What was captured, each record an object of its own; the fields of a version name them."""

    def add(record: Record) -> bytes:
        return bytes(writer.add_object(record))

    code, environment = description.code, description.environment
    return {
        "code": None if code is None else add(code),
        "environment": None if environment is None else add(environment),
        "logs": tuple(map(add, description.logs)),
    }


def _unchanged(parts: Parts, before: RefTable | None, version: Version) -> Row | None:
    head = before.head if before else None
    if head is None or head.state != "kept":
        return None
    old = parts.odb.version(ObjectId(head.version))
    same_files = (old.tree, old.single) == (version.tree, version.single)
    said = ("task", "parameters", "metrics", "datasets", "dataset_ids", "metadata", "logs")
    says_new = any(
        getattr(version, name) and getattr(version, name) != getattr(old, name) for name in said
    )
    return head if same_files and not says_new else None
