"""From a version in the object database to the rows that the catalogue has of it."""

import math
import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from mstore.errors import CorruptError, NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.format.objects import parse_tensor_file
from mstore.ids import ObjectId
from mstore.objects import Log, Note, OpaqueFile, Series, TensorFile, Value, Version
from mstore.odb import ObjectDatabase
from mstore.ops.walk import FoundFile, split_ids, walk_files

Cell = None | bytes | float | str
Rows = dict[str, list[tuple[Cell, ...]]]
"""Rows by the name of their table (schema.sql)."""

MAX_CARD: Final = 64 << 10
"""Bytes of a model card that are searched for words."""
MAX_CARDS: Final = 4
_CARD = re.compile(r"(?:[^/]+/)?(?:readme|model[-_ ]?card)(?:\.(?:md|rst|txt))?", re.IGNORECASE)
_FRAMEWORKS: Final = {"pt": "pytorch", "tf": "tensorflow", "flax": "jax", "np": "numpy"}
"""What the writers of safetensors files put under "format" in their metadata."""
_MAX_INTEGER: Final = (1 << 63) - 1

_to_json = msgspec.json.Encoder(order="sorted").encode


class Described(NamedTuple):
    """What the catalogue says of a version, and the words of its model card."""

    rows: Rows
    card: str
    parents: tuple[bytes, ...]


class _Spec(NamedTuple):
    """A tensor of a file."""

    name: str
    tensor: bytes
    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def elements(self) -> int:
        return min(math.prod(self.shape), _MAX_INTEGER)


class _File(NamedTuple):
    """A file, its tensors and the framework that it says it is for."""

    found: FoundFile
    specs: tuple[_Spec, ...] = ()
    framework: str = ""


class _Curve(NamedTuple):
    """What is said of a series; its points stay in the log."""

    source: str
    name: str
    points: int
    steps: tuple[int | None, int | None]
    last: float
    extremes: tuple[float | None, float | None]
    time: int

    def row(self, oid: bytes, log: bytes) -> tuple[Cell, ...]:
        last = None if math.isnan(self.last) else self.last
        named = (oid, log, self.name, self.source, self.points)
        return (*named, *self.steps, last, *self.extremes)

    def metric(self, oid: bytes, log: bytes) -> tuple[Cell, ...]:
        return metric_row(
            oid,
            self.name,
            self.last,
            source="log-last",
            origin=log,
            step=self.steps[1],
            time=self.time,
        )


class Describer:
    """Describes versions one after another; what they share is looked at once.

    The tensors of ``known_files`` are taken to be listed.
    """

    def __init__(self, odb: ObjectDatabase, known_files: set[bytes]) -> None:
        self._odb = odb
        self._files = known_files
        self._logs: dict[bytes, tuple[_Curve, ...]] = {}

    def describe(self, oid: ObjectId) -> Described:
        """Everything that the tables have of a version, the tensors of its new files too.

        NotFoundError, CorruptError and UnsupportedError as the object database has them.
        """
        version = self._odb.version(oid)
        files = [_file(self._odb, found) for found in walk_files(self._odb, version.tree)]
        new = {item.found.id: item for item in files if item.found.id not in self._files}
        curves = [(log, curve) for log in version.logs for curve in self._curves(log)]
        rows: Rows = {
            "described": [_described_row(oid, version, files)],
            "lineage": [
                (oid, place, parent.id, parent.relation)
                for place, parent in enumerate(version.parents)
            ],
            "metric": [
                *(metric_row(oid, name, value) for name, value in version.metrics.items()),
                *(curve.metric(oid, log) for log, curve in curves if curve.points),
            ],
            "attribute": [
                *_attributes(oid, "parameter", version.parameters),
                *_attributes(oid, "metadata", version.metadata),
            ],
            "trait": _traits(oid, version, files),
            "used": [
                (oid, name, version.dataset_ids.get(name))
                for name in dict.fromkeys((*version.datasets, *version.dataset_ids))
            ],
            "file": [_file_row(oid, item.found) for item in files],
            "file_tensor": [row for item in new.values() for row in _tensor_rows(item)],
            "series": [curve.row(oid, log) for log, curve in curves],
        }
        self._files.update(new)
        parents = tuple(parent.id for parent in version.parents)
        return Described(rows, _card(self._odb, files), parents)

    def _curves(self, log: bytes) -> tuple["_Curve", ...]:
        if log not in self._logs:
            record = self._odb.record(log)
            found = record.series if isinstance(record, Log) else ()
            source = record.source if isinstance(record, Log) else ""
            self._logs[log] = tuple(_curve(source, series) for series in found)
        return self._logs[log]


def troubled(oid: bytes, reason: str) -> Described:
    """What is said of a version that cannot be read."""
    empty: tuple[Cell, ...] = (None, None, 0, 0, 0, 0, 0, 0, "", "", "", reason)
    return Described({"described": [(oid, *empty)]}, "", ())


def metric_row(
    oid: bytes,
    name: str,
    value: float,
    *,
    source: str = "version",
    origin: bytes = b"",
    note: Note | None = None,
    step: int | None = None,
    time: int = 0,
) -> tuple[Cell, ...]:
    """A metric's row (schema.sql). NaN is NULL, which SQLite would make of it anyway."""
    number = None if math.isnan(value) else value
    if note is None:
        return (oid, name, source, origin, number, "", "", step, "", "", time, 1)
    about = (note.dataset, note.split, note.step)
    return (oid, name, "note", origin, number, *about, note.topic, note.author, note.time, 1)


def _file(odb: ObjectDatabase, found: FoundFile) -> _File:
    if not isinstance(found.file, TensorFile):
        return _File(found)
    if found.file.format != "safetensors":
        specs = tuple(_spec(odb, *named) for named in found.file.tensors)
        return _File(found, specs, "pytorch" if found.file.format == "torch" else "")
    # The header says it at once; reading every tensor's own object takes ten times as long.
    header = parse_tensor_file(found.file)
    specs = tuple(
        _Spec(name, tensor, span.dtype, span.shape, span.stop - span.start)
        for (name, tensor), span in zip(found.file.tensors, header.spans, strict=True)
    )
    told = header.metadata.get("format", "")
    return _File(found, specs, _FRAMEWORKS.get(told, told))


def _spec(odb: ObjectDatabase, name: str, oid: bytes) -> _Spec:
    tensor = odb.tensor(oid)
    size = tensor_size(tensor.dtype, tensor.shape)
    return _Spec(name, oid, tensor.dtype, tensor.shape, size)


def _described_row(oid: bytes, version: Version, files: list[_File]) -> tuple[Cell, ...]:
    named = {(spec.name, spec.tensor): spec for item in files for spec in item.specs}
    return (
        oid,
        version.tree,
        version.model_hash,
        version.size,
        len(files),
        version.tensor_count,
        sum(spec.size for spec in named.values()),
        min(sum(spec.elements for spec in named.values()), _MAX_INTEGER),
        version.time,
        version.author,
        version.message,
        version.task,
        "",
    )


def _file_row(oid: bytes, found: FoundFile) -> tuple[Cell, ...]:
    return (oid, found.path, found.id, found.type, found.file.size)


def _tensor_rows(item: _File) -> Iterator[tuple[Cell, ...]]:
    for place, spec in enumerate(item.specs):
        named = (item.found.id, place, spec.name, spec.tensor)
        yield (*named, spec.dtype, _text(spec.shape), spec.elements, spec.size)


def _traits(oid: bytes, version: Version, files: list[_File]) -> list[tuple[Cell, ...]]:
    told = version.metadata.get("framework")
    found = {("label", tag) for tag in version.tags}
    found |= {("dtype", spec.dtype) for item in files for spec in item.specs}
    found |= {("format", _format(item.found)) for item in files}
    found |= {("framework", item.framework.lower()) for item in files}
    found |= {("framework", told.lower())} if isinstance(told, str) else set()
    return [(oid, kind, value, b"") for kind, value in sorted(found) if value]


def _format(found: FoundFile) -> str:
    if isinstance(found.file, TensorFile):
        return found.file.format
    name = found.path.rpartition("/")[2].lstrip(".")
    return name.rpartition(".")[2].lower() if "." in name else ""


def _curve(source: str, series: Series) -> _Curve:
    steps, values, times = array("q"), array("d"), array("q")
    for numbers, stored in ((steps, series.steps), (values, series.values), (times, series.times)):
        numbers.frombytes(stored)
        if sys.byteorder == "big":
            numbers.byteswap()
    finite = [value for value in values if not math.isnan(value)]
    return _Curve(
        source,
        series.name,
        len(values),
        (steps[0], steps[-1]) if steps else (None, None),
        values[-1] if values else math.nan,
        (min(finite), max(finite)) if finite else (None, None),
        times[-1] if times else 0,
    )


def _attributes(oid: bytes, kind: str, values: Mapping[str, Value]) -> Iterator[tuple[Cell, ...]]:
    """One row for each value, those of nested maps under ``outer.inner``."""
    waiting = list(values.items())[::-1]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [(f"{name}.{inner}", found) for inner, found in value.items()][::-1]
            continue
        yield (oid, kind, name, _text(value), _number(value), _words(value))


def _number(value: Value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _words(value: Value) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else None


def _text(value: object) -> str:
    return _to_json(value).decode()


def _card(odb: ObjectDatabase, files: Iterable[_File]) -> str:
    cards = [item.found.file for item in files if _CARD.fullmatch(item.found.path)]
    opaque = [file for file in cards if isinstance(file, OpaqueFile)]
    return "\n".join(_read_text(odb, file) for file in opaque[:MAX_CARDS])


def _read_text(odb: ObjectDatabase, file: OpaqueFile) -> str:
    """The beginning of a text; empty when its bytes are not here or not sound."""
    content = b""
    for chunk in split_ids(file.chunks):
        if len(content) >= MAX_CARD:
            break
        try:
            content += odb.read(chunk)
        except (NotFoundError, CorruptError):
            return ""
    return content[:MAX_CARD].decode("utf-8", "replace").replace("\0", " ")
