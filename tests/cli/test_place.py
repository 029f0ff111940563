"""Which store a command works on."""

from pathlib import Path
from typing import Any

import pytest

HOME_STORE = "data/mstore/store"


@pytest.fixture
def named(mstore: Any) -> Any:
    """The command beside three stores, each with one model named after it."""
    for name in ("one", "two", ".mstore"):
        mstore("init", name)
        model = mstore.write_model("model.safetensors", 1)
        mstore("put", model, "--name", f"in-{name.strip('.')}", "--store", name)
    return mstore


def found(mstore: Any, *words: str) -> str:
    """The name of the only model of the store that is found."""
    return str(mstore.lines(*words, "list")[1].split("@")[0])


def test_the_option_of_the_command_comes_first(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mstore list --store`` wins over ``mstore --store``, that over $MSTORE_STORE."""
    monkeypatch.setenv("MSTORE_STORE", "nowhere")
    assert named.lines("--store", "one", "list", "--store", "two")[1].startswith("in-two@1 ")
    assert found(named, "--store", "one") == "in-one"


def test_the_environment_comes_before_the_folder(
    named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$MSTORE_STORE wins over a ``.mstore`` that is near."""
    monkeypatch.setenv("MSTORE_STORE", "two")
    assert found(named) == "in-two"


def test_the_nearest_store_upward_is_found(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder below the one with ``.mstore``, that store is the one."""
    Path("deep/er").mkdir(parents=True)
    monkeypatch.chdir("deep/er")
    assert found(named) == "in-mstore"


def test_a_folder_stands_for_the_store_in_it(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--store DIR`` may be the folder that holds ``.mstore``."""
    work = Path.cwd()
    monkeypatch.chdir("/")
    assert found(named, "--store", str(work)) == "in-mstore"


def test_the_own_store_is_made_on_first_use(mstore: Any, tmp_path: Path) -> None:
    """Without any store, the user's own one is made, once, and said so on stderr."""
    own = tmp_path / "home" / HOME_STORE
    first, second = mstore("list"), mstore("list")
    assert first.stderr == f"mstore: made your own store in {own}\n"
    assert second.stderr == ""
    assert (own / "config").is_file()


def test_a_store_that_is_named_is_not_made(mstore: Any) -> None:
    """A store that was asked for by name and is not there is an error."""
    result = mstore("--store", "nowhere", "list", code=3)
    assert "no store at " in result.stderr
    assert not Path("nowhere").exists()


def test_init_makes_the_store_that_is_named(mstore: Any) -> None:
    """Init takes its argument, else ``--store``, else ``.mstore`` here."""
    assert mstore.lines("--store", "third", "init") == ["made a store in third"]
    assert mstore.lines("init", "fourth") == ["made a store in fourth"]
    assert mstore.lines("init") == ["made a store in .mstore"]
    assert mstore.lines("init") == ["there is a store in .mstore already"]
    assert all(Path(name, "config").is_file() for name in ("third", "fourth", ".mstore"))
