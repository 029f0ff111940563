"""Live models in and out: what an adapter takes of one is stored, what is stored gives one back.

Which version a model or its arrays came from is remembered as long as they live (``origins``), so
that what is put back has its parent without being told.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mstore import adapters
from mstore.adapters import Taken
from mstore.backends.scratch import scratch_folder
from mstore.errors import InvalidInputError
from mstore.format.safetensors import parse_header
from mstore.ids import ObjectId
from mstore.objects import Relation, TensorFile
from mstore.ops import origins
from mstore.ops.get import cat, get
from mstore.ops.read import Reader
from mstore.ops.sources import ArrayFile, NamedFile, SourceTree, scan_arrays
from mstore.ops.walk import walk_files
from mstore.parts import Parts

MAX_DESCRIPTION = 2 << 30
"""Bytes of one file that an adapter reads whole: what a protobuf message may have."""

Form = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape of a tensor."""


def scan_model(model: object) -> SourceTree:
    """What ``put`` stores of a live model, a state dict or a pytree of arrays."""
    files = _files(adapters.take(model))
    return SourceTree(files, [], single=len(files) == 1, name="model")


def _files(taken: Taken) -> list[NamedFile]:
    described = [_file(path, content) for path, content in taken.files.items()]
    if not taken.arrays and described:
        return described
    return scan_arrays(adapters.tensors(taken.arrays), "model").files + described


def _file(path: str, content: bytes | memoryview) -> NamedFile:
    origin = ArrayFile(b"", (memoryview(content),))
    return NamedFile(tuple(path.split("/")), origin.size, executable=False, origin=origin)


def load_model(
    parts: Parts,
    text: str,
    framework: str | None = None,
    *,
    into: object | None = None,
    trusted: Sequence[str] = (),
    verify: bool = True,
    bits: int | None = None,
) -> tuple[Any, ObjectId]:
    """A version in a framework, and its id: its model, else its tensors by name.

    Without ``framework`` it is that of ``into``, or NumPy.
    """
    name = framework or (None if into is None else adapters.framework_of(into)) or "numpy"
    stored = StoredModel(Reader(parts, text, name, bits), parts, text, trusted, verify=verify)
    given = adapters.framework(name).give(stored, into)
    # To JAX a dict of another class is a leaf, not a pytree.
    if type(given) is dict and name != "jax":
        given = origins.Loaded(given)
    origins.remember(given, stored.version)
    return given, stored.version


def parentage(
    parts: Parts, model: object, tree: SourceTree
) -> tuple[tuple[str, ...] | None, Relation]:
    """The parent of what is about to be put, where it came from a version of this store.

    "fine-tuned" if it has the tensors of that version, with whatever numbers, else "derived".
    """
    version = origins.origin(model)
    if version is None or parts.odb.find(version) is None:
        return None, "derived"
    is_alike = _given_forms(tree) == _stored_forms(parts, version)
    return (f"blake3:{version}",), "fine-tuned" if is_alike else "derived"


def _given_forms(tree: SourceTree) -> set[Form]:
    arrays = [f.origin for f in tree.files if isinstance(f.origin, ArrayFile) and f.origin.header]
    spans = [span for file in arrays for span in parse_header(file.header, file.size).spans]
    return {(span.name, span.dtype, span.shape) for span in spans}


def _stored_forms(parts: Parts, version: ObjectId) -> set[Form]:
    files = [f.file for f in walk_files(parts.odb, parts.odb.version(version).tree)]
    named = [pair for file in files if isinstance(file, TensorFile) for pair in file.tensors]
    tensors = [(name, parts.odb.tensor(ObjectId(oid))) for name, oid in named]
    return {(name, tensor.dtype, tensor.shape) for name, tensor in tensors}


class StoredModel:
    """A version as adapters see it (``adapters.Stored``)."""

    def __init__(
        self, reader: Reader, parts: Parts, text: str, trusted: Sequence[str], *, verify: bool
    ) -> None:
        self.label = text
        self.version = reader.version
        self.trusted = tuple(trusted)
        self._reader, self._parts, self._verify = reader, parts, verify
        version = parts.odb.version(self.version)
        self._single = version.single
        self._sizes = {f.path: f.file.size for f in walk_files(parts.odb, version.tree)}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of its files."""
        return tuple(self._sizes)

    def arrays(self) -> dict[str, Any]:
        """Every tensor by name."""
        return self._reader.load(verify=self._verify)

    def read(self, path: str) -> bytes:
        """The bytes of a file; InvalidInputError for one that is too large for a description."""
        if self._sizes[path] > MAX_DESCRIPTION:
            raise InvalidInputError(
                f"'{path}' of '{self.label}' has {self._sizes[path]} bytes, at most"
                f" {MAX_DESCRIPTION} are read whole"
            )
        pieces: list[bytes] = []
        text = f"blake3:{self.version}:{path}"
        cat(self._parts, text, lambda piece: pieces.append(bytes(piece)))
        return b"".join(pieces)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The exact files, in a folder that is gone afterwards."""
        with scratch_folder() as folder:
            inside = folder if self._single else folder / "model"
            get(self._parts, f"blake3:{self.version}", inside)
            yield inside
