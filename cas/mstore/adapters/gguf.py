"""GGUF: a reader stands for its file, which is stored as it is and read from a file again."""

from pathlib import Path
from typing import Any

import gguf

from mstore.adapters import Stored, Taken, require_no_target
from mstore.adapters.numpy import array, outline, tensors
from mstore.errors import InvalidInputError

__all__ = ["array", "give", "outline", "take", "tensors"]


def take(model: object) -> Taken:
    """The file of a ``GGUFReader``, out of the memory that it is mapped to."""
    if not isinstance(model, gguf.GGUFReader):
        raise InvalidInputError(f"a {type(model).__name__} is no GGUFReader")
    mapped: Any = model.data
    return Taken(files={Path(mapped.filename).name: memoryview(mapped)})


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - a GGUFReader
    """A ``GGUFReader`` over a copy of the file, whose name is gone but not its bytes."""
    require_no_target("gguf", into)
    found = [path for path in stored.paths if path.endswith(".gguf")]
    if len(found) != 1:
        raise InvalidInputError(f"'{stored.label}' has {len(found)} GGUF files, not one")
    with stored.folder() as folder:
        return gguf.GGUFReader(folder / found[0])
