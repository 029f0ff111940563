"""The table of adapters, and adapters that other packages bring."""

import array as arrays
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mstore import InvalidInputError, adapters
from mstore.adapters import FRAMEWORKS, framework, framework_of
from mstore.store import Store

GUIDE = Path(__file__).parent.parent.parent.parent / "CONTRIBUTING.md"
METADATA = "Metadata-Version: 2.1\nName: array-adapter\nVersion: 1.0\n"


def example(before: str) -> str:
    """What CONTRIBUTING.md shows, indented, after some words."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"{before}\n\n")[2]
    lines = itertools.takewhile(lambda line: not line or line[0] == " ", text.splitlines())
    return textwrap.dedent("\n".join(lines))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an installed package that brings one adapter."""
    shown = example("`array_adapter.py`, for arrays of Python's own:")
    (tmp_path / "array_adapter.py").write_text(shown)
    described = tmp_path / "array_adapter-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(METADATA)
    (described / "entry_points.txt").write_text("[mstore.adapters]\narray = array_adapter\n")
    adapters._plugins.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    adapters._plugins.cache_clear()
    sys.modules.pop("array_adapter", None)


def test_a_plugin_takes_its_arrays(
    plugin: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arrays of a package that an entry point names are stored and given back."""
    value = arrays.array("f", [1, 2, 3])
    with pytest.raises(InvalidInputError, match="'w' is a array"):
        store.put({"w": value}, "w")
    adapters._plugins.cache_clear()
    monkeypatch.syspath_prepend(plugin)
    assert framework_of(value) == "array"
    store.put({"w": value}, "w")
    assert store.load("w", "array") == {"w": value}
    assert (store.load("w")["w"] == np.array([1, 2, 3])).all()


def test_a_plugin_passes_the_suite_by_inheriting_it(plugin: Path) -> None:
    """What CONTRIBUTING.md shows holds a plugin's adapter to all that ours are held to."""
    suite = "import array\n" + example("The suite that our own adapters pass is inherited:")
    (plugin / "test_array.py").write_text(suite)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_array.py"],
        cwd=plugin, env={"PYTHONPATH": ":".join([str(plugin), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def test_an_unknown_framework_is_answered_with_the_known() -> None:
    """A name that no adapter has is an error that lists those that there are."""
    with pytest.raises(InvalidInputError, match="caffe") as caught:
        framework("caffe")
    assert all(name in str(caught.value.hint) for name in FRAMEWORKS)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.ones(1), "numpy"),
        (np.float32(1), "numpy"),
        (torch.ones(1), "torch"),
        (torch.nn.Linear(1, 1), "torch"),
        ({}, None),
        ("numpy", None),
        (7, None),
    ],
)
def test_a_value_says_by_its_class_whose_it_is(value: Any, name: str | None) -> None:
    """Arrays and models are recognised, plain values are nobody's."""
    assert framework_of(value) == name


def test_an_extra_is_named_like_its_framework() -> None:
    """What the message for a missing framework says to install is an extra of this package."""
    text = (GUIDE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in FRAMEWORKS[1:] if f"\n{name} = [" not in text] == []


def test_a_missing_framework_says_what_to_install(store: Store) -> None:
    """A load for a framework that is not there names the extra that brings it."""
    store.put({"w": np.ones(2)}, "w")
    program = (
        "import sys, mstore; store = mstore.open(sys.argv[1]); names = sys.argv[2:]\n"
        "sys.modules.update(dict.fromkeys([*names, 'skops']))\n"
        "for name in names:\n"
        "    try: store.load('w', framework=name)\n"
        "    except mstore.UnsupportedError as error: print(error, '|', error.hint)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, store.path, *FRAMEWORKS[1:]],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.splitlines() == [
        f"framework '{name}' is not installed | run: pip install 'mstore[{name}]'"
        for name in FRAMEWORKS[1:]
    ]


def test_recognising_loads_nothing() -> None:
    """A path is put without loading NumPy for the question whether it is a model."""
    program = (
        "import sys; from mstore.adapters import framework_of; framework_of(3.5);"
        "framework_of('path'); print({'numpy', 'torch', 'importlib.metadata'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "set()"
