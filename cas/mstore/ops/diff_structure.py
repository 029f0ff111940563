"""What differs between two models before any number is read: names, shapes, files, settings.

Tensors are paired by their names; those left over by their ids, which is a pure rename; and those
still left over by what stays of their names without the prefixes that all of each side share.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.numerics.seams import natural
from mstore.objects import OpaqueFile, Value, Version
from mstore.ops.diff_sides import Side, SideTensor
from mstore.ops.walk import FoundFile

MAX_SETTINGS = 1 << 20
"""Bytes of the largest JSON file that is compared key by key."""
MAX_DEPTH = 64
"""Objects and lists inside one another, from which on a JSON file is not taken for settings."""

Change = Literal["added", "removed", "changed"]
FileState = Literal["added", "removed", "changed", "renamed"]

_FIELDS = ("task",)
_LISTS = ("tags", "datasets")
_MAPS = ("parameters", "metrics", "metadata")


class Pair(NamedTuple):
    """A tensor here and there; one of the two is None where it was added or removed."""

    base: SideTensor | None
    other: SideTensor | None


class FileChange(Struct, frozen=True):
    """A file that is not on both sides alike. ``base_path`` differs when it was renamed."""

    state: FileState
    base_path: str | None
    path: str | None
    base_size_bytes: int | None
    size_bytes: int | None


class ValueChange(Struct, frozen=True):
    """A setting that differs: ``key`` of ``subject``, which is a JSON file or a field.

    Nested keys are joined with dots. A value that is not there is None.
    """

    subject: str
    key: str
    state: Change
    before: Value
    after: Value


class Alignment(Struct, frozen=True):
    """``moved`` of ``width`` neurons were put elsewhere before comparing these tensors."""

    width: int
    moved: int
    tensors: tuple[str, ...]


def pair_tensors(base: Side, other: Side) -> list[Pair]:
    """Every tensor of both sides once, in the order of the other side, then what was removed."""
    found = {key: key for key in other.tensors if key in base.tensors}
    found |= _renamed(base.tensors, other.tensors, found)
    found |= _prefixed(base.tensors, other.tensors, found)
    taken = set(found.values())
    pairs = [
        Pair(base.tensors.get(found.get(key, "")), tensor) for key, tensor in other.tensors.items()
    ]
    return [
        *pairs,
        *(Pair(tensor, None) for key, tensor in base.tensors.items() if key not in taken),
    ]


def _left(
    base: Mapping[str, SideTensor], other: Mapping[str, SideTensor], found: Mapping[str, str]
) -> tuple[list[SideTensor], list[SideTensor]]:
    taken = set(found.values())
    here = (tensor for key, tensor in base.items() if key not in taken)
    there = (tensor for key, tensor in other.items() if key not in found)
    return sorted(here, key=_by_name), sorted(there, key=_by_name)


def _by_name(tensor: SideTensor) -> tuple[tuple[int, str], ...]:
    return natural(tensor.key)


def _renamed(
    base: Mapping[str, SideTensor], other: Mapping[str, SideTensor], found: Mapping[str, str]
) -> dict[str, str]:
    """Tensors of the same id; where several have it, in the order of their names."""
    here, there = _left(base, other, found)
    by_id = defaultdict(list)
    for tensor in reversed(here):
        by_id[tensor.id].append(tensor.key)
    return {tensor.key: by_id[tensor.id].pop() for tensor in there if by_id[tensor.id]}


def _prefixed(
    base: Mapping[str, SideTensor], other: Mapping[str, SideTensor], found: Mapping[str, str]
) -> dict[str, str]:
    here, there = _left(base, other, found)
    # The prefix is that of the whole side: what is left may share more by chance.
    cuts = [shared_prefix(side) for side in (base, other)]
    short = {tensor.key[cuts[0] :]: tensor for tensor in here}
    pairs = ((tensor, short.get(tensor.key[cuts[1] :])) for tensor in there)
    return {
        tensor.key: match.key
        for tensor, match in pairs
        if match is not None and match.tensor.shape == tensor.tensor.shape
    }


def shared_prefix(names: Collection[str]) -> int:
    """Characters of the dotted prefix that all names have; 0 for fewer than two."""
    split = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))
    return sum(len(parts[0]) + 1 for parts in shared) if len(names) > 1 else 0


def file_changes(base: Side, other: Side) -> list[FileChange]:
    """The files that are not alike, by name."""
    if base.single and other.single:
        (first,), (second,) = base.files.values(), other.files.values()
        if first.id == second.id:
            return []
        return [_file_change("changed", first, second)]
    here, there = dict(base.files), dict(other.files)
    found = [
        _file_change("changed", here[path], there[path])
        for path in here.keys() & there.keys()
        if (here[path].id, here[path].type) != (there[path].id, there[path].type)
    ]
    here, there = _without(here, other.files), _without(there, base.files)
    by_id = {file.id: path for path, file in here.items()}
    for path in sorted(there):
        moved = by_id.pop(there[path].id, None)
        first_here = here.pop(moved) if moved is not None else None
        state: FileState = "added" if first_here is None else "renamed"
        found.append(_file_change(state, first_here, there[path]))
    found += [_file_change("removed", file, None) for file in here.values()]
    return sorted(found, key=lambda change: change.path or change.base_path or "")


def _without(files: Mapping[str, FoundFile], others: Collection[str]) -> dict[str, FoundFile]:
    return {path: file for path, file in files.items() if path not in others}


def _file_change(state: FileState, base: FoundFile | None, other: FoundFile | None) -> FileChange:
    return FileChange(
        state,
        base.path if base else None,
        other.path if other else None,
        base.file.size if base else None,
        other.file.size if other else None,
    )


def value_changes(base: Side, other: Side) -> list[ValueChange]:
    """What differs in JSON files and safetensors metadata, then in what versions say."""
    return [*_settings(base, other), *_said(base.described, other.described)]


def _settings(base: Side, other: Side) -> Iterator[ValueChange]:
    for path in sorted(base.files.keys() & other.files.keys()):
        if base.files[path].id != other.files[path].id:
            yield from _file_settings(base, other, path, path)
    if base.single and other.single:
        (first,), (second,) = base.files, other.files
        if first != second:
            yield from _file_settings(base, other, first, second)


def _file_settings(base: Side, other: Side, path: str, other_path: str) -> Iterator[ValueChange]:
    subject = f"{other_path} metadata"
    yield from _changes(subject, base.metadata(path), other.metadata(other_path))
    before, after = _parsed(base, path), _parsed(other, other_path)
    if before is not None and after is not None:
        yield from _changes(other_path, _flat(before), _flat(after))


def _parsed(side: Side, path: str) -> dict[str, Value] | None:
    """The object in a JSON file; None where it is none, or too large to be settings."""
    file = side.files[path].file
    if not path.endswith(".json") or not isinstance(file, OpaqueFile) or file.size > MAX_SETTINGS:
        return None
    try:
        found = json.loads(side.content(path))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _is_shallow(found) else None


def _is_shallow(value: Value) -> bool:
    """Whether nothing is nested deeper than settings are."""
    level: list[Value] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: Value) -> Iterable[Value]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _flat(value: Mapping[str, Value]) -> dict[str, Value]:
    """The values of nested objects by their keys with dots between."""
    found: dict[str, Value] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= {f"{key}.{name}": leaf for name, leaf in _flat(inner).items()}
        else:
            found[key] = inner
    return found


def _said(base: Version | None, other: Version | None) -> Iterator[ValueChange]:
    if base is None or other is None:
        return
    for name in _FIELDS:
        yield from _changes(name, _field(base, name), _field(other, name))
    for name in _LISTS:
        yield from _list_changes(name, getattr(base, name), getattr(other, name))
    for name in _MAPS:
        yield from _changes(name, _flat(getattr(base, name)), _flat(getattr(other, name)))


def _field(version: Version, name: str) -> dict[str, Value]:
    value: str = getattr(version, name)
    return {name: value} if value else {}


def _list_changes(
    subject: str, before: Iterable[str], after: Iterable[str]
) -> Iterator[ValueChange]:
    old, new = dict.fromkeys(before, None), dict.fromkeys(after, None)
    for text in old:
        if text not in new:
            yield ValueChange(subject, text, "removed", text, None)
    for text in new:
        if text not in old:
            yield ValueChange(subject, text, "added", None, text)


def _changes(
    subject: str, before: Mapping[str, Value], after: Mapping[str, Value]
) -> Iterator[ValueChange]:
    for key in sorted({*before, *after}):
        if key not in after:
            yield ValueChange(subject, key, "removed", before[key], None)
        elif key not in before:
            yield ValueChange(subject, key, "added", None, after[key])
        elif not _same(before[key], after[key]):
            yield ValueChange(subject, key, "changed", before[key], after[key])


def _same(first: Value, second: Value) -> bool:
    """Equal as JSON says it: 1 is neither true nor 1.0, and a NaN is equal to itself."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
