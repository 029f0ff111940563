"""How a version was made, and what was said of it later."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mstore.report.frame import Section
from mstore.report.markup import Child, Markup, tag
from mstore.report.numbers import number, size
from mstore.report.tables import Cell, Column, Grid, pairs, table
from mstore.report.texts import shown_time, shown_value

if TYPE_CHECKING:
    from mstore.notes import NoteRow
    from mstore.objects import Environment, Note
    from mstore.ops.overview import Overview
    from mstore.ops.records import CodeRow


def origin_sections(found: "Overview") -> list[Section]:
    """The code and the environment, as far as they are known."""
    sections = []
    if found.shown.code is not None:
        sections.append(Section("code", "Code", _code(found.shown.code)))
    if found.shown.environment is not None:
        made_on = _environment(found.shown.environment)
        sections.append(Section("environment", "Environment", made_on))
    return sections


def note_sections(notes: Sequence["NoteRow"]) -> list[Section]:
    """What was said later, oldest first."""
    if not notes:
        return []
    columns = [
        Column("said", is_whole=True),
        Column("by"),
        Column("topic"),
        Column("data set"),
        Column("results"),
        Column("message"),
    ]
    rows = [_note(note) for _, note in notes]
    grid = Grid("notes", columns, rows, is_sortable=len(rows) > 1)
    return [Section("notes", "Notes", table(grid), f"{len(notes):,}")]


def _note(note: "Note") -> list[Cell]:
    dataset = f"{note.dataset}:{note.split}" if note.split else note.dataset
    step = "" if note.step is None else f" at step {note.step:,}"
    results = ", ".join(f"{name} {number(value)}" for name, value in sorted(note.metrics.items()))
    return [
        Cell(shown_time(note.time), note.time),
        Cell(note.author),
        Cell(note.topic),
        Cell(dataset),
        Cell(f"{results}{step}"),
        Cell([note.message, *(tag("span", name, class_="tag") for name in note.tags)]),
    ]


def _code(code: "CodeRow") -> Markup:
    patch = size(code.patch_bytes) if code.patch_bytes else "none"
    rows: list[tuple[str, Child]] = [
        ("commit", tag("code", code.commit or "none")),
        ("branch", code.branch),
        ("remote", code.remote),
        ("folder", code.folder),
        ("patch", code.omitted or patch),
    ]
    return pairs("code", [row for row in rows if row[1]])


def _environment(found: "Environment") -> Markup:
    rows: list[tuple[str, Child]] = [
        ("Python", found.python),
        ("platform", found.platform),
        *((name, shown_value(value)) for name, value in sorted(found.hardware.items())),
        *((f"seed of {name}", f"{seed}") for name, seed in sorted(found.seeds.items())),
        ("command", tag("code", " ".join(found.command)) if found.command else None),
    ]
    return tag(
        "div",
        pairs("environment", [row for row in rows if row[1]]),
        _packages(found.packages) if found.packages else None,
    )


def _packages(packages: Mapping[str, str]) -> Markup:
    rows = [[Cell(name), Cell(version)] for name, version in sorted(packages.items())]
    grid = Grid("packages", [Column("package"), Column("version")], rows, is_compact=True)
    noun = "package" if len(rows) == 1 else "packages"
    return tag("details", tag("summary", f"{len(rows):,} {noun}"), table(grid))
