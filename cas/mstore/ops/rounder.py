"""The tensors of a version made shorter, one at a time, while files ask for their bytes."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3
from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.format.dtypes import tensor_size
from mstore.ids import ObjectId
from mstore.numerics.schemes import Member, Scheme
from mstore.objects import Tensor, Value
from mstore.ops.read import Reader

if TYPE_CHECKING:
    from mstore.numerics.rounding import Numbers, Rounded, Table

HELD = 2
"""Tensors that are held once they are made: threads read the end of one beside another."""
MAX_HELD = 16 << 20
"""Bytes up to which more of them are held: threads may read several small ones at once."""
MAX_TABLES = 32 << 20
"""Bytes of tables that are kept until the places in them are stored."""


class Work(NamedTuple):
    """A tensor to quantise."""

    path: str
    name: str
    id: ObjectId
    tensor: Tensor
    members: tuple[Member, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What no other tensor of the version has."""
        return self.path, self.name


class TensorError(Struct, frozen=True):
    """What became of a tensor. ``error`` is the greatest difference of a number from what it was.

    ``relative_error`` is that over the tensor's greatest magnitude. NaN and infinity count for
    neither. ``clamped`` numbers were out of range.
    """

    path: str
    name: str
    dtype: str
    bytes_before: int
    bytes_after: int
    error: float
    relative_error: float
    clamped: int


def by_error(tensor: TensorError) -> tuple[float, str, str]:
    """Sorts the greatest error first, in one order whatever the order of the threads."""
    return -tensor.error, tensor.path, tensor.name


def by_relative_error(tensor: TensorError) -> tuple[float, str, str]:
    """As ``by_error``, for the errors over the magnitudes."""
    return -tensor.relative_error, tensor.path, tensor.name


class Rounder:
    """Makes tensors and holds the last of them, since a file is read in order.

    ``errors`` are those of the tensors made so far, by path and name; ``record`` says in a few
    words what a version keeps of them. Any number of threads may ask.
    """

    def __init__(self, reader: Reader, source: ObjectId, scheme: Scheme) -> None:
        self.errors: dict[tuple[str, str], TensorError] = {}
        self.record: dict[str, Value] = _record(source, scheme)
        self._worst: TensorError | None = None
        self._worst_relative: TensorError | None = None
        self._clamped = 0
        self._reader, self._scheme = reader, scheme
        self._lock = Lock()
        self._rounded: OrderedDict[tuple[str, str], Rounded] = OrderedDict()
        self._table_bytes = 0
        self._tables: OrderedDict[ObjectId, Table] = OrderedDict()

    def rounded(self, work: Work) -> "Rounded":
        """A tensor made; InvalidInputError names one that the scheme cannot hold."""
        with self._lock:
            if work.key not in self._rounded:
                while len(self._rounded) >= HELD and self._held() > MAX_HELD:
                    self._rounded.popitem(last=False)
                self._rounded[work.key] = self._round(work)
                if work.key not in self.errors:
                    self._note(work, self._rounded[work.key])
            return self._rounded[work.key]

    def tables(self, work: Work) -> dict[str, memoryview]:
        """The bytes of what says what its places mean, by suffix."""
        from mstore.numerics.rounding import table_contents  # noqa: PLC0415 - loads NumPy

        with self._lock:
            return table_contents(self._table(work), self._scheme, work.tensor.shape)

    def _held(self) -> int:
        return sum(len(rounded.contents[""]) for rounded in self._rounded.values())

    def _round(self, work: Work) -> "Rounded":
        from mstore.numerics.rounding import round_numbers  # noqa: PLC0415 - loads NumPy

        table = self._table(work) if self._scheme.is_table else None
        with _named(work, self._scheme):
            return round_numbers(self._numbers(work), self._scheme, self._chance(work), table)

    def _table(self, work: Work) -> "Table":
        from mstore.numerics.rounding import make_table, table_size  # noqa: PLC0415 - as above

        if work.id not in self._tables:
            with _named(work, self._scheme):
                table = make_table(self._numbers(work), self._scheme, self._chance(work))
            self._tables[work.id] = table
            self._table_bytes += table_size(table)
            while len(self._tables) > 1 and self._table_bytes > MAX_TABLES:
                self._table_bytes -= table_size(self._tables.popitem(last=False)[1])
        return self._tables[work.id]

    def _numbers(self, work: Work) -> "Numbers":
        from mstore.numerics.rounding import Numbers  # noqa: PLC0415 - as above

        content = self._reader.content(work.tensor)
        return Numbers(work.tensor.dtype, work.tensor.shape, content)

    def _note(self, work: Work, rounded: "Rounded") -> None:
        found = TensorError(
            path=work.path,
            name=work.name,
            dtype=work.tensor.dtype,
            bytes_before=tensor_size(work.tensor.dtype, work.tensor.shape),
            bytes_after=sum(member.size for member in work.members),
            error=rounded.error,
            relative_error=rounded.error / rounded.magnitude if rounded.magnitude else 0.0,
            clamped=rounded.clamped,
        )
        self.errors[work.key] = found
        self._clamped += found.clamped
        self._worst = min(self._worst or found, found, key=by_error)
        self._worst_relative = min(self._worst_relative or found, found, key=by_relative_error)
        self.record["tensors"] = len(self.errors)
        self.record["max_error"] = self._worst.error
        self.record["max_error_in"] = self._worst.name
        self.record["max_relative_error"] = self._worst_relative.relative_error
        self.record["max_relative_error_in"] = self._worst_relative.name
        if self._clamped:
            self.record["clamped"] = self._clamped

    def _chance(self, work: Work) -> int:
        """A seed for each content: equal tensors stay equal, and are stored once."""
        text = f"{self._scheme.seed} {work.id}".encode()
        return int.from_bytes(blake3(text).digest(length=16), "little")


@contextmanager
def _named(work: Work, scheme: Scheme) -> Iterator[None]:
    """Says which tensor it is that a scheme cannot hold."""
    try:
        yield
    except InvalidInputError as error:
        hint = "leave it out with --exclude, or take another scheme"
        if scheme.dtype is not None:
            hint = f"clamp them with --clamp, or {hint}"
        raise InvalidInputError(f"tensor '{work.name}' holds {error}", hint=hint) from error


def _record(source: ObjectId, scheme: Scheme) -> dict[str, Value]:
    """What the new version says of itself, before its tensors are known."""
    found: dict[str, Value] = {
        "from": str(source),
        "scheme": scheme.name,
        "rounding": scheme.rounding,
    }
    if scheme.is_table:
        found |= {"codebook": scheme.codebook, "per_channel": scheme.per_channel}
    if scheme.used_seed is not None:
        found["seed"] = scheme.seed
    return found
