"""The values a store keeps: immutable, without bytes of their own, knowing nobody (SPEC §6).

A field may only be added with a default; a field that holds its default is not written, so the
ids of older objects do not change.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from mstore.ids import ID_SIZE

if TYPE_CHECKING:
    Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
else:
    # msgspec cannot decode a recursive alias; format/objects.py checks the nested values.
    Value = Any
"""What a parameter or a metadata field may hold: JSON (SPEC §6.5)."""

Id = Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
"""The id of an object."""
Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A count, a number of bytes, or a time."""

Relation = Literal[
    "derived",
    "trained",
    "fine-tuned",
    "merged",
    "quantised",
    "sliced",
    "converted",
    "stripped",
    "reverted",
    "copied",
]
"""How a version came from a parent."""

Format = Literal["safetensors", "torch", "gguf", "onnx", "numpy"]
"""What a file of tensors is by its own rules (SPEC §6.3)."""

CHUNK_SIZE = 4 << 20
"""Bytes of every chunk of a tensor but the last (SPEC §6.1)."""


class _Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Tensor(_Object, frozen=True):
    """Numbers without a name: little-endian, C-order, cut every ``CHUNK_SIZE`` bytes.

    ``dtype`` is a safetensors name ("BF16"), ``chunks`` the chunk ids one after another.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: bytes = b""


class OpaqueFile(_Object, frozen=True, tag_field="form", tag="opaque"):
    """A file kept as bytes: ``sizes[i]`` is the length of the i-th of ``chunks``."""

    size: int
    sizes: tuple[int, ...] = ()
    chunks: bytes = b""


class TensorFile(_Object, frozen=True, tag_field="form", tag="tensors"):
    """A file kept as tensors: its literal bytes, ``header``, with those of ``tensors`` in between.

    ``tensors`` holds (name, tensor id), ``places`` where in the file the first byte of each
    stands; both follow the places, then the names. A safetensors file has no places: it is its
    header, then its tensors one after another. ``size`` is the whole file's.
    """

    format: Format
    size: Natural
    header: bytes
    tensors: tuple[tuple[str, Id], ...] = ()
    places: tuple[int, ...] = ()


File = OpaqueFile | TensorFile

EntryType = Literal["file", "executable", "tree"]


class TreeEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One name in a folder."""

    name: str
    type: EntryType
    id: Id


class Tree(_Object, frozen=True):
    """A folder: entries in the order of their names' UTF-8 bytes, each name once."""

    entries: tuple[TreeEntry, ...] = ()


class Parent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a version came from, and how."""

    id: Id
    relation: Relation


class Version(_Object, frozen=True):
    """One state of a model and everything said of it when it was stored.

    ``single`` is true when it was put from one file. ``size`` (bytes of all files),
    ``tensor_count`` and ``model_hash`` follow from ``tree``; fsck holds them against it. ``time``
    is in UTC microseconds since 1970. ``code``, ``environment`` and ``logs`` are ids of records of
    these forms; ``dataset_ids`` has the ids of those ``datasets`` that were at hand as files.
    """

    tree: Id
    size: Natural
    time: Natural
    single: bool = False
    tensor_count: Natural = 0
    model_hash: Id | None = None
    parents: tuple[Parent, ...] = ()
    author: str = ""
    message: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    parameters: dict[str, Value] = {}
    metrics: dict[str, float] = {}
    datasets: tuple[str, ...] = ()
    metadata: dict[str, Value] = {}
    code: Id | None = None
    environment: Id | None = None
    logs: tuple[Id, ...] = ()
    dataset_ids: dict[str, Id] = {}


class Note(_Object, frozen=True):
    """Something said of a version after it was stored: a result, a tag, a comment.

    ``topic`` says what kind of thing it is ("evaluation", "comment" …), ``metrics`` are results
    on ``dataset`` (its ``split``, at ``step``), where these are named. A note that ``retracts``
    another takes it back.
    """

    version: Id
    time: Natural
    author: str = ""
    topic: str = ""
    message: str = ""
    metrics: dict[str, float] = {}
    dataset: str = ""
    dataset_id: Id | None = None
    split: str = ""
    step: Natural | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Value] = {}
    retracts: Id | None = None


class Code(_Object, frozen=True, tag_field="form", tag="code"):
    """The source code that a version was made with: a git commit, and what differed from it.

    ``tree`` is git's id of the working tree as it was, untracked files included; ``patch`` leads
    there from ``commit`` (``git diff --binary --full-index``). Where a patch is left out,
    ``omitted`` says why. ``folder`` is where below the top of the working tree the work was done.
    """

    commit: str
    branch: str = ""
    remote: str = ""
    tree: str = ""
    patch: bytes = b""
    omitted: str = ""
    folder: str = ""


class Environment(_Object, frozen=True, tag_field="form", tag="environment"):
    """What a version was made on, and by which command."""

    python: str = ""
    platform: str = ""
    packages: dict[str, str] = {}
    hardware: dict[str, Value] = {}
    command: tuple[str, ...] = ()
    seeds: dict[str, int] = {}


class Series(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One quantity over a training: ``values`` (F64) at ``steps`` (I64), little-endian.

    ``times`` (I64, UTC microseconds since 1970) is as long, or empty.
    """

    name: str
    steps: bytes
    values: bytes
    times: bytes = b""


class Log(_Object, frozen=True, tag_field="form", tag="log"):
    """What a training log says over time; ``source`` is what wrote it ("tensorboard" …)."""

    source: str
    series: tuple[Series, ...] = ()


Record = Code | Environment | Log
"""What was captured when a version was made; an object of its own, as many versions share it."""

Object = Tensor | OpaqueFile | TensorFile | Tree | Version | Note | Record
