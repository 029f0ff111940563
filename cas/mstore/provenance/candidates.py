"""The models among which parents are looked for, and the sketches of their tensors.

Sketches that the store keeps are used as they are; of other tensors the first chunk is read, as
long as that is not too much. Loads NumPy.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from mstore.errors import MstoreError
from mstore.format.dtypes import DTYPE_BITS, tensor_size
from mstore.format.layout import Span
from mstore.format.safetensors import parse_header
from mstore.ids import ID_SIZE, ObjectId
from mstore.numerics.closeness import Key, Sketched
from mstore.numerics.values import is_numeric
from mstore.objects import TensorFile
from mstore.ops.diff_structure import shared_prefix
from mstore.ops.sketches import kept_sketches, sketch
from mstore.ops.walk import walk_files
from mstore.parts import Parts
from mstore.provenance.history import History, Known

MAX_MODELS = 256
"""Versions that are compared with one another."""
MAX_READ = 256 << 20
"""Bytes of tensors without a sketch that are read for one."""
_MATRIX = 2


class Candidate(NamedTuple):
    """A version, its matrices by name and shape, how many it has, and bytes of all its tensors."""

    known: Known
    tensors: dict[Key, Sketched]
    matrices: int
    size_bytes: int
    bits: float


def choose(history: History, wanted: Iterable[ObjectId]) -> list[Known]:
    """The versions to compare: those asked for, the newest of each model, then the others.

    Of versions with the same weights only the oldest is one; none without tensors is.
    """
    every = sorted(history.known.values(), key=lambda known: (known.version.time, known.id))
    first: dict[bytes, Known] = {}
    for known in every:
        if known.version.model_hash is not None and known.names:
            first.setdefault(known.version.model_hash, known)
    newest: dict[str, ObjectId] = {}
    for known in every:
        newest |= {name.rpartition("@")[0]: known.id for name in known.names}
    heads, asked = set(newest.values()), set(wanted)
    hashes = {history.known[oid].version.model_hash for oid in heads}
    asked_hashes = {history.known[oid].version.model_hash for oid in asked}

    def rank(known: Known) -> tuple[bool, bool, int]:
        model_hash = known.version.model_hash
        return model_hash not in asked_hashes, model_hash not in hashes, -known.version.time

    return sorted(first.values(), key=rank)[:MAX_MODELS]


def candidates(parts: Parts, chosen: Iterable[Known]) -> list[Candidate]:
    """The chosen versions with what is known of their weights."""
    reading = _Reading(parts)
    return [reading.candidate(known) for known in chosen]


class _Reading:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sketches = kept_sketches(parts.backend)
        self._left = MAX_READ

    def candidate(self, known: Known) -> Candidate:
        spans = list(self._spans(known))
        matrices = [pair for pair in spans if len(pair[0].shape) >= _MATRIX] or spans
        cut = shared_prefix([span.name for span, _ in spans])
        found: dict[Key, Sketched] = {}
        for span, oid in matrices:
            values = self._values(span, oid)
            if values is not None:
                count = math.prod(span.shape)
                found[span.name[cut:], span.shape] = Sketched(oid, span.dtype, count, values)
        size = sum(span.stop - span.start for span, _ in spans)
        elements = sum(math.prod(span.shape) for span, _ in matrices)
        bits = sum(math.prod(span.shape) * DTYPE_BITS[span.dtype] for span, _ in matrices)
        return Candidate(known, found, len(matrices), size, bits / max(elements, 1))

    def _spans(self, known: Known) -> Iterable[tuple[Span, bytes]]:
        odb = self._parts.odb
        for found in walk_files(odb, known.version.tree):
            if isinstance(found.file, TensorFile):
                spans = self._file_spans(found.file)
                for span, (_, oid) in zip(spans, found.file.tensors, strict=True):
                    if is_numeric(span.dtype) and span.stop > span.start:
                        yield span, oid

    def _file_spans(self, file: TensorFile) -> Iterable[Span]:
        """The tensors of a file; its header is read more quickly than an object for each."""
        if file.format == "safetensors":
            return parse_header(file.header, file.size).spans
        tensors = ((name, self._parts.odb.tensor(ObjectId(oid))) for name, oid in file.tensors)
        return (
            Span(name, tensor.dtype, tensor.shape, 0, tensor_size(tensor.dtype, tensor.shape))
            for name, tensor in tensors
        )

    def _values(self, span: Span, oid: bytes) -> bytes | None:
        values = self._sketches.get(oid)
        if values is not None or self._left <= 0:
            return values
        # Stripped, or damaged: then nothing is known of it.
        with suppress(MstoreError):
            first = ObjectId(self._parts.odb.tensor(ObjectId(oid)).chunks[:ID_SIZE])
            content = self._parts.odb.read(first)
            self._left -= len(content)
            self._sketches[oid] = sketch(span.dtype, content)
        return self._sketches.get(oid)


def keyed(tensors: Mapping[str, object]) -> dict[str, str]:
    """The names of a model's tensors by what is left of them without that prefix."""
    cut = shared_prefix(list(tensors))
    return {name[cut:]: name for name in tensors}
