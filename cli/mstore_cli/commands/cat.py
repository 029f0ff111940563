"""``mstore cat``."""

import base64
import sys

import click

from mstore_cli.parameters import Revision
from mstore_cli.render import write_json
from mstore_cli.run import Run, verb


@verb(
    "cat",
    "mstore cat lenet:config.json",
    "mstore cat 'lenet@3:model.safetensors#conv1.weight[0:10]' > rows.bin",
)
@click.argument("place", metavar="REV:PATH[#TENSOR[A:B]]", type=Revision())
@click.option("--force", is_flag=True, help="Write to a terminal too.")
@click.option(
    "--bits",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Read only so many leading bits of each float.",
)
def command(run: Run, *, place: str, force: bool, bits: int | None) -> None:
    """Write a stored file, a tensor or rows [A:B) of it to stdout.

    A tensor comes as raw bytes: little-endian, in C order. With --json the bytes are one field,
    in base64. With --bits each float of a tensor is the middle of where its first N bits let it
    lie.
    """
    if run.as_json:
        kept = bytearray()
        run.store().cat(place, kept.extend, bits=bits)
        content = base64.b64encode(kept).decode("ascii")
        write_json({"revision": place, "size_bytes": len(kept), "content_base64": content})
        return
    if sys.stdout.isatty() and not force:
        message = "stdout is a terminal, and the bytes may not be text; give --force or a pipe"
        raise click.UsageError(message)
    sys.stdout.flush()
    run.store().cat(place, sys.stdout.buffer.write, bits=bits)
