"""``mstore show``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.origin import captured, details
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.notes import NoteRow
    from mstore.objects import Version
    from mstore.ops.describe import Shown


@verb("show", "mstore show lenet@3", "mstore desc prod --json", "mstore desc lenet --code")
@click.argument("revision", metavar="REV", type=Revision())
@click.option("--code", is_flag=True, help="Show only the code that it was made with.")
@click.option("--environment", is_flag=True, help="Show only what it was made on and with.")
def command(run: Run, *, revision: str, code: bool, environment: bool) -> None:
    """Show everything known about a version (also: desc)."""
    shown = run.store().show(revision)
    if code or environment:
        run.answer(shown, lambda shown: details(shown, code=code, environment=environment))
    else:
        run.answer(shown, _text)


def _text(shown: "Shown") -> Iterator[render.Part]:
    version = shown.version
    labels = ", ".join(shown.names)
    yield f"version {shown.id}" + (f" ({labels})" if labels else "")
    yield from _lines(
        ("state", "" if shown.state == "kept" else shown.state),
        ("tags", ", ".join(shown.tags)),
        ("author", version.author),
        ("time", render.local_time(version.time)),
        ("task", version.task),
        ("datasets", ", ".join(version.datasets)),
        ("size", render.size(version.size)),
        ("tensors", str(version.tensor_count)),
        ("model hash", version.model_hash.hex() if version.model_hash else ""),
    )
    for kin in shown.parents:
        name = f" ({kin.label})" if kin.label else ""
        origin = f"{kin.relation} from"
        yield f"{origin:<16}{render.short(kin.id)}{name}"
    if version.message:
        yield ""
        yield from (f"    {line}" for line in version.message.split("\n"))
    yield from captured(shown)
    yield from _said(version)
    yield from _notes(shown.notes)
    yield ""
    yield _files(shown)


def _said(version: "Version") -> Iterator[render.Part]:
    for title in ("parameters", "metrics", "metadata"):
        values = getattr(version, title)
        if values:
            yield ""
            yield title
            yield from (f"  {key} = {_value(value)}" for key, value in sorted(values.items()))


def _notes(notes: "Sequence[NoteRow]") -> Iterator[render.Part]:
    from mstore.notes import qualified  # noqa: PLC0415 (only when a version is shown)

    if notes:
        yield ""
        yield "notes"
    for oid, note in notes:
        said = " by ".join(word for word in (render.local_time(note.time), note.author) if word)
        topic = f" ({note.topic})" if note.topic else ""
        yield f"  {render.short(oid)}  {said}{topic}"
        step = "" if note.step is None else f" at step {note.step}"
        for name, value in sorted(note.metrics.items()):
            yield f"    {qualified(note, name)} = {render.compact(value)}{step}"
        if note.tags:
            yield f"    tags {', '.join(note.tags)}"
        yield from (f"    {key} = {_value(value)}" for key, value in sorted(note.metadata.items()))
        yield from (f"    {line}" for line in note.message.split("\n") if line)


def _value(value: object) -> str:
    return value if isinstance(value, str) else render.compact(value)


def _files(shown: "Shown") -> render.Table:
    rows = [
        (
            file.path + ("*" if file.type == "executable" else ""),
            render.size(file.size_bytes),
            str(file.tensors or ""),
            render.short(file.id),
        )
        for file in shown.files
    ]
    headers = ("FILE", "SIZE", "TENSORS", "HASH")
    return render.Table(headers, rows, frozenset({"SIZE", "TENSORS"}))


def _lines(*pairs: tuple[str, str]) -> Iterator[str]:
    return (f"{key:<16}{value}" for key, value in pairs if value)
