"""``mstore show``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.drawing import number, spark
from mstore_cli.html import html_options, write_page
from mstore_cli.origin import captured, details
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore import Store
    from mstore.ids import ObjectId
    from mstore.notes import NoteRow
    from mstore.numerics.spread import Spread
    from mstore.objects import Version
    from mstore.ops.curves import Curve
    from mstore.ops.describe import Shown, TensorRow
    from mstore.ops.estimate import Estimate
    from mstore.ops.overview import Layer, Overview

    Spreads = Mapping[ObjectId, Spread]

READ_FOR_PAGE = 1 << 30
"""Bytes of a version whose histograms are always in its page; of a larger one on request."""
_LAYERS = 24
"""Layers that are shown without ``--all``."""
_SPARK = 20


@verb(
    "show",
    "mstore show lenet@3",
    "mstore show lenet --html lenet.html",
    "mstore desc lenet --code",
    "mstore desc prod --json",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.option("--code", is_flag=True, help="Show only the code that it was made with.")
@click.option("--environment", is_flag=True, help="Show only what it was made on and with.")
@click.option("--all", "everything", is_flag=True, help="Every layer and every package.")
@click.option("--histograms", is_flag=True, help="Read the weights and show how they are spread.")
@html_options
def command(
    run: Run,
    *,
    revision: str,
    code: bool,
    environment: bool,
    everything: bool,
    histograms: bool,
    html: Path | None,
    force: bool,
) -> None:
    """Show everything known about a version (also: desc).

    A page has histograms of the weights of versions up to 1 GiB; --histograms reads larger ones.
    """
    store = run.store()
    found = store.overview(revision)
    spreads = _spreads(store, found, wanted=histograms, for_page=html is not None)
    page = write_page(html, lambda: _page(store, found, spreads), force=force)
    tensors = store.tensors(str(found.shown.id)) if histograms else []
    run.answer(
        found,
        lambda found: (
            details(found.shown, code=code, environment=environment)
            if code or environment
            else _text(found, tensors, spreads, page, everything=everything)
        ),
        **_fields(found, spreads if histograms else None, page),
    )


def _spreads(store: "Store", found: "Overview", *, wanted: bool, for_page: bool) -> "Spreads":
    from mstore.errors import NotFoundError  # noqa: PLC0415 (the library is loaded by now)

    oid = str(found.shown.id)
    if wanted:
        return store.spreads(oid)
    if not for_page or found.shown.version.size > READ_FOR_PAGE:
        return {}
    try:
        return store.spreads(oid)
    except NotFoundError:
        # The bytes were stripped or lie elsewhere: the page has all that is known without them.
        return {}


def _page(store: "Store", found: "Overview", spreads: "Spreads") -> str:
    from mstore.errors import NotFoundError  # noqa: PLC0415 (the library is loaded by now)
    from mstore.report.pages import version_page  # noqa: PLC0415 (only when a page is wanted)

    history: Sequence[Curve] = ()
    if found.shown.names:
        try:
            history = store.curves(found.shown.names[0].partition("@")[0])
        except NotFoundError:
            history = ()
    kept = [curve for curve in history if curve.source == "versions"]
    return version_page(found, store.tensors(str(found.shown.id)), spreads, kept)


def _fields(found: "Overview", spreads: "Spreads | None", page: str | None) -> dict[str, object]:
    told = {name: value for name, value in render.jsonable(found).items() if name != "shown"}
    rows = None if spreads is None else {str(oid): spread for oid, spread in spreads.items()}
    return {**render.jsonable(found.shown), **told, "spreads": rows, "html": page}


def _text(
    found: "Overview",
    tensors: "Sequence[TensorRow]",
    spreads: "Spreads",
    page: str | None,
    *,
    everything: bool,
) -> Iterator[render.Part]:
    shown = found.shown
    yield from _head(found)
    if not everything:
        yield from captured(shown)
    yield from _message(shown.version)
    yield from _said(shown.version)
    yield from _notes(shown.notes)
    if everything and (shown.code is not None or shown.environment is not None):
        yield ""
        yield from details(shown, code=True, environment=True)
    if found.curves:
        yield ""
        yield _curves(found.curves)
    if len(found.layers) > 1:
        yield ""
        yield from _layers(found, everything=everything)
    if tensors:
        yield ""
        yield _tensors(tensors, spreads)
    yield ""
    yield _files(shown)
    if page:
        yield f"written to {page}"


def _head(found: "Overview") -> Iterator[render.Part]:
    shown, version = found.shown, found.shown.version
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
        ("parameters", f"{found.parameter_count:,}" if version.tensor_count else ""),
        ("memory", _memory(found.footprint)),
        ("model hash", version.model_hash.hex() if version.model_hash else ""),
    )
    for kin in shown.parents:
        name = f" ({kin.label})" if kin.label else ""
        origin = f"{kin.relation} from"
        yield f"{origin:<16}{render.short(kin.id)}{name}"


def _message(version: "Version") -> Iterator[render.Part]:
    if version.message:
        yield ""
        yield from (f"    {line}" for line in version.message.split("\n"))


def _memory(found: "Estimate") -> str:
    """What running it takes, where that is known; ``mstore estimate`` says more."""
    from mstore.units import format_quantity  # noqa: PLC0415 (only when a version is shown)

    if found.memory_bytes is None:
        return ""
    words = [render.size(found.memory_bytes)]
    if found.flops is not None:
        words.append(f"{format_quantity(found.flops, 'operations', digits=3)} a pass")
    if found.seconds is not None:
        words.append(format_quantity(found.seconds, "seconds", digits=3))
    return ", ".join(words)


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


def _curves(curves: "Sequence[Curve]") -> render.Table:
    rows = [
        (
            curve.metric,
            number(curve.values[-1]) if curve.values else "",
            "" if curve.best is None else number(curve.values[curve.best]),
            "" if curve.best is None else str(curve.steps[curve.best]),
            str(len(curve.values)),
            curve.source,
        )
        for curve in curves
    ]
    headers = ("SERIES", "LAST", "BEST", "AT", "POINTS", "FROM")
    return render.Table(headers, rows, frozenset(headers[1:5]), ("FROM", "POINTS"))


def _layers(found: "Overview", *, everything: bool) -> Iterator[render.Part]:
    layers = found.layers if everything else found.layers[:_LAYERS]
    rows = [_layer(layer, found.parameter_count) for layer in layers]
    rest = found.layers[len(layers) :]
    if rest:
        left = sum(layer.parameter_count for layer in rest)
        rows.append((f"{len(rest)} more (--all)", "", f"{left:,}", "", ""))
    total = sum(layer.tensors for layer in found.layers)
    size = render.size(sum(layer.size_bytes for layer in found.layers))
    rows.append(("total", str(total), f"{found.parameter_count:,}", size, ""))
    headers = ("LAYER", "TENSORS", "PARAMS", "SIZE", "SHARE")
    yield render.Table(headers, rows, frozenset(headers[1:]), ("TENSORS", "SHARE"))


def _layer(layer: "Layer", total: int) -> tuple[str, ...]:
    share = 100 * layer.parameter_count / total if total else 0.0
    return (
        layer.name,
        str(layer.tensors),
        f"{layer.parameter_count:,}",
        render.size(layer.size_bytes),
        f"{share:.1f} %",
    )


def _tensors(tensors: "Sequence[TensorRow]", spreads: "Spreads") -> render.Table:
    rows = [
        (
            row.name,
            row.dtype,
            "x".join(map(str, row.shape)) or "scalar",
            *_spread(spreads.get(row.id)),
        )
        for row in tensors
    ]
    numbers = ("LEAST", "MEAN", "DEVIATION", "GREATEST", "ZEROS")
    headers = ("TENSOR", "DTYPE", "SHAPE", *numbers, "SPREAD")
    spare = ("DTYPE", "ZEROS", "SHAPE", "DEVIATION", "GREATEST", "LEAST")
    return render.Table(headers, rows, frozenset(numbers), spare)


def _spread(spread: "Spread | None") -> tuple[str, ...]:
    if spread is None or spread.mean is None:
        return ("",) * 6
    figures = (spread.least, spread.mean, spread.deviation, spread.greatest)
    odd = spread.nans + spread.infinities
    picture = spark(spread.bins, _SPARK)
    return (
        *("" if figure is None else number(figure) for figure in figures),
        f"{100 * spread.zeros / spread.elements:.3g} %",
        (picture if render.can_say(picture) else "") + (f" {odd:,} not finite" if odd else ""),
    )


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
