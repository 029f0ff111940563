"""``mstore tag``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import render, texts
from mstore_cli.parameters import Revision, TagName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.names import TagRow


@verb("tag", "mstore tag lenet@3 prod", "mstore tag", "mstore tag --delete prod")
@click.argument("revision", metavar="[REV", required=False, type=Revision())
@click.argument("tag", metavar="TAG]", required=False, type=TagName())
@click.option("--delete", "gone", metavar="TAG", type=TagName(), help="Delete the tag.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why.")
def command(
    run: Run, *, revision: str | None, tag: str | None, gone: str | None, message: str
) -> None:
    """Let TAG stand for a version; a tag that exists moves. Without arguments, list the tags."""
    if (revision is None) != (tag is None) or (gone and revision):
        wrong = "give REV and TAG, or --delete TAG, or nothing"
        raise click.UsageError(wrong, click.get_current_context())
    store = run.store()
    if gone is not None:
        run.answer(store.delete_tag(gone, author=run.author), texts.moved)
    elif revision is not None and tag is not None:
        run.answer(store.tag(revision, tag, author=run.author, reason=message), texts.moved)
    else:
        tags = store.tag_rows()
        labels = {row.name: store.resolve(row.name).label for row in tags}
        run.answer(tags, lambda tags: _text(tags, labels), tags=tags)


def _text(tags: "Sequence[TagRow]", labels: Mapping[str, str]) -> Iterator[render.Part]:
    if not tags:
        yield "no tags yet; make one: mstore tag REV TAG"
        return
    cells = [
        (
            row.name,
            labels[row.name],
            render.short(row.version),
            row.author,
            render.local_time(row.time),
            "" if row.reason == "tag" else row.reason,
        )
        for row in tags
    ]
    yield render.Table(("TAG", "VERSION", "HASH", "BY", "SINCE", "WHY"), cells)
