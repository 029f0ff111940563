"""Walking everything that the names need without stopping at damage.

1. An object that cannot be read has a ``Fault`` and no node; everything else has a node.
2. What a version says of itself is held against what it is made of.
3. Chunks and the bases they are stored as a difference from are looked up, not read: reading
   every pack finds damaged ones. Bases that are in another place are looked for there, if it can
   be read: where it cannot be, that is no damage.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mstore.errors import CorruptError, MstoreError, NotFoundError, StorageError, UnsupportedError
from mstore.format.dtypes import tensor_size
from mstore.format.model_files import Shape, check_literals
from mstore.format.names import MAX_FOLDER_DEPTH, MAX_NAMES
from mstore.format.objects import parse_tensor_file
from mstore.format.safetensors import Header
from mstore.ids import Kind, ObjectId, hash_model
from mstore.objects import CHUNK_SIZE, File, OpaqueFile, Tensor, TensorFile, TreeEntry, Version
from mstore.odb import ObjectDatabase, is_unreachable
from mstore.ops.walk import check_depth, records_of, require_single, split_ids

Pairs = frozenset[tuple[str, bytes]]


class Fault(NamedTuple):
    """What is wrong with an object.

    ``kind``: "missing", "damaged" (its bytes), "disagrees" (with what it is made of),
    "unreadable" (the place failed) or "unsupported".
    """

    kind: str
    message: str


class Node(NamedTuple):
    """The objects that an object names, and its chunks with the size that each must have.

    ``size`` is that of the files below in bytes, ``pairs`` their (tensor name, tensor id), each
    once, ``tensor_count`` how many there are with repetitions. ``names`` counts the files and
    folders below, ``height`` the folders inside one another. A tree that names another many
    times costs no more than one that names it once.
    """

    children: tuple[ObjectId, ...] = ()
    chunks: tuple[tuple[ObjectId, int], ...] = ()
    size: int = 0
    pairs: Pairs = frozenset()
    tensor_count: int = 0
    names: int = 0
    height: int = 0


def fault_of(error: MstoreError) -> Fault:
    """The fault that an error tells of."""
    if isinstance(error, NotFoundError):
        return Fault("missing", str(error))
    if isinstance(error, UnsupportedError):
        return Fault("unsupported", str(error))
    return Fault("unreadable" if isinstance(error, StorageError) else "damaged", str(error))


class Graph:
    """The objects of some versions, as far as they can be read."""

    def __init__(self, odb: ObjectDatabase) -> None:
        self._odb = odb
        self.nodes: dict[ObjectId, Node] = {}
        self.faults: dict[ObjectId, Fault] = {}
        self.kinds: dict[ObjectId, Kind] = {}
        """What every object that was met has to be."""
        self.bases: dict[ObjectId, ObjectId] = {}
        """For each chunk or base that a reader would decode from another: that other one."""
        self.lent: set[ObjectId] = set()
        """The bases that are in another place."""
        self._shapes: dict[ObjectId, Shape] = {}
        self._partial: set[ObjectId] = set()

    def add_version(self, version_id: ObjectId) -> list[ObjectId]:
        """Take in a version and all below it but its chunks; gives its parents."""
        self.kinds[version_id] = Kind.VERSION
        try:
            version = self._odb.version(version_id)
        except MstoreError as error:
            self.faults[version_id] = fault_of(error)
            return []
        tree = self._tree(ObjectId(version.tree))
        if tree is not None:
            self._hold_against(version_id, version, tree)
            self._check_single(version_id, version)
        records = records_of(version)
        for record in records:
            self._add_leaf(record, Kind.RECORD)
        self.nodes[version_id] = Node((ObjectId(version.tree), *records))
        return [ObjectId(parent.id) for parent in version.parents]

    def add_note(self, oid: ObjectId) -> None:
        """Take in a note; the version that it is about may be gone."""
        self._add_leaf(oid, Kind.NOTE)

    def _add_leaf(self, oid: ObjectId, kind: Kind) -> None:
        """Take in an object that names no other."""
        if oid in self.kinds:
            return
        self.kinds[oid] = kind
        try:
            self._odb.read_object(oid, kind)
        except MstoreError as error:
            self.faults[oid] = fault_of(error)
        else:
            self.nodes[oid] = Node()

    def add_chunks(self, versions: Iterable[ObjectId]) -> None:
        """Look for every chunk of some versions that were taken in."""
        for oid in self.below(versions):
            node = self.nodes.get(oid)
            for chunk, size in node.chunks if node else ():
                if chunk not in self.kinds:
                    self.kinds[chunk] = Kind.CHUNK
                    self._look_for(chunk, size)

    def look_elsewhere(self, *, full: bool) -> Counter[str]:
        """Look for the bases in other places, with ``full`` read them.

        Gives why some were not looked at, and how many.
        """
        elsewhere = self._odb.elsewhere
        unseen: Counter[str] = Counter()
        lost: dict[ObjectId, Fault] = {}
        for oid in sorted(self.lent):
            try:
                elsewhere.read(oid) if full else elsewhere.look_for(oid)
            except MstoreError as error:
                if is_unreachable(error):
                    unseen[str(error)] += 1
                else:
                    lost[oid] = fault_of(error)
        for oid, base in self.bases.items():
            if base in lost:
                self.faults.setdefault(oid, lost[base])
        self.faults |= lost
        return unseen

    def met(self) -> set[ObjectId]:
        """Every object that is needed, found or not, bases included."""
        return {*self.kinds, *self.bases.values()}

    def below(self, oids: Iterable[ObjectId]) -> Iterator[ObjectId]:
        """Some objects and all that they name, each once; chunks aside."""
        waiting = list(oids)
        seen = set(waiting)
        while waiting:
            oid = waiting.pop()
            yield oid
            node = self.nodes.get(oid)
            for child in node.children if node else ():
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)

    def needs(self, version_id: ObjectId, *, payload: bool) -> Iterator[ObjectId]:
        """The objects of a version as far as they are known, chunks only with ``payload``.

        With the chunks come their bases; one that several chunks need comes several times.
        """
        for oid in self.below([version_id]):
            yield oid
            node = self.nodes.get(oid)
            for chunk, _ in node.chunks if payload and node else ():
                yield from self._with_bases(chunk)

    def _with_bases(self, chunk: ObjectId) -> Iterator[ObjectId]:
        one: ObjectId | None = chunk
        seen = set()
        while one is not None and one not in seen:
            yield one
            seen.add(one)
            one = self.bases.get(one)

    def _look_for(self, chunk: ObjectId, size: int) -> None:
        found = self._odb.find(chunk)
        if found is None:
            self.faults[chunk] = Fault("missing", f"chunk '{chunk}' is missing")
        elif found.entry.kind is not Kind.CHUNK or found.entry.raw_size != size:
            held = f"{found.entry.raw_size} bytes, not {size}"
            self.faults[chunk] = Fault("disagrees", f"chunk '{chunk}' has {held}")
        elif found.entry.base is not None:
            self._look_for_bases(chunk)

    def _look_for_bases(self, chunk: ObjectId) -> None:
        try:
            links = [location.entry for location in self._odb.chain(chunk)]
        except MstoreError as error:
            self.faults[chunk] = fault_of(error)
            self._look_for_lost_base(chunk)
            return
        self.bases.update((entry.id, entry.base) for entry in links if entry.base is not None)
        if links[-1].base is not None:
            self.lent.add(links[-1].base)

    def _look_for_lost_base(self, chunk: ObjectId) -> None:
        one, seen = chunk, {chunk}
        while (found := self._odb.find(one)) is not None and found.entry.base is not None:
            self.bases[one] = found.entry.base
            one = found.entry.base
            if one in seen:
                return
            seen.add(one)
        if found is None:
            self.faults.setdefault(one, Fault("missing", f"chunk '{one}', a base, is missing"))

    def _tree(self, oid: ObjectId, depth: int = 0) -> Node | None:
        """The node of a tree; None unless all below it can be read."""
        if oid in self.kinds:
            return None if oid in self._partial else self.nodes.get(oid)
        self.kinds[oid] = Kind.TREE
        try:
            check_depth(depth, oid)
            entries = self._odb.tree(oid).entries
        except MstoreError as error:
            self.faults[oid] = fault_of(error)
            return None
        below = []
        for entry in entries:
            child = ObjectId(entry.id)
            folder = entry.type == "tree"
            below.append(self._tree(child, depth + 1) if folder else self._file(child))
        whole = [node for node in below if node is not None]
        self.nodes[oid] = _tree_node(entries, whole)
        if len(whole) < len(below):
            self._partial.add(oid)
            return None
        return self.nodes[oid]

    def _file(self, oid: ObjectId) -> Node | None:
        if oid in self.kinds:
            return self.nodes.get(oid)
        self.kinds[oid] = Kind.FILE
        try:
            self.nodes[oid] = self._file_node(oid, self._odb.file(oid))
        except MstoreError as error:
            self.faults[oid] = fault_of(error)
        return self.nodes.get(oid)

    def _file_node(self, oid: ObjectId, file: File) -> Node:
        if isinstance(file, OpaqueFile):
            chunks = tuple(zip(split_ids(file.chunks), file.sizes, strict=True))
            return Node((), chunks, file.size)
        found = [self._tensor(ObjectId(tensor_id)) for _, tensor_id in file.tensors]
        fault = _disagreement(file, found)
        if fault:
            self.faults[oid] = Fault("disagrees", f"file '{oid}': {fault}")
        children = tuple(ObjectId(tensor_id) for _, tensor_id in file.tensors)
        return Node(children, (), file.size, frozenset(file.tensors), len(file.tensors))

    def _tensor(self, oid: ObjectId) -> Shape | None:
        if oid in self.kinds:
            return self._shapes.get(oid)
        self.kinds[oid] = Kind.TENSOR
        try:
            tensor = self._odb.tensor(oid)
        except MstoreError as error:
            self.faults[oid] = fault_of(error)
            return None
        self.nodes[oid] = Node((), tuple(_chunk_sizes(tensor)))
        self._shapes[oid] = (tensor.dtype, tuple(tensor.shape))
        return self._shapes[oid]

    def _hold_against(self, oid: ObjectId, version: Version, tree: Node) -> None:
        model_hash = bytes(hash_model(tree.pairs)) if tree.pairs else None
        facts = {
            "size": (version.size, tree.size),
            "tensor_count": (version.tensor_count, tree.tensor_count),
            "model_hash": (_hex(version.model_hash), _hex(model_hash)),
        }
        for name, (said, found) in facts.items():
            if said != found:
                message = f"version '{oid}' says that its {name} is {said}, it is {found}"
                self.faults[oid] = Fault("disagrees", message)
        if tree.height > MAX_FOLDER_DEPTH or tree.names > MAX_NAMES:
            message = f"version '{oid}' nests {tree.height} folders, with {tree.names} names in all"
            self.faults[oid] = Fault("disagrees", message)

    def _check_single(self, oid: ObjectId, version: Version) -> None:
        try:
            if version.single:
                require_single(self._odb, version)
        except CorruptError as error:
            self.faults[oid] = Fault("disagrees", f"version '{oid}': {error}")


def _tree_node(entries: Sequence[TreeEntry], below: Sequence[Node]) -> Node:
    pairs: Pairs = frozenset().union(*(node.pairs for node in below))
    folders = any(entry.type == "tree" for entry in entries)
    return Node(
        tuple(ObjectId(entry.id) for entry in entries),
        (),
        sum(node.size for node in below),
        pairs,
        sum(node.tensor_count for node in below),
        len(entries) + sum(node.names for node in below),
        max((node.height for node in below), default=0) + folders,
    )


def _hex(oid: bytes | None) -> str:
    return "none" if oid is None else oid.hex()


def _chunk_sizes(tensor: Tensor) -> Iterator[tuple[ObjectId, int]]:
    rest = tensor_size(tensor.dtype, tensor.shape)
    for chunk in split_ids(tensor.chunks):
        yield chunk, min(rest, CHUNK_SIZE)
        rest -= CHUNK_SIZE


def _disagreement(file: TensorFile, shapes: list[Shape | None]) -> str:
    """How a file and its tensors differ; empty when they agree."""
    try:
        if file.format == "safetensors":
            return _header_disagreement(parse_tensor_file(file), shapes)
        known = [shape for shape in shapes if shape is not None]
        if len(known) == len(shapes):
            check_literals(file, known)
    except CorruptError as error:
        return str(error)
    return ""


def _header_disagreement(header: Header, shapes: list[Shape | None]) -> str:
    for span, shape in zip(header.spans, shapes, strict=True):
        said = (span.dtype, tuple(span.shape))
        if shape is not None and shape != said:
            return f"tensor '{span.name}' is {shape}, the header says {said}"
    return ""
