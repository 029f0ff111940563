"""Fixtures of the command line's tests: a folder of its own, real files, a real store."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from mstore_cli.main import cli

SCHEMAS = Path(__file__).parent / "schemas"
PROGRAM = (sys.executable, "-m", "mstore_cli")


@dataclass(frozen=True)
class Mstore:
    """Runs ``mstore`` in this interpreter with the arguments given."""

    runner: CliRunner
    program: tuple[str, ...] = PROGRAM

    def __call__(self, *words: object, code: int = 0, **options: Any) -> Result:
        """Run, and require the exit code."""
        given = [str(word) for word in words]
        result = self.runner.invoke(cli, given, prog_name="mstore", **options)
        assert result.exit_code == code, (given, result.output, result.exception)
        return result

    def lines(self, *words: object, code: int = 0) -> list[str]:
        """Give the lines of stdout."""
        return self(*words, code=code).stdout.splitlines()

    def json(self, *words: object, code: int = 0, schema: str | None = None) -> Any:
        """Run with ``--json``; the object, which fits the schema of the command."""
        result = self(*words, "--json", code=code)
        assert result.stderr == ""
        value = json.loads(result.stdout)
        name = schema or ("error" if "error" in value else str(words[0]))
        jsonschema.validate(value, self.schema(name))
        return value

    def schema(self, name: str) -> Any:
        """Read the JSON Schema of a command."""
        return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))

    def start(self, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start ``mstore`` as a program of its own, with pipes to its stdout and stderr."""
        line = [*self.program, *(str(word) for word in words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(line, **{**pipes, "env": dict(os.environ), **options})

    def write_model(self, path: str, seed: int, head: int = 0, rows: int = 64) -> Path:
        """Write a safetensors file of two tensors; equal numbers give equal tensors."""
        body = np.random.default_rng(seed).standard_normal((rows, 32)).astype(np.float32)
        top = np.random.default_rng(1000 + head).standard_normal((10, 32)).astype(np.float32)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file({"body": body, "head": top}, path)
        return Path(path)


@pytest.fixture
def mstore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mstore:
    """The command, in a folder with nothing in it and with a home that is empty too."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home/data"))
    monkeypatch.setenv("MSTORE_AUTHOR", "Tester")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("MSTORE_STORE", raising=False)
    return Mstore(CliRunner())


@pytest.fixture
def stocked(mstore: Mstore) -> Mstore:
    """The command beside a store with model ``lenet``: three versions, the first tagged ``prod``.

    The versions share their ``body``; ``lenet.safetensors`` is the newest one's file.
    """
    mstore("init")
    for number in range(3):
        path = mstore.write_model("lenet.safetensors", 1, head=number)
        words = ("-m", f"epoch {number}", "--param", f"epoch={number}", "--metric", "acc=0.5")
        mstore("put", path, *words)
    mstore("tag", "lenet@1", "prod")
    return mstore
