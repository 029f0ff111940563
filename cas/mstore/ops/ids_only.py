"""What files would be in a store: their ids, and nothing written."""

from typing import NamedTuple

from mstore.codecs import Coded
from mstore.format.objects import encode_object
from mstore.ids import Buffer, ObjectId, hash_object
from mstore.objects import Object, OpaqueFile, TensorFile
from mstore.ops.intake import Progress, StoredTree, store_tree
from mstore.ops.sources import SourceTree


class WithoutChunks:
    """What takes the objects of files while they are read, and never their bytes."""

    new_bytes = 0

    def lacks(self, oid: bytes) -> bool:
        """No chunk is worth encoding."""
        del oid
        return False

    def add_chunk(self, oid: bytes, raw: Buffer, coded: Coded | None = None) -> bool:
        """Nothing to keep: the file object names its chunks."""
        del oid, raw, coded
        return False


class _IdsOnly(WithoutChunks):
    """Keeps the ids of the files only."""

    def __init__(self) -> None:
        self.files: list[ObjectId] = []
        self.has_places = False

    def add_object(self, value: Object) -> ObjectId:
        """The id that the object would have in a store."""
        oid = hash_object(*encode_object(value))
        if isinstance(value, OpaqueFile | TensorFile):
            self.files.append(oid)
            self.has_places |= isinstance(value, TensorFile) and bool(value.places)
        return oid


class Hashed(NamedTuple):
    """What some files would be: their tree, and the ids of the files themselves.

    ``has_places`` when one of them is kept as tensors, but is not safetensors.
    """

    tree: StoredTree
    files: tuple[ObjectId, ...]
    has_places: bool
    single: bool

    @property
    def id(self) -> ObjectId:
        """The file's id, or the folder's: it depends on what is in it and not on its own name."""
        return self.files[-1] if self.single else self.tree.id


def hash_source(source: SourceTree, progress: Progress | None = None) -> Hashed:
    """The ids that ``put`` would give to some files. Reads all of them."""
    ids = _IdsOnly()
    stored = store_tree(ids, source, progress)
    return Hashed(stored, tuple(ids.files), ids.has_places, source.single)
