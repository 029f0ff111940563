"""Integrations where their framework is not, and what frameworks say as plain values."""

import subprocess
import sys
from pathlib import PurePosixPath

import numpy as np
import pytest

from mstore.integrations.results import MAX_TEXT, numbers, plain

PROGRAM = """
import sys
sys.modules[{name!r}] = None
from mstore.errors import UnsupportedError
try:
    import mstore.integrations.{name}
except UnsupportedError as error:
    print(error, error.hint)
"""


@pytest.mark.parametrize("name", ["keras", "lightning", "mlflow", "transformers"])
def test_a_missing_framework_is_named(name: str) -> None:
    """Who lacks a framework is told how to install it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    said = f"framework '{name}' is not installed run: pip install 'mstore[{name}]'\n"
    assert done.stdout == said


def test_only_numbers_are_results() -> None:
    """Wrapped numbers count; texts, truth values and arrays of several numbers do not."""
    said = {
        "a": np.float32(0.5),
        "b": np.array(2),
        "c": "0.5",
        "d": True,
        "e": np.ones(3),
        "f": None,
    }
    assert numbers(said) == {"a": 0.5, "b": 2.0}


def test_parameters_are_plain() -> None:
    """What JSON lacks is said in words, and neither length nor depth is without end."""
    deep: list[object] = []
    deep.append(deep)
    said = {
        "path": PurePosixPath("a/b"),
        3: np.int64(4),
        "set": {1},
        "kind": int,
        "long": "x" * 5000,
    }
    found = plain(said)
    assert found == {
        "path": "a/b", "3": 4.0, "set": [1], "kind": "<class 'int'>", "long": "x" * MAX_TEXT,
    }  # fmt: skip
    assert len(str(plain(deep))) < 100 + MAX_TEXT
