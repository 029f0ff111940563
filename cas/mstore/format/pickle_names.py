"""The names that a pickle of tensors may refer to, and what they stand for.

Nothing here is what the names belong to: each stands for a function of our own that looks at its
arguments and keeps what it needs of them.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import Struct

from mstore.errors import UnsupportedError

STORAGE_DTYPES: Final = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "ShortStorage": "I16",
    "IntStorage": "I32",
    "LongStorage": "I64",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
}
"""The dtypes of torch's typed storages."""
TORCH_DTYPES: Final = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "complex64": "C64",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""The names that torch gives to dtypes."""


class Global(NamedTuple):
    """A name that a pickle refers to: "module.name"."""

    name: str


class Storage(NamedTuple):
    """The numbers in a record of the archive, or its bytes where dtype is empty."""

    dtype: str
    key: str


class View(Struct, frozen=True, eq=False):
    """A tensor: some numbers of a storage; offset and strides count numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Plain(NamedTuple):
    """A value that is no tensor and holds none."""


def _tensor(storage: object, *rest: Any) -> View:  # noqa: ANN401 - what the pickle gives
    """torch._utils._rebuild_tensor_v2: offset, shape, strides, two flags, and metadata if any."""
    dtype = storage.dtype if type(storage) is Storage else ""
    return _view(storage, dtype, rest[:3], rest[5:])


def _untyped_tensor(storage: object, *rest: Any) -> View:  # noqa: ANN401 - what the pickle gives
    """torch._utils._rebuild_tensor_v3: as ``_tensor``, with a dtype before the metadata."""
    dtype = DTYPES[rest[5].name] if type(rest[5]) is Global else ""
    return _view(storage, dtype, rest[:3], rest[6:])


def _view(storage: object, dtype: str, where: tuple[Any, ...], metadata: tuple[Any, ...]) -> View:
    offset, shape, strides = where
    numbers = (offset, *shape, *strides)
    if type(storage) is not Storage or not all(type(n) is int and n >= 0 for n in numbers):
        message = "a tensor that is none"
        raise TypeError(message)
    if any(metadata) or not dtype:
        # A conjugated or negated view: its bytes are not its numbers.
        message = "the pickle holds a tensor that is more than a view of numbers"
        raise UnsupportedError(message)
    return View(storage, dtype, offset, tuple(shape), tuple(strides))


def _parameter(tensor: View, *rest: object) -> View:
    """torch._utils._rebuild_parameter, with or without a state."""
    del rest
    if type(tensor) is not View:
        message = "a parameter that is none"
        raise TypeError(message)
    return tensor


def _map() -> dict[object, object]:
    """collections.OrderedDict: what is in it comes later."""
    return {}


def _plain(*arguments: object) -> Plain:
    del arguments
    return Plain()


CALLS: Final[dict[str, Callable[..., object]]] = {
    "collections.OrderedDict": _map,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _untyped_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _plain,
    "torch.device": _plain,
    "_codecs.encode": _plain,
    "__builtin__.bytes": _plain,
    "__builtin__.set": _plain,
    "builtins.set": _plain,
}
"""What may be called, and what it gives."""
DTYPES: Final[dict[str, str]] = {
    **{f"torch.{name}": dtype for name, dtype in STORAGE_DTYPES.items()},
    **{f"torch.{name}": dtype for name, dtype in TORCH_DTYPES.items()},
    "torch.storage.UntypedStorage": "",
}
"""What stands for a dtype."""
