"""A team's schema: a TOML file that is itself stored, as the model ``mstore/schema``."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from mstore.errors import NotFoundError
from mstore.objects import OpaqueFile
from mstore.ops.walk import walk_files
from mstore.parts import Parts
from mstore.refs import HEADS
from mstore.schema import MAX_FILE, SCHEMA_MODEL, Schema, parse_schema

if TYPE_CHECKING:
    from mstore.ops.put import Description, PutResult

_parsed: dict[bytes, Schema] = {}
"""The schema last used, by its version."""


def set_schema(parts: Parts, path: Path, *, author: str = "") -> "PutResult":
    """Store the schema in the file ``path`` as the one that holds from now on.

    InvalidInputError says what is wrong with it; then nothing is stored.
    """
    from mstore.ops.put import Description, put  # noqa: PLC0415 (who only reads takes none of it)
    from mstore.ops.sources import scan_paths  # noqa: PLC0415 (as above)

    source = scan_paths([path])
    if not source.single:
        raise NotFoundError(f"'{path}' is no file", hint="name a TOML file")
    with path.open("rb") as file:
        parse_schema(file.read(MAX_FILE + 1), str(path))
    return put(parts, source, SCHEMA_MODEL, Description(message="schema", author=author))


def schema_of(parts: Parts) -> Schema:
    """The fields of a store: its team's, where it has a schema, and the built-in ones."""
    table = parts.refs.find(HEADS, SCHEMA_MODEL)
    head = None if table is None else table.head
    if head is None or head.state != "kept":
        return Schema()
    if head.version not in _parsed:
        _parsed.clear()
        _parsed[head.version] = parse_schema(_content(parts, head.version), SCHEMA_MODEL)
    return _parsed[head.version]


def _content(parts: Parts, version: bytes) -> bytes:
    file = next(iter(walk_files(parts.odb, parts.odb.version(version).tree))).file
    if not isinstance(file, OpaqueFile) or file.size > MAX_FILE:
        return b""
    size = 32
    ids = [file.chunks[at : at + size] for at in range(0, len(file.chunks), size)]
    return b"".join(bytes(parts.odb.read(oid)) for oid in ids)


def checked(parts: Parts, description: "Description", names: Collection[str] = ()) -> "Description":
    """The description with values in base units; InvalidInputError names a field that is wrong.

    ``names`` are those of its data sets.
    """
    schema = schema_of(parts)
    metrics = schema.metrics(description.metrics)
    parameters = schema.values(description.parameters, "parameter")
    metadata = schema.values(description.metadata, "metadata")
    own = ("task", "message", "author", "tags")
    said = [name for name in own if getattr(description, name)]
    said += ["datasets"] if names else []
    schema.require([*metrics, *parameters, *metadata, *said])
    return structs.replace(description, metrics=metrics, parameters=parameters, metadata=metadata)
