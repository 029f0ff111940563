"""Help: of everything, and of each command."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import mstore as library
from mstore_cli.main import ALIASES, COMMANDS, cli


def test_help_names_every_command(mstore: Any) -> None:
    """``mstore --help`` has a line for each command and the exit codes."""
    text = mstore("--help").stdout
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "130 interrupted" in text


def test_help_imports_nothing_heavy() -> None:
    """``mstore --help`` loads neither the library nor rich, nor any command."""
    program = (
        "import sys, mstore_cli.main as main\n"
        "try: main.cli.main(['--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    loaded = set(done.stderr.split())
    assert {"mstore", "msgspec", "rich", "numpy", "platformdirs"}.isdisjoint(loaded)
    assert not any(name.startswith("mstore_cli.commands.") for name in loaded)


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_each_command_has_help_with_an_example(mstore: Any, name: str) -> None:
    """The help of a command ends with examples that begin with ``mstore``."""
    text = mstore(name, "--help").stdout
    assert "--help" in text
    assert "mstore " in text.partition("Example:\n")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_is(name: str) -> None:
    """Each command calls itself by its name in the table."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name


def test_every_command_takes_store_and_json(mstore: Any) -> None:
    """Each command, and each below ``bundle`` and ``schema``, has --store and --json."""
    groups = {"bundle": ("create", "apply", "verify"), "schema": ("set", "show")}
    inner = [(group, name) for group, names in groups.items() for name in names]
    for words in [*((name,) for name in COMMANDS if name not in groups), *inner]:
        text = mstore(*words, "--help").stdout
        assert "--store DIR" in text
        assert "--json" in text


def test_version(mstore: Any) -> None:
    """``mstore --version`` prints the library's version."""
    assert mstore("--version").stdout == f"mstore {library.__version__}\n"


def test_without_a_command_the_help_is_an_error(mstore: Any) -> None:
    """``mstore`` alone prints the help on stderr and gives 2."""
    result = mstore(code=2)
    assert result.stdout == ""
    assert "Commands:" in result.stderr


def test_hints_name_commands_that_exist() -> None:
    """Each command that a message of the library tells people to run exists."""
    told = [
        name
        for path in Path(library.__file__).parent.rglob("*.py")
        for name in re.findall(r": mstore ([a-z]+)", path.read_text(encoding="utf-8"))
    ]
    assert told
    assert set(told) <= set(COMMANDS)
