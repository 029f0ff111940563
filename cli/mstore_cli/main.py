"""``mstore``: finds the command asked for, runs it and turns what it raises into an exit code.

Nothing but click is imported until a command needs it, so that ``mstore --help`` is quick.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mstore_cli import failures
from mstore_cli.run import BriefHelp

COMMANDS = {
    "init": "Make a store.",
    "put": "Store files or a folder as the next version of a model.",
    "adopt": "Take over a folder of checkpoints that nobody managed.",
    "import": "Bring in a Hugging Face folder, or what MLflow has tracked.",
    "get": "Give back the exact files of a version.",
    "cat": "Write a stored file, a tensor or some of its rows to stdout.",
    "tensors": "List the tensors of a version.",
    "list": "List the models.",
    "search": "Find versions by what is known of them.",
    "log": "List the versions of a model, newest first.",
    "show": "Show everything known about a version.",
    "diff": "Show what differs between models: structure, settings, weights.",
    "lineage": "Show what a version came from, and what was made of it.",
    "checkout-code": "Give back the source code that a version was made with.",
    "schema": "Say what the fields of a version mean: type, unit, range.",
    "curves": "Draw how metrics went over steps or versions.",
    "compare": "Show versions beside each other.",
    "tag": "Give a version a second name, or list and delete such names.",
    "note": "Add results, tags or a comment to a version.",
    "copy": "Begin a new model from a version.",
    "rename": "Give a model another name.",
    "delete": "Delete a version, or a model with all its versions.",
    "revert": "Make an older version the newest again.",
    "undo": "Take back the last change of a model's name.",
    "estimate": "Say what running a version takes.",
    "identify": "Say which version a stray file is.",
    "du": "Show how many bytes each version uses, alone and shared.",
    "why": "Say what keeps an object alive.",
    "gc": "Remove what no name reaches any more.",
    "fsck": "Check the store, and heal what is hurt.",
    "quantise": "Store a version in fewer bits, as a new version.",
    "materialize": "Make versions raw, so that they load without decoding.",
    "archive": "Store versions in the fewest bytes that keep reading quick.",
    "tier": "Keep the low planes of models in another store.",
    "plan": "Write the storage graph of an archive, and the plan over it, as JSON.",
    "strip": "Keep the payload of some versions and the description of all.",
    "retain": "Strip the versions of a training run that no rule keeps.",
    "clone": "Copy a whole store.",
    "push": "Send models to another store.",
    "pull": "Fetch models from another store, or from a bundle.",
    "bundle": "Carry versions from store to store in one file.",
    "reindex": "Make the catalogue anew, which searches are answered from.",
    "completion": "Print the shell's completion script.",
}
"""Every command and its one line of help, so that ``--help`` imports none of them."""

ALIASES = {"desc": "show"}
MODULES = {"import": "import_place"}
"""The modules of commands whose names Python reserves."""


class Commands(BriefHelp, click.Group):
    """The group of all commands, each imported when it is asked for."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Give the commands in the order of a model's life."""
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None when there is no such command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        place = MODULES.get(name, name.replace("-", "_"))
        module = importlib.import_module(f"mstore_cli.commands.{place}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name the nearest ones when there is no such command."""
        name = args[0]
        unknown = name not in COMMANDS and name not in ALIASES
        if unknown and not name.startswith("-") and not ctx.resilient_parsing:
            raise failures.UnknownCommandError(name, COMMANDS, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(  # type: ignore[override]  # click's overloads promise more than any caller uses
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        **extra: Any,  # noqa: ANN401 (passed on to click as it came)
    ) -> None:
        """Run one command line and exit; see ``failures`` for the exit codes."""
        words = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = super().main(words, prog_name or "mstore", complete_var, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            code = failures.hush()
        except failures.expected() as error:
            code = failures.report(error, as_json="--json" in words)
        sys.exit(code if isinstance(code, int) else 0)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 (click's signature)
    if not wanted or ctx.resilient_parsing:
        return
    import mstore  # noqa: PLC0415 (only needed here)

    click.echo(f"mstore {mstore.__version__}")
    ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 corrupt, "
    "6 unsupported, 7 storage failed, 130 interrupted.",
)
@click.option(
    "--store",
    metavar="DIR",
    envvar="MSTORE_STORE",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The store; else the nearest .mstore upward, else your own store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, *, store: Path | None, as_json: bool) -> None:
    """Git for neural networks: keep every version of every model, bit for bit.

    A revision REV is a model's name (its newest version), NAME@3 (its third), NAME~1 (a parent),
    a tag, or a hash of at least 8 digits.
    """
    ctx.obj = {"store": store, "as_json": as_json}


def main() -> None:
    """Run ``mstore`` with the words of the command line."""
    cli.main()
