"""How the tensors of one put are encoded: alone, or as differences from tensors of the store.

The first chunk of a tensor that the store lacks settles it: bases are tried in the order in which
``bases`` and ``sketches`` suggest them, and the first one that pays is taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from threading import Lock

from mstore.codecs import Coded
from mstore.format.layout import Span
from mstore.ids import ObjectId
from mstore.ops.bases import Bases, BaseTensor
from mstore.ops.chunking import HashedChunk
from mstore.ops.encoding import MIN_CODED, Base, Encoder, Method, Policy
from mstore.ops.sketches import MIN_SKETCHED, SketchIndex, note_unseen, sketch
from mstore.parts import Parts

UNSETTLED = Method()


class Encoding:
    """What one put needs to encode tensors: a policy, and where bases are looked for."""

    def __init__(self, parts: Parts, policy: Policy, versions: Sequence[ObjectId]) -> None:
        self.encoder = Encoder(policy)
        self.bases = Bases(parts.odb, versions)
        self.sketches = SketchIndex(parts)
        self._backend = parts.backend
        self.deltas = 0
        """Tensors of which at least one chunk is stored as a difference."""

    def tensor(self, path: str, span: Span) -> "TensorEncoding | None":
        """How a tensor of the file at ``path`` is encoded; None when its chunks stay raw."""
        if self.encoder.policy == "raw" or span.stop - span.start < MIN_CODED:
            return None
        return TensorEncoding(self, path, span)

    def finish(self, tensor: "TensorEncoding", tensor_id: ObjectId) -> None:
        """Take note of a tensor all of whose chunks are encoded."""
        self.deltas += tensor.is_delta
        if tensor.sketch is not None:
            self.sketches.add(tensor.span, tensor_id, tensor.sketch)

    def save(self, version: ObjectId) -> None:
        """Keep what later puts may look for, once the version is there."""
        if self.encoder.policy == "raw":
            note_unseen(self._backend)
        else:
            self.sketches.save(version)


class TensorEncoding:
    """How the chunks of one tensor are encoded; for several threads."""

    def __init__(self, encoding: Encoding, path: str, span: Span) -> None:
        self.span = span
        self.is_delta = False
        self.sketch: bytes | None = None
        self._encoding = encoding
        self._path = path
        self._lock = Lock()
        self._method = UNSETTLED
        self._base: BaseTensor | None = None

    def encode(self, number: int, chunk: HashedChunk) -> Coded | None:
        """The chunk with this number as an entry stores it, or None where it stays raw."""
        with ExitStack() as read:
            coded = base = None
            with self._lock:
                is_first = self._method is UNSETTLED
                if is_first:
                    coded, base = self._settle(number, chunk, read)
            if not is_first and self._base is not None:
                base = read.enter_context(self._chunk(self._base, number, chunk))
            if coded is None:
                coded = self._method.encode(chunk.content, base)
        if coded is not None and coded.base is not None:
            self.is_delta = True
        return coded

    def _settle(
        self, number: int, chunk: HashedChunk, read: ExitStack
    ) -> tuple[Coded | None, Base | None]:
        """Choose method and base; the chunk as it is encoded, if that is known, and its base."""
        if number == 0 and self.span.stop - self.span.start >= MIN_SKETCHED:
            self.sketch = sketch(self.span.dtype, chunk.content)
        settle = partial(self._encoding.encoder.settle, self.span.dtype, chunk.content)
        for tensor in self._candidates():
            base = read.enter_context(self._chunk(tensor, number, chunk))
            if base is None:
                continue
            method, coded = settle(base, tensor.rows)
            if method.takes_base:
                self._method, self._base = method, tensor
                return coded, base
        self._method, coded = settle()
        return coded, None

    def _chunk(
        self, tensor: BaseTensor, number: int, chunk: HashedChunk
    ) -> AbstractContextManager[Base | None]:
        return self._encoding.bases.chunk(tensor, number, chunk.id)

    def _candidates(self) -> Iterator[BaseTensor]:
        bases = self._encoding.bases
        yield from bases.named(self._path, self.span)
        if self.sketch is not None:
            for oid in self._encoding.sketches.nearest(self.span, self.sketch):
                base = bases.fitting(oid, self.span)
                if base is not None:
                    yield base
