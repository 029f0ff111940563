"""``mstore completion``."""

from collections.abc import Iterator

import click

from mstore_cli import render
from mstore_cli.run import Run, verb


@verb(
    "completion",
    'eval "$(mstore completion bash)"',
    "mstore completion fish > ~/.config/fish/completions/mstore.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(run: Run, *, shell: str) -> None:
    """Print the script that lets the shell complete commands, models, tags and revisions."""
    script = script_for(shell)

    def text(_: object) -> Iterator[render.Part]:
        yield script

    run.answer(script, text, shell=shell, script=script)


def script_for(shell: str) -> str:
    """Give click's completion script; making it asks the shell nothing."""
    from click import shell_completion  # noqa: PLC0415 (only when run)

    from mstore_cli.main import cli  # noqa: PLC0415 (main imports commands)

    found = shell_completion.get_completion_class(shell)
    assert found is not None, shell
    return shell_completion.ShellComplete.source(found(cli, {}, "mstore", "_MSTORE_COMPLETE"))
