"""torch tensors, on the CPU, as plain bytes; modules by their state dict.

Code is not stored, so a module is given back into one that the caller has built.
"""

from collections.abc import Mapping
from typing import Any

import torch

from mstore.adapters import ArrayTensor, Outline, Stored, Taken, check_fit, share
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


def take(model: object) -> Taken:
    """The state dict of a module: parameters and persistent buffers."""
    if not isinstance(model, torch.nn.Module):
        raise InvalidInputError(
            f"a {type(model).__name__} has no name to be stored by",
            hint="give a module, its state_dict(), or {name: tensor}",
        )
    return Taken(_unwrapped(model).state_dict())


def give(stored: Stored, into: object | None) -> Any:  # noqa: ANN401 - a dict, or the module
    """Every tensor by name; or the module ``into``, in which all of them now are.

    Dtypes and shapes have to be the module's. Parameters that it shares stay shared, and are
    stored under one of their names at least. A module on the meta device gets memory of its own.
    """
    if into is None:
        return stored.arrays()
    if not isinstance(into, torch.nn.Module):
        raise InvalidInputError(f"a {type(into).__name__} is no module to load into")
    module = _unwrapped(into)
    wanted = module.state_dict(keep_vars=True)
    given = share(stored.label, stored.arrays(), wanted, _content)
    check_fit(stored.label, _forms(given), _forms(wanted))
    on_meta = any(value.is_meta for value in wanted.values())
    try:
        module.load_state_dict(_owned(given, wanted) if on_meta else given, assign=on_meta)
    except RuntimeError as error:
        raise InvalidInputError(f"'{stored.label}' does not fit the model: {error}") from error
    return into


def _unwrapped(module: Any) -> Any:  # noqa: ANN401 - a module, which mypy does not know
    """The module that torch.compile or data parallelism has wrapped, whose names people mean."""
    while True:
        if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            module = module._orig_mod  # noqa: SLF001 - how torch.compile names it; nothing public
        else:
            return module


def _content(tensor: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a tensor
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return tensor.dtype, tensor.shape, bytes(flat.numpy())


def _forms(tensors: Mapping[str, Any]) -> dict[str, str]:
    return {name: _form(name, value) for name, value in tensors.items()}


def _form(name: str, value: Any) -> str:  # noqa: ANN401 - a tensor, or what stands for one
    if not isinstance(value, torch.Tensor):
        raise InvalidInputError(f"'{name}' of the model is a {type(value).__name__}, not a tensor")
    _require_shape(name, value)
    return f"{value.dtype} {list(value.shape)}".removeprefix("torch.")


def _owned(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and buffers to replace those of a module; one where the module has one."""
    made: dict[int, Any] = {}
    for name, old in wanted.items():
        is_parameter = isinstance(old, torch.nn.Parameter)
        made.setdefault(
            id(old),
            torch.nn.Parameter(given[name], old.requires_grad) if is_parameter else given[name],
        )
    return {name: made[id(old)] for name, old in wanted.items()}


def _require_shape(name: str, value: Any) -> None:  # noqa: ANN401 - a Tensor or Parameter
    if torch.nn.parameter.is_lazy(value):
        raise InvalidInputError(
            f"tensor '{name}' has no shape yet", hint="run the module once before"
        )


def _require_plain(name: str, value: Any) -> None:  # noqa: ANN401 - a Tensor or Parameter
    """InvalidInputError for what is no tensor, or has its numbers elsewhere than a tensor has."""
    kind = type(value)
    if not isinstance(value, torch.Tensor):
        raise InvalidInputError(f"tensor '{name}' is a {kind.__name__}, not a tensor")
    if kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise InvalidInputError(
            f"tensor '{name}' is a {kind.__name__}, whose numbers only its class can tell",
            hint="store what it stands for: full_tensor() of a DTensor, dequantize() of others",
        )
    _require_shape(name, value)


def _dtype_name(name: str, value: Any) -> str:  # noqa: ANN401 - a Tensor or Parameter
    _require_plain(name, value)
    dtype = _NAMES.get(value.dtype)
    layout = "nested" if value.is_nested else value.layout
    if dtype is None or layout is not torch.strided or value.is_quantized:
        raise InvalidInputError(f"tensor '{name}' ({value.dtype}, {layout}) is not stored")
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
