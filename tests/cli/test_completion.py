"""What the shell is offered."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def offered(mstore: Any, *words: str, code: int = 0) -> list[str]:
    """What bash is offered for the last of the words."""
    line = " ".join(["mstore", *words])
    settings = {
        "_MSTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
    }
    lines = mstore(env=settings, code=code).stdout.splitlines()
    return [answer.partition(",")[2] for answer in lines if answer]


def test_commands_are_completed(mstore: Any) -> None:
    """The first word is a command."""
    assert offered(mstore, "pu") == ["put", "push", "pull"]


def test_options_are_completed(mstore: Any) -> None:
    """A word that begins with dashes is an option of its command."""
    assert offered(mstore, "put", "--par") == ["--parent", "--param"]


def test_models_and_tags_are_completed(stocked: Any) -> None:
    """A revision begins with the name of a model or a tag."""
    assert offered(stocked, "show", "le") == ["lenet"]
    assert offered(stocked, "show", "p") == ["prod"]
    assert offered(stocked, "tag", "--delete", "") == ["prod"]


def test_numbers_are_completed(stocked: Any) -> None:
    """After ``@`` come the numbers of that model."""
    assert offered(stocked, "get", "lenet@") == ["lenet@1", "lenet@2", "lenet@3"]


def test_a_store_that_is_named_is_asked(stocked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option ``--store`` counts while completing too."""
    store = str(Path(".mstore").absolute())
    monkeypatch.chdir("/")
    assert offered(stocked, "--store", store, "log", "le") == ["lenet"]
    assert offered(stocked, "log", "--store", store, "le") == ["lenet"]


def test_completing_makes_no_store(mstore: Any, tmp_path: Path) -> None:
    """Where there is no store nothing is offered and none is made."""
    assert offered(mstore, "show", "") == []
    assert offered(mstore, "--store", "nowhere", "show", "") == []
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(mstore: Any, shell: str) -> None:
    """The script asks ``mstore`` by the variable that it looks at."""
    assert f"_MSTORE_COMPLETE={shell}_complete" in mstore("completion", shell).stdout


def test_bash_accepts_the_script(mstore: Any) -> None:
    """Bash runs the script and then completes ``mstore`` by it."""
    bash = shutil.which("bash")
    assert bash is not None
    script = mstore("completion", "bash").stdout
    done = subprocess.run(
        [bash, "-c", f"{script}\ncomplete -p mstore"], capture_output=True, check=True, text=True
    )
    assert "mstore" in done.stdout
