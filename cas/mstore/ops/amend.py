"""A version made from the newest one of a model: files added, replaced or taken away.

What stays is not read again.
"""

from collections.abc import Iterator, Sequence

from mstore.errors import InvalidInputError
from mstore.ids import ObjectId
from mstore.objects import TensorFile
from mstore.ops.put import Description, PutResult, Upon, put
from mstore.ops.sources import NamedFile, SourceTree, StoredFile
from mstore.ops.walk import walk_entries, walk_files
from mstore.parts import Parts
from mstore.refs import HEADS

Path = tuple[str, ...]


def amend(
    parts: Parts,
    name: str,
    files: Sequence[NamedFile],
    folders: Sequence[Path] = (),
    *,
    without: Path | None = None,
    description: Description | None = None,
) -> PutResult:
    """Store the newest version of ``name`` with ``files`` in it, and nothing at ``without``.

    A model that is not there begins with them. ConflictError when somebody else stores a version
    meanwhile: try again. InvalidInputError when the newest version was stripped.
    """
    table = parts.refs.find(HEADS, name)
    head = table.head if table else None
    upon = Upon(ObjectId(head.version) if head else None)
    if head is not None and head.state != "kept":
        raise InvalidInputError(
            f"'{name}@{head.number}' was stripped, nothing can be built upon it",
            hint="log to another place",
        )
    kept, empty = ([], []) if upon.version is None else _of(parts, upon.version)
    new = {file.parts for file in files}
    staying = [file for file in kept if file.parts not in new and not _below(file.parts, without)]
    places = [folder for folder in (*empty, *folders) if not _below(folder, without)]
    source = SourceTree([*staying, *files], places, single=False, name=name)
    return put(parts, source, name, description or Description(), upon=upon)


def _of(parts: Parts, version: ObjectId) -> tuple[list[NamedFile], list[Path]]:
    tree = parts.odb.version(version).tree
    entries = walk_entries(parts.odb, tree)
    folders = [tuple(path.split("/")) for path, entry in entries if entry.type == "tree"]
    return list(_files(parts, tree)), folders


def _files(parts: Parts, tree: bytes) -> Iterator[NamedFile]:
    for found in walk_files(parts.odb, tree):
        tensors = found.file.tensors if isinstance(found.file, TensorFile) else ()
        origin = StoredFile(found.id, tuple(tensors))
        executable = found.type == "executable"
        yield NamedFile(tuple(found.path.split("/")), found.file.size, executable, origin)


def _below(path: Path, top: Path | None) -> bool:
    return top is not None and path[: len(top)] == top
