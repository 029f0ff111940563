"""ONNX models through the store, with the real library."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.frameworks.guide import run_blocks

from mstore import CorruptError, InvalidInputError
from mstore.store import Store
from mstore.testing.adapters import AdapterTests

ROWS = np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)


def network() -> Any:
    """Make a product and a sum; one tensor in raw bytes, one in numbers."""
    numbers = np.random.default_rng(1)
    weight = numpy_helper.from_array(numbers.standard_normal((3, 2), dtype=np.float32), "weight")
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [2], [0.5, -0.5])
    nodes = [
        helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
        for name, width in (("rows", 3), ("sum", 2))
    ]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], [weight, bias])
    return helper.make_model(graph)


class TestOnnx(AdapterTests):
    """A model in memory."""

    framework = "onnx"
    remembers = False

    def model(self) -> Any:
        """Make the model."""
        return network()

    def answer(self, model: Any) -> bytes:
        """Give all of the model, and what it makes of some rows."""
        (found,) = ReferenceEvaluator(model).run(None, {"rows": ROWS})
        return model.SerializeToString(deterministic=True) + found.tobytes()


def test_a_file_that_was_put_is_a_model(store: Store, tmp_path: Path) -> None:
    """An ONNX file, put as any file, is loaded as a model."""
    onnx.save(network(), tmp_path / "small.onnx")
    store.put(tmp_path / "small.onnx", "small")
    assert store.load("small", "onnx") == network()


def test_initializers_are_tensors(store: Store) -> None:
    """The weights of a model are tensors, the same ones as in any other framework."""
    model = store.put(network(), "model")
    arrays = {t.name: numpy_helper.to_array(t) for t in network().graph.initializer}
    alone = store.put(arrays, "arrays")
    versions = [store.parts.odb.version(put.version) for put in (model, alone)]
    assert versions[0].model_hash == versions[1].model_hash


def test_tensors_in_files_of_their_own(store: Store, tmp_path: Path) -> None:
    """A folder with external tensors is loaded whole; the bare description is refused."""
    folder = tmp_path / "large"
    folder.mkdir()
    onnx.save(
        network(), folder / "large.onnx", save_as_external_data=True, location="large.bin",
        size_threshold=0,
    )  # fmt: skip
    store.put(folder, "large")
    loaded = store.load("large", "onnx")
    expected = numpy_helper.to_array(network().graph.initializer[0])
    assert (numpy_helper.to_array(loaded.graph.initializer[0]) == expected).all()
    bare = onnx.load(folder / "large.onnx", load_external_data=False)
    with pytest.raises(InvalidInputError, match="'weight' is in a file of its own"):
        store.put(bare, "bare")


def test_a_version_without_one_model_is_refused(store: Store, tmp_path: Path) -> None:
    """Arrays are no ONNX model, and what does not parse is corrupt."""
    store.put({"w": ROWS}, "arrays")
    with pytest.raises(InvalidInputError, match="0 ONNX files"):
        store.load("arrays", "onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 100)
    store.put(tmp_path / "broken.onnx", "broken")
    with pytest.raises(CorruptError, match=r"broken\.onnx"):
        store.load("broken", "onnx")


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("onnx", tmp_path)
