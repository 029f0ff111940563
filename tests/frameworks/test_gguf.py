"""GGUF files through the store, with the real library."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tests.frameworks.guide import run_blocks

from mstore import InvalidInputError
from mstore.store import Store
from mstore.testing.adapters import AdapterTests


def write(path: Path) -> Path:
    """Write a model of one plain and one quantised tensor."""
    numbers = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("plain", numbers)
    quantised = gguf.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("quantised", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestGguf(AdapterTests):
    """A reader over a file."""

    framework = "gguf"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = write(tmp_path / "small.gguf")

    def model(self) -> Any:
        """Open the file."""
        return gguf.GGUFReader(self.path)

    def answer(self, model: Any) -> bytes:
        """Give all bytes of the file, and of its tensors."""
        return b"".join(part.tobytes() for part in [model.data, *(t.data for t in model.tensors)])


def test_the_tensors_of_a_file_are_tensors(store: Store, tmp_path: Path) -> None:
    """Plain numbers of a file are found by name as the arrays that they are."""
    reader = gguf.GGUFReader(write(tmp_path / "small.gguf"))
    store.put(reader, "small")
    assert store.load("small")["plain"].tobytes() == reader.tensors[0].data.tobytes()


def test_a_version_without_one_file_is_refused(store: Store) -> None:
    """Arrays are no GGUF file."""
    store.put({"w": np.zeros(2)}, "arrays")
    with pytest.raises(InvalidInputError, match="0 GGUF files"):
        store.load("arrays", "gguf")


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("gguf", tmp_path)
