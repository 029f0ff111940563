"""The values a store keeps: immutable, without bytes of their own, knowing nobody (SPEC §6).

A field may only be added with a default; a field that holds its default is not written, so the
ids of older objects do not change.
"""

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
else:
    # msgspec cannot decode a recursive alias; format/objects.py checks the nested values.
    Value = Any
"""What a parameter or a metadata field may hold: JSON (SPEC §6.5)."""

Relation = Literal[
    "derived",
    "fine-tuned",
    "merged",
    "quantised",
    "sliced",
    "converted",
    "stripped",
    "reverted",
]
"""How a version came from a parent."""

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
    """A file kept as tensors: ``header`` then the bytes of ``tensors`` in order is the file.

    ``tensors`` holds (name, tensor id) in the order of the file's bytes; ``size`` is the whole
    file's, header included.
    """

    format: Literal["safetensors"]
    size: int
    header: bytes
    tensors: tuple[tuple[str, bytes], ...] = ()


File = OpaqueFile | TensorFile

EntryType = Literal["file", "executable", "tree"]


class TreeEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One name in a folder."""

    name: str
    type: EntryType
    id: bytes


class Tree(_Object, frozen=True):
    """A folder: entries in the order of their names' UTF-8 bytes, each name once."""

    entries: tuple[TreeEntry, ...] = ()


class Parent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a version came from, and how."""

    id: bytes
    relation: Relation


class Version(_Object, frozen=True):
    """One state of a model and everything said of it when it was stored.

    ``single`` is true when it was put from one file. ``size`` (bytes of all files),
    ``tensor_count`` and ``model_hash`` follow from ``tree``; fsck holds them against it. ``time``
    is in UTC microseconds since 1970.
    """

    tree: bytes
    size: int
    time: int
    single: bool = False
    tensor_count: int = 0
    model_hash: bytes | None = None
    parents: tuple[Parent, ...] = ()
    author: str = ""
    message: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    parameters: dict[str, Value] = {}
    metrics: dict[str, float] = {}
    datasets: tuple[str, ...] = ()
    metadata: dict[str, Value] = {}


Object = Tensor | OpaqueFile | TensorFile | Tree | Version
