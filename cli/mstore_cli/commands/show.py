"""``mstore show``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.objects import Version
    from mstore.ops.describe import Shown


@verb("show", "mstore show lenet@3", "mstore desc prod --json")
@click.argument("revision", metavar="REV", type=Revision())
def command(run: Run, *, revision: str) -> None:
    """Show everything known about a version (also: desc)."""
    run.answer(run.store().show(revision), _text)


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
    yield from _said(version)
    yield ""
    yield _files(shown)


def _said(version: "Version") -> Iterator[render.Part]:
    for title in ("parameters", "metrics", "metadata"):
        values = getattr(version, title)
        if values:
            yield ""
            yield title
            yield from (f"  {key} = {_value(value)}" for key, value in sorted(values.items()))


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
