"""The plan of an adoption: which versions a folder gives, and what could not be known.

Versions of one run stand in the order of their steps; what has none stands last, by its time.
"""

import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from msgspec import Struct, field

from mstore.capture.logs import parse_log
from mstore.errors import InvalidInputError
from mstore.importers.sheets import Said, read_sheet
from mstore.importers.survey import Found, Survey
from mstore.objects import Log, Series
from mstore.ops.description_file import read_description

MAX_LOGS: Final = 64
"""Logs of one version, as ``put`` allows."""
_RANK: Final = {"step": 0, "epoch": 0, "number": 0, "version": 0, "": 1}


class Unsure(NamedTuple):
    """A file, and what could not be known of it."""

    path: PurePosixPath
    reason: str


class Planned(Struct, frozen=True):
    """One version to be: of ``model``, from ``found``."""

    model: str
    found: Found
    logs: tuple[PurePosixPath, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """The versions of each model in their order; ``left`` are files that are no models."""

    top: Path
    versions: list[Planned]
    unsure: list[Unsure]
    left: list[PurePosixPath]


def plan_adoption(found: Survey, prefix: str = "") -> Plan:
    """Decide what becomes of what was found; names of models begin with ``prefix``."""
    unsure = [Unsure(*pair) for pair in found.unsure]
    left = list(found.left)
    runs = _runs(found.checkpoints, unsure)
    rows, logs = _read_sheets(found, unsure)
    params = _read_tables(found.top, found.settings, left)
    results = _results_of(found, _read_tables(found.top, found.results, left))
    parsed = _read_logs(found, [*logs, *found.logs], unsure, left)
    owners = _owners(runs, parsed, unsure)
    versions = []
    for name, units in runs.items():
        own = {path: log for path, log in parsed.items() if name in owners.get(path, ())}
        for unit in units:
            kept = _logs_of(unit, units, own)
            said = _said(unit, rows.get(unit.path), params, own.values())
            said["metrics"] = {**results[unit.path], **said["metrics"]}
            versions.append(Planned(f"{prefix}{name}", unit, kept, said))
    return Plan(found.top, versions, unsure, left)


def _runs(checkpoints: Iterable[Found], unsure: list[Unsure]) -> dict[str, list[Found]]:
    runs: dict[str, list[Found]] = {}
    for unit in checkpoints:
        runs.setdefault(unit.guess.name, []).append(unit)
    for name, units in runs.items():
        units.sort(key=_place)
        if len({unit.guess.kind for unit in units} - {""}) > 1:
            reason = f"'{name}' counts in different ways: its versions are ordered by their numbers"
            unsure.append(Unsure(units[0].path, reason))
        for before, unit in zip([None, *units], units, strict=False):
            reason = _doubt(unit, before, alone=len(units) == 1)
            if reason:
                unsure.append(Unsure(unit.path, reason))
    return runs


def _logs_of(
    unit: Found, units: list[Found], logs: Collection[PurePosixPath]
) -> tuple[PurePosixPath, ...]:
    """The logs inside a checkpoint; of a whole run those that are in none, with its last one."""
    inside = [log for log in logs if log.is_relative_to(unit.path)]
    if unit is units[-1]:
        inside += [log for log in logs if not any(log.is_relative_to(u.path) for u in units)]
    return tuple(inside[:MAX_LOGS])


def _place(unit: Found) -> tuple[int, int, float, PurePosixPath]:
    number = unit.guess.number or 0
    return _RANK[unit.guess.kind], number, unit.modified, unit.path


def _doubt(unit: Found, before: Found | None, *, alone: bool) -> str:
    said = unit.guess
    if said.number is None and not alone:
        word = f" ('{said.word}')" if said.word else ""
        return f"no step is in its name{word}: it was put last in '{said.name}', by its time"
    twice = before is not None and said.number is not None and said.number == before.guess.number
    if twice:
        return f"{said.kind} {said.number} of '{said.name}' is there twice: both were taken"
    return ""


def _read_sheets(
    found: Survey, unsure: list[Unsure]
) -> tuple[dict[PurePosixPath, Said], list[PurePosixPath]]:
    """What sheets say of checkpoints, the first that says it; CSV files that are no sheets."""
    rows: dict[PurePosixPath, Said] = {}
    others: list[PurePosixPath] = []
    for path in found.sheets:
        try:
            sheet = read_sheet(found.top / path, found.checkpoints)
        except (InvalidInputError, OSError) as error:
            unsure.append(Unsure(path, str(error)))
            continue
        if sheet is None:
            others.append(path)
            continue
        rows = {**sheet.rows, **rows}
        unsure.extend(Unsure(path, reason) for reason in sheet.unsure)
    return rows, others


def _read_tables(
    top: Path, paths: Iterable[PurePosixPath], left: list[PurePosixPath]
) -> dict[PurePosixPath, dict[str, Any]]:
    """The names and values that settings or results give, by their folder."""
    tables: dict[PurePosixPath, dict[str, Any]] = {}
    for path in paths:
        try:
            said = read_description(top / path)
        except (InvalidInputError, OSError):
            left.append(path)
            continue
        given = {**said.get("metadata", {}), **said.get("params", {}), **said.get("metrics", {})}
        tables.setdefault(path.parent, {}).update(given)
    return tables


def _results_of(
    found: Survey, tables: Mapping[PurePosixPath, Mapping[str, Any]]
) -> dict[PurePosixPath, dict[str, float]]:
    """The numbers in a checkpoint's own file of results; in a shared folder it is of nobody."""
    folders = Counter(unit.path.parent for unit in found.checkpoints)
    results: dict[PurePosixPath, dict[str, float]] = {}
    for unit in found.checkpoints:
        alone = folders[unit.path.parent] == 1
        table = tables.get(unit.path) or (tables.get(unit.path.parent, {}) if alone else {})
        results[unit.path] = {
            name: value
            for name, value in table.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return results


def _read_logs(
    found: Survey,
    paths: Iterable[PurePosixPath],
    unsure: list[Unsure],
    left: list[PurePosixPath],
) -> dict[PurePosixPath, Log]:
    parsed: dict[PurePosixPath, Log] = {}
    for path in paths:
        try:
            read = parse_log(found.top / path)
        except InvalidInputError:
            left.append(path)
            continue
        parsed[path] = read.log
        if read.remark:
            unsure.append(Unsure(path, read.remark))
    return parsed


def _owners(
    runs: Mapping[str, list[Found]], logs: Iterable[PurePosixPath], unsure: list[Unsure]
) -> dict[PurePosixPath, tuple[str, ...]]:
    """The run that each log is of: by its name, else the only one around it."""
    owners: dict[PurePosixPath, tuple[str, ...]] = {}
    for path in logs:
        near = _nearest(runs, path.parent)
        named = [name for name in near if path.stem.startswith(name.rpartition("/")[2])]
        found = named if len(named) == 1 else near
        if len(found) == 1:
            owners[path] = (found[0],)
        else:
            shown = ", ".join(f"'{name}'" for name in found[:3]) or "none"
            unsure.append(Unsure(path, f"left out: which run it is of is not clear ({shown})"))
    return owners


def _nearest(runs: Mapping[str, list[Found]], folder: PurePosixPath) -> list[str]:
    """The runs with a checkpoint in or below the nearest folder upwards that has any."""
    for place in (folder, *folder.parents):
        near = [name for name, units in runs.items() if any(place in u.path.parents for u in units)]
        if near:
            return near
    return []


def _said(
    unit: Found,
    row: Said | None,
    settings: Mapping[PurePosixPath, Mapping[str, Any]],
    logs: Iterable[Log],
) -> dict[str, Any]:
    """The arguments of ``Store.put`` that are known of a version."""
    guess = unit.guess
    near = next((settings[p] for p in (unit.path, *unit.path.parents) if p in settings), {})
    at_step = _metrics_at(logs, guess.number) if guess.kind == "step" else {}
    metadata: dict[str, Any] = {guess.kind: guess.number} if guess.kind else {}
    return {
        "metrics": {**at_step, **(row.metrics if row else {})},
        "params": {**near, **(row.params if row else {})},
        "message": row.message if row else "",
        "metadata": {**metadata, "word": guess.word} if guess.word else metadata,
    }


def _metrics_at(logs: Iterable[Log], step: int | None) -> dict[str, float]:
    """What logs say of exactly one step."""
    found: dict[str, float] = {}
    for log in logs:
        for series in log.series:
            value = _value_at(series, step)
            if value is not None:
                found[series.name] = value
    return found


def _value_at(series: Series, step: int | None) -> float | None:
    steps = struct.iter_unpack("<q", series.steps)
    at = max((at for at, (found,) in enumerate(steps) if found == step), default=None)
    return None if at is None else float(struct.unpack_from("<d", series.values, at * 8)[0])
