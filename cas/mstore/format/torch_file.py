"""The tensors of a file that ``torch.save`` wrote, found without unpickling it (SPEC §6.3)."""

from math import prod
from typing import Final

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.dtypes import DTYPE_BITS, tensor_size
from mstore.format.layout import MAX_LITERALS, Read, Span
from mstore.format.pickle_names import View
from mstore.format.pickle_outline import tensors_in
from mstore.format.safetensors import check_tensor_name
from mstore.format.zip_records import Record

PICKLE: Final = "/data.pkl"
"""How the name of the record ends that says what the tensors are."""


def torch_spans(records: dict[str, Record], read: Read) -> list[Span]:
    """The tensors of an archive with these records.

    UnsupportedError when it holds more than plain tensors, or one that is not plain bytes in
    C order; CorruptError when it says what is not there.
    """
    prefix = _prefix(records)
    _check_byte_order(records.get(f"{prefix}/byteorder"), read)
    pickle = records[prefix + PICKLE]
    if pickle.size > MAX_LITERALS:
        message = f"the pickle has {pickle.size} bytes, at most {MAX_LITERALS} are read"
        raise UnsupportedError(message)
    found = tensors_in(read(pickle.start, pickle.size))
    return [_span(name, view, records, prefix) for name, view in found]


def _prefix(records: dict[str, Record]) -> str:
    prefixes = [name.removesuffix(PICKLE) for name in records if name.endswith(PICKLE)]
    if len(prefixes) != 1:
        message = f"{len(prefixes)} records named *{PICKLE}"
        raise UnsupportedError(message)
    return prefixes[0]


def _check_byte_order(record: Record | None, read: Read) -> None:
    little = b"little"
    if record and (record.size != len(little) or read(record.start, record.size) != little):
        message = "numbers that are not little-endian"
        raise UnsupportedError(message)


def _span(name: str, view: View, records: dict[str, Record], prefix: str) -> Span:
    check_tensor_name(name)
    size = tensor_size(view.dtype, view.shape)
    record = records.get(f"{prefix}/data/{view.storage.key}")
    if record is None:
        message = f"tensor '{name}' is in a record that is missing"
        raise CorruptError(message)
    if not _is_c_order(view):
        message = f"tensor '{name}' is not stored in C order"
        raise UnsupportedError(message)
    width = DTYPE_BITS[view.dtype] // 8
    start = view.offset * width
    if start + size > record.size:
        message = f"tensor '{name}' ends behind its record"
        raise CorruptError(message)
    return Span(name, view.dtype, view.shape, record.start + start, record.start + start + size)


def _is_c_order(view: View) -> bool:
    if len(view.strides) != len(view.shape):
        return False
    return 0 in view.shape or all(
        length == 1 or stride == prod(view.shape[axis + 1 :])
        for axis, (length, stride) in enumerate(zip(view.shape, view.strides, strict=True))
    )
