"""Naming a stray file or folder: which version is it, or which is nearest to it?

Nothing is written. Ids are computed as ``put`` would and looked up in the descriptions of all
versions, so that a version is recognised also after its bytes were stripped.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.format.objects import encode_object
from mstore.ids import ObjectId, hash_model, hash_object
from mstore.objects import OpaqueFile, TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.chunking import Hasher
from mstore.ops.describe import labels_by_version
from mstore.ops.ids_only import hash_source
from mstore.ops.intake import Progress
from mstore.ops.names import tags
from mstore.ops.sources import SourceTree, scan_paths
from mstore.ops.walk import walk_files
from mstore.parts import Parts


class Match(NamedTuple):
    """A version that has the very same content.

    ``how``: "bytes" when the files are equal bit for bit, "tensors" when only the model hash is,
    as after re-saving, re-sharding or a change of metadata. ``label`` is ``lenet@3``, or
    ``lenet@3:path`` when the stray file is one of several.
    """

    label: str
    version: ObjectId
    how: Literal["bytes", "tensors"]


class Nearest(NamedTuple):
    """The version that has most of the tensors: ``agreeing`` of the ``total`` that were given."""

    label: str
    agreeing: int
    total: int
    version: ObjectId


class Identified(Struct, frozen=True):
    """What a stray file or folder is; ``nearest`` only when nothing is equal."""

    exact: tuple[Match, ...]
    model_hash: ObjectId | None
    nearest: Nearest | None = None


class Candidate(NamedTuple):
    """A version to compare with, and its name."""

    label: str
    version: ObjectId


def identify(
    parts: Parts, path: str | Path, *, follow: bool = False, progress: Progress | None = None
) -> Identified:
    """Which versions a file or folder is, else which one it has most tensors in common with.

    Reads the whole file, and the description of every version.
    """
    source = scan_paths([Path(path)], follow=follow)
    hashed = hash_source(source, progress)
    stored = hashed.tree
    model_hash = hash_model(stored.tensors) if stored.tensors else None
    candidates = list(_candidates(parts))
    strays = set(hashed.files) if source.single else None
    exact = _exact(parts, candidates, stored.id, strays, model_hash)
    if hashed.has_places and source.single and not any(match.how == "bytes" for match in exact):
        # An earlier mstore stored such a file as bytes.
        strays = {_as_bytes(source)}
        exact = _exact(parts, candidates, stored.id, strays, None) or exact
    nearest = None
    if not exact:
        nearest = _nearest(parts, candidates, [ObjectId(oid) for _, oid in stored.tensors])
    return Identified(tuple(exact), model_hash, nearest)


def _exact(
    parts: Parts,
    candidates: list[Candidate],
    tree: ObjectId,
    strays: set[ObjectId] | None,
    model_hash: ObjectId | None,
) -> list[Match]:
    return [
        match
        for candidate in candidates
        for match in _matches(parts, candidate, tree, strays, model_hash)
    ]


def _as_bytes(source: SourceTree) -> ObjectId:
    """The id that a file has when it is stored as bytes; reads it once more."""
    with source.files[0].open() as content, closing(Hasher()) as hasher:
        chunks = [(chunk.id, len(chunk.content)) for chunk in hasher.opaque_chunks(content)]
        sizes = tuple(size for _, size in chunks)
        file = OpaqueFile(content.size, sizes, b"".join(oid for oid, _ in chunks))
    return hash_object(*encode_object(file))


def _candidates(parts: Parts) -> Iterator[Candidate]:
    """Every version that a model or a tag names; newest last among those of one model."""
    labels = labels_by_version(parts)
    for version, names in labels.items():
        yield from (Candidate(name, ObjectId(version)) for name in names)
    for tag, version in tags(parts).items():
        if version not in labels:
            yield Candidate(tag, version)


def _matches(
    parts: Parts,
    candidate: Candidate,
    tree: ObjectId,
    strays: set[ObjectId] | None,
    model_hash: ObjectId | None,
) -> Iterator[Match]:
    version = parts.odb.version(candidate.version)
    if strays is None:
        same = ["" for _ in range(version.tree == tree)]
    else:
        found = walk_files(parts.odb, version.tree)
        same = ["" if version.single else ":" + file.path for file in found if file.id in strays]
    for suffix in same:
        yield Match(candidate.label + suffix, candidate.version, "bytes")
    if not same and model_hash is not None and version.model_hash == model_hash:
        yield Match(candidate.label, candidate.version, "tensors")


def _nearest(parts: Parts, candidates: list[Candidate], tensors: list[ObjectId]) -> Nearest | None:
    best: Nearest | None = None
    for label, version in candidates:
        held = _tensor_ids(parts.odb, version)
        agreeing = sum(oid in held for oid in tensors)
        if agreeing and (best is None or agreeing >= best.agreeing):
            best = Nearest(label, agreeing, len(tensors), version)
    return best


def _tensor_ids(odb: ObjectDatabase, version: ObjectId) -> set[bytes]:
    files = (found.file for found in walk_files(odb, odb.version(version).tree))
    return {oid for file in files if isinstance(file, TensorFile) for _, oid in file.tensors}
