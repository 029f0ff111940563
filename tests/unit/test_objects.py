"""The values a store keeps."""

from typing import get_args

import msgspec
import pytest

from mstore import objects
from mstore.objects import (
    Code,
    Environment,
    Log,
    Note,
    OpaqueFile,
    Parent,
    Series,
    Tensor,
    TensorFile,
    Tree,
    TreeEntry,
    Version,
)

ID = bytes(32)
VALUES = [
    Tensor("F32", (), ID),
    OpaqueFile(0),
    TensorFile("safetensors", 8, bytes(8)),
    Tree(),
    TreeEntry("a", "file", ID),
    Parent(ID, "derived"),
    Version(tree=ID, size=0, time=0),
    Note(version=ID, time=0),
    Code(commit=""),
    Environment(),
    Series("loss", b"", b""),
    Log("csv"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_immutable(value: msgspec.Struct) -> None:
    """No field of a value can be set."""
    name = value.__struct_fields__[0]
    with pytest.raises(AttributeError):
        setattr(value, name, None)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_equal_fields_are_equal_values(value: msgspec.Struct) -> None:
    """A value is its fields."""
    copied = type(value)(**msgspec.structs.asdict(value))
    assert copied == value
    assert copied is not value


def test_defaults_are_not_shared() -> None:
    """Two versions do not share the dict of a field left out."""
    one, other = (Version(tree=ID, size=0, time=0) for _ in range(2))
    one.parameters["lr"] = 0.1
    assert other.parameters == {}


def test_every_object_is_one_of_the_union() -> None:
    """The union of objects lists every kind of object once."""
    files, records = {OpaqueFile, TensorFile}, {Code, Environment, Log}
    assert set(get_args(objects.Object)) == {Tensor, *files, Tree, Version, Note, *records}
