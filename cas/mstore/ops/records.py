"""The records of a version for people to look at: its code, its environment and its logs."""

import struct
from typing import NamedTuple

from mstore.objects import Code, Environment, Log, Version
from mstore.parts import Parts

_NUMBER = 8
"""Bytes of a step and of a value of a series (SPEC §6.9)."""


class CodeRow(NamedTuple):
    """The code of a version, but for the patch itself; ``dirty`` when it was not the commit's."""

    commit: str
    branch: str
    remote: str
    folder: str
    tree: str
    dirty: bool
    patch_bytes: int
    omitted: str


class SeriesRow(NamedTuple):
    """One quantity of a training log: how many numbers, and the last of them."""

    name: str
    numbers: int
    last_step: int
    last_value: float


class LogSummary(NamedTuple):
    """A training log: what wrote it, and what is in it."""

    source: str
    series: tuple[SeriesRow, ...]


def code_row(parts: Parts, version: Version) -> CodeRow | None:
    """The code that a version was made with, if it was taken down."""
    code = None if version.code is None else parts.odb.record(version.code)
    if not isinstance(code, Code):
        return None
    return CodeRow(
        commit=code.commit,
        branch=code.branch,
        remote=code.remote,
        folder=code.folder,
        tree=code.tree,
        dirty=bool(code.patch or code.omitted),
        patch_bytes=len(code.patch),
        omitted=code.omitted,
    )


def environment_of(parts: Parts, version: Version) -> Environment | None:
    """Where a version was made, if it was taken down."""
    found = None if version.environment is None else parts.odb.record(version.environment)
    return found if isinstance(found, Environment) else None


def log_summary(parts: Parts, oid: bytes) -> LogSummary:
    """What a training log holds."""
    log = parts.odb.record(oid)
    if not isinstance(log, Log):
        return LogSummary("", ())
    rows = (
        SeriesRow(
            series.name,
            len(series.steps) // _NUMBER,
            *struct.unpack("<q", series.steps[-_NUMBER:]),
            *struct.unpack("<d", series.values[-_NUMBER:]),
        )
        for series in log.series
        if series.steps
    )
    return LogSummary(log.source, tuple(rows))
