"""torch tensors, on the CPU, as plain bytes."""

from collections.abc import Mapping
from typing import Any

import torch

from mstore.adapters import ArrayTensor, Outline
from mstore.errors import InvalidInputError, UnsupportedError

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
_TORCH = {name: getattr(torch, attribute) for name, attribute in _DTYPES.items()}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}


def tensors(arrays: Mapping[str, object]) -> list[ArrayTensor]:
    """Torch tensors as little-endian C-order bytes; strided and device tensors are copied."""
    return [_tensor(name, value) for name, value in arrays.items()]


def outline(name: str, value: Any) -> Outline:  # noqa: ANN401 - a Tensor or Parameter
    """How to copy a tensor; from a device it goes straight to the memory that is given."""
    dtype = _dtype_name(name, value)
    plain = value.detach()
    size = plain.numel() * plain.element_size()

    def copy_into(target: memoryview) -> None:
        if size and not (plain.device.type == "cpu" and plain.is_contiguous()):
            there = torch.frombuffer(target, dtype=plain.dtype).reshape(plain.shape)
            there.copy_(plain)
        else:
            # Held on to, the GIL is not lost to a thread that stores: 6 ms for 94 MB, not 10.
            target[:] = _tensor(name, plain).content

    return Outline(name, dtype, tuple(plain.shape), size, copy_into)


def _dtype_name(name: str, value: Any) -> str:  # noqa: ANN401 - a Tensor or Parameter
    dtype = _NAMES.get(value.dtype)
    if dtype is None or value.layout is not torch.strided or value.is_quantized:
        raise InvalidInputError(f"tensor '{name}' ({value.dtype}, {value.layout}) is not stored")
    if value.is_meta:
        raise InvalidInputError(f"tensor '{name}' is on the meta device: it has no values")
    return dtype


def _tensor(name: str, value: Any) -> ArrayTensor:  # noqa: ANN401 - a Tensor or Parameter
    dtype = _dtype_name(name, value)
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    content = memoryview(plain.reshape(-1).view(torch.uint8).numpy())
    return ArrayTensor(name, dtype, tuple(plain.shape), content)


def array(dtype: str, shape: tuple[int, ...], content: memoryview) -> Any:  # noqa: ANN401 - a Tensor
    """A tensor over ``content``; UnsupportedError for a dtype that this torch lacks."""
    if dtype not in _TORCH:
        raise UnsupportedError(f"torch has no dtype '{dtype}'")
    if not len(content):
        return torch.empty(shape, dtype=_TORCH[dtype])
    return torch.frombuffer(content, dtype=_TORCH[dtype]).reshape(shape)
