"""What every test may use: an empty store, and safetensors files made on the spot."""

import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.crash.mounts import why_no_mounts

import mstore
from mstore.store import Store

# The work tree that the tests run in is no part of what they store; those of capture switch it on.
os.environ["MSTORE_CAPTURE"] = "0"

NEED_MOUNTS = {"test_powercut.py", "test_disk_full.py"}

Arrays = Mapping[str, np.ndarray]


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Whether MSTORE_THOROUGH asks for every case, however long that takes."""
    return bool(os.environ.get("MSTORE_THOROUGH"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder of its own."""
    return mstore.init(tmp_path / "store")[0]


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes arrays as a safetensors file and returns its path."""

    def write(arrays: Arrays, name: str = "lenet.safetensors", **metadata: str) -> Path:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(arrays), path, metadata=metadata or None)
        return path

    return write


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    """A small model: two layers, an empty tensor and a scalar."""
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.standard_normal((8, 3, 3, 3), dtype=np.float32),
        "fc.weight": rng.standard_normal((64, 128), dtype=np.float32),
        "fc.bias": np.zeros(64, np.float32),
        "none": np.zeros((0, 4), np.float16),
        "step": np.array(7, np.int64),
    }


@pytest.fixture
def tuned() -> list[dict[str, np.ndarray]]:
    """A model and three fine-tunes, each of the one before: every number changes a little."""
    rng = np.random.default_rng(3)
    shapes = {"fc.weight": (256, 256), "fc.bias": (256,), "head": (40, 256)}
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    found = [arrays]
    for _ in range(3):
        steps = {
            name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
        }
        arrays = {name: array + steps[name] * np.float32(1e-5) for name, array in arrays.items()}
        found.append(arrays)
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs disks of its own where nothing can be mounted."""
    apart = [item for item in items if item.path.name in NEED_MOUNTS]
    if apart and why_no_mounts():
        items[:] = [item for item in items if item not in apart]
        config.hook.pytest_deselected(items=apart)


def pytest_collection_finish() -> None:
    """Let the garbage collector of Python pass over the thousands of tests in memory."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and why."""
    reason = why_no_mounts()
    if reason:
        left_out = ", ".join(sorted(NEED_MOUNTS))
        terminalreporter.write_line(f"NOT RUN: {left_out} (no power cuts, no full disks): {reason}")
