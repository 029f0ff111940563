"""Write docs/commands.md from the commands themselves: ``python docs/commands.py``."""

from collections.abc import Iterator
from pathlib import Path

import click

from mstore_cli.main import COMMANDS, cli

PAGE = Path(__file__).with_suffix(".md")
WIDTH = 88
OPENING = """\
# The commands

Made by `python docs/commands.py` from what `mstore COMMAND --help` prints; a test holds the two
against each other.

"""


def help_text(command: click.Command, name: str) -> str:
    """The help of a command at a fixed width."""
    context = click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    return command.get_help(context)


def sections(command: click.Command, name: str, level: int) -> Iterator[str]:
    """One section for a command, and one below it for each command that it holds."""
    title = name.removeprefix("mstore ")
    lines = (line.rstrip() for line in help_text(command, name).splitlines())
    yield f"{'#' * level} {title}\n\n```text\n" + "\n".join(lines) + "\n```\n"
    if isinstance(command, click.Group) and level > 1:
        context = click.Context(command, info_name=name)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from sections(found, f"{name} {inner}", level + 1)


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="mstore")
    parts = list(sections(cli, "mstore", 1))
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        parts += sections(command, f"mstore {name}", 2)
    return OPENING + "\n".join(parts).removeprefix("# mstore\n\n")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
