"""``mstore tag``."""

from collections.abc import Iterator, Mapping

import click

from mstore_cli import render, texts
from mstore_cli.parameters import Revision, TagName
from mstore_cli.run import Run, verb


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
        tags = store.tags()
        run.answer(tags, _text, tags=[{"name": n, "version": oid} for n, oid in tags.items()])


def _text(tags: Mapping[str, bytes]) -> Iterator[render.Part]:
    if tags:
        yield render.Table(("TAG", "VERSION"), [(name, oid.hex()) for name, oid in tags.items()])
    else:
        yield "no tags yet; make one: mstore tag REV TAG"
