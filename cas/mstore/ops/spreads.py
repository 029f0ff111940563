"""How the numbers of a version's tensors are spread: each tensor read once, a chunk at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mstore.ids import ObjectId
from mstore.objects import CHUNK_SIZE, Tensor
from mstore.ops.describe import TensorRow
from mstore.ops.payload import place, read_all, require_payload, tensor_pieces
from mstore.parts import Parts
from mstore.revision import Resolved

if TYPE_CHECKING:
    from mstore.numerics.spread import Spread


def spreads(
    parts: Parts, target: Resolved, rows: list[TensorRow]
) -> Iterator[tuple[TensorRow, "Spread | None"]]:
    """Each of the ``rows`` with the spread of its numbers, or None for a dtype that has none.

    Equal tensors are read once. Holds one chunk of 4 MiB at a time. NotFoundError when the bytes
    were stripped.
    """
    from mstore.numerics.spread import READABLE  # noqa: PLC0415 - NumPy loads when it is needed

    known: dict[ObjectId, Spread] = {}
    buffer = memoryview(bytearray(CHUNK_SIZE))
    for row in rows:
        if row.dtype in READABLE and row.id not in known:
            known[row.id] = _spread(parts, target, parts.odb.tensor(row.id), buffer)
        yield row, known.get(row.id)


def _spread(parts: Parts, target: Resolved, tensor: Tensor, buffer: memoryview) -> "Spread":
    from mstore.numerics.spread import Tally  # noqa: PLC0415 - as above

    tally = Tally(tensor.dtype)
    for piece in tensor_pieces(tensor):
        require_payload(parts, target, piece.id)
        read_all(parts.odb, place([piece], buffer, piece.start))
        tally.add(buffer[: piece.size])
    return tally.spread()
