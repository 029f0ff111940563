"""ONNX: a ``ModelProto`` is stored as the file ``model.onnx`` and parsed from it."""

from typing import Any

import onnx
from google.protobuf.message import DecodeError

from mstore.adapters import Stored, Taken, require_no_target
from mstore.adapters.numpy import array, outline, tensors
from mstore.errors import CorruptError, InvalidInputError

__all__ = ["array", "give", "outline", "take", "tensors"]

MODEL_FILE = "model.onnx"


def take(model: object) -> Taken:
    """The model as one file; InvalidInputError when some of its tensors are elsewhere."""
    if not isinstance(model, onnx.ModelProto):
        raise InvalidInputError(f"a {type(model).__name__} is no ModelProto")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InvalidInputError(
                f"initializer '{tensor.name}' is in a file of its own",
                hint="load the model with onnx.load(path), or put its folder",
            )
    return Taken(files={MODEL_FILE: model.SerializeToString(deterministic=True)})


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - a ModelProto
    """The ``ModelProto`` of a version that has one ``.onnx`` file; external tensors included."""
    require_no_target("onnx", into)
    found = [path for path in stored.paths if path.endswith(".onnx")]
    if len(found) != 1:
        raise InvalidInputError(f"'{stored.label}' has {len(found)} ONNX files, not one")
    try:
        if len(stored.paths) == 1:
            return onnx.load_model_from_string(stored.read(found[0]))
        with stored.folder() as folder:
            return onnx.load_model(folder / found[0])
    except DecodeError as error:
        raise CorruptError(f"'{found[0]}' of '{stored.label}' is no ONNX model") from error
