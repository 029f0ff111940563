"""The header of a safetensors file, held against the safetensors library."""

import contextlib
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.dtypes import DTYPE_BITS, tensor_size
from mstore.format.safetensors import (
    MAX_HEADER,
    MAX_TENSOR_NAME,
    Header,
    Span,
    build_header,
    header_length,
    parse_header,
)

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
SHAPES = st.lists(st.integers(0, 4), max_size=3)


def framed(text: bytes | str) -> bytes:
    """JSON with its length in front."""
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content


def tensor(*offsets: object, dtype: object = "U8", shape: object = (3,)) -> dict[str, object]:
    """One tensor's entry in a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def parse(fields: object, body_size: int) -> Header:
    """The header made of ``fields``, in front of ``body_size`` bytes."""
    head = framed(fields if isinstance(fields, bytes | str) else json.dumps(fields))
    return parse_header(head, len(head) + body_size, "x.safetensors")


def library(head: bytes, body_size: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """What the safetensors library says of the same file: dtype, shape and size by name."""
    found = safetensors.deserialize(head + bytes(body_size))
    return {name: (item["dtype"], tuple(item["shape"]), len(item["data"])) for name, item in found}


def read(path: Path) -> Header:
    """The header of a file on disk."""
    content = path.read_bytes()
    return parse_header(content[: 8 + header_length(content[:8], len(content))], len(content))


@st.composite
def tensors(draw: st.DrawFn) -> list[tuple[str, str, list[int]]]:
    """Tensors of every dtype under different names, whose bytes are whole."""
    made = []
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        dtype, shape = draw(st.sampled_from(sorted(DTYPE_BITS))), draw(SHAPES)
        with contextlib.suppress(CorruptError):
            tensor_size(dtype, shape)
            made.append((name, dtype, shape))
    return made


@given(tensors(), st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_we_build_we_and_the_library_read(
    entries: list[tuple[str, str, list[int]]], metadata: dict[str, str]
) -> None:
    """A header built here says the same to the library and to us."""
    head = build_header(entries, metadata)
    body = sum(tensor_size(dtype, shape) for _, dtype, shape in entries)
    header = parse_header(head, len(head) + body)
    assert header.metadata == metadata
    assert {span.name: (span.dtype, list(span.shape)) for span in header.spans} == {
        name: (dtype, shape) for name, dtype, shape in entries
    }
    assert library(head, body) == {
        span.name: (span.dtype, span.shape, span.stop - span.start) for span in header.spans
    }
    assert len(head) % 8 == 0


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype_is_one_of_the_library(dtype: str) -> None:
    """The library knows each dtype by the same name and size."""
    head = build_header([("x", dtype, (8, 3))])
    size = tensor_size(dtype, (8, 3))
    assert library(head, size) == {"x": (dtype, (8, 3), size)}


def test_no_dtype_of_the_library_is_missing() -> None:
    """The library's own list of dtypes is ours."""
    with pytest.raises(safetensors.SafetensorError) as caught:
        library(framed(json.dumps({"x": tensor(0, 3, dtype="?")})), 3)
    listed = str(caught.value).partition("expected one of")[2].partition(" at line")[0]
    assert {name.strip(" `") for name in listed.split(",")} == set(DTYPE_BITS)


NUMPY_TYPES = [
    np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.float16, np.uint32, np.int32, np.float32,
    np.uint64, np.int64, np.float64, np.complex64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", NUMPY_TYPES, ids=lambda dtype: dtype.__name__)
def test_files_of_numpy_are_accepted(tmp_path: Path, dtype: type[np.generic]) -> None:
    """A file that the library writes from numpy arrays is accepted, byte for byte covered."""
    arrays = {
        "matrix": np.zeros((3, 5), dtype),
        "scalar": np.zeros((), dtype),
        "empty": np.zeros((0, 4), dtype),
        "é/weight": np.ones(7, dtype),
    }
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np", "ключ": "значение"})
    header = read(path)
    assert header.metadata == {"format": "np", "ключ": "значение"}
    content = path.read_bytes()
    for span in header.spans:
        array = arrays[span.name]
        assert (span.shape, content[span.start : span.stop]) == (array.shape, array.tobytes())


TORCH_TYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.float16, torch.bfloat16,
    torch.int32, torch.uint32, torch.float32, torch.complex64, torch.int64, torch.uint64,
    torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", TORCH_TYPES, ids=str)
def test_files_of_torch_are_accepted(tmp_path: Path, dtype: torch.dtype) -> None:
    """A file that the library writes from torch tensors is accepted, with the library's names."""
    made = {
        "matrix": torch.zeros(3 * 4 * dtype.itemsize, dtype=torch.uint8).view(dtype).reshape(3, 4),
        "empty": torch.zeros(0, dtype=torch.uint8).view(dtype),
    }
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(made, path)
    header = read(path)
    assert {
        span.name: (span.dtype, span.shape, span.stop - span.start) for span in header.spans
    } == (library(header.header, path.stat().st_size - len(header.header)))


def test_spans_count_from_the_start_of_the_file() -> None:
    """A span's bounds are places in the file, header included."""
    head = framed(json.dumps({"b": tensor(3, 5, shape=(2,)), "a": tensor(0, 3)}))
    header = parse_header(head, len(head) + 5)
    start = len(head)
    assert header.header == head
    assert header.spans == (
        Span("a", "U8", (3,), start, start + 3),
        Span("b", "U8", (2,), start + 3, start + 5),
    )


def test_empty_tensors_stand_in_order_of_their_names() -> None:
    """The order of spans does not depend on the order of the header's keys."""
    empty = tensor(0, 0, shape=(0,))
    last = tensor(3, 3, shape=(0,))
    expected = ["a", "b", "full", "y", "z"]
    header = parse({"z": last, "b": empty, "full": tensor(0, 3), "y": last, "a": empty}, 3)
    assert [span.name for span in header.spans] == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"a":<U8 [3] 0,3>}',
        '{"a":<U8 [3] 0,3>}        ',
        '{"a":<U8 [3] 0,3>,"__metadata__":{}}',
        '{"a":<U8 [3] 0,3>,"__metadata__":null}',
        '{"a": {"shape": [3], "data_offsets": [0, 3], "dtype": "U8"}, "__metadata__": {"k": ""}}',
        '{\n\t"\\u0061" : <U8 [3] 0,3>\r\n}  ',
        '{"\\ud83d\\ude00":<U8 [1,3] 0,3>}',
        '{"a":<U8 [0,1099511627776] 0,0>,"b":<U8 [3] 0,3>}',
        '{"a":<F6_E2M3 [4] 0,3>,"b":<F64 [0] 3,3>}',
    ],
)
def test_unusual_headers_are_accepted(text: str) -> None:
    """Any order of keys, padding and spelling of JSON that the library accepts is accepted."""
    head = framed(expand(text))
    header = parse_header(head, len(head) + 3)
    assert {span.name for span in header.spans} == set(library(head, 3))


def expand(text: str) -> str:
    """JSON in which ``<U8 [3] 0,3>`` stands for a tensor of that dtype, shape and place."""
    entry = r'{"dtype":"\1","shape":\2,"data_offsets":[\3]}'
    return re.sub(r"<(\w+) (\[[^\]]*\]) ([^>]*)>", entry, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":<U8 [3] 0,3>,"a":<U8 [3] 0,3>}', "the name 'a' stands twice"),
        ('{"a":<U8 [3] 0,3>,"\\u0061":<U8 [3] 0,3>}', "the name 'a' stands twice"),
        ('{"a":{"dtype":"U8","dtype":"U8"}}', "the name 'dtype' stands twice"),
        ('{"__metadata__":{"k":"1","k":"2"},"a":<U8 [3] 0,3>}', "the name 'k' stands twice"),
        (' {"a":<U8 [3] 0,3>}', "does not start with '{'"),
        ("", "does not start with '{'"),
        ("[]", "does not start with '{'"),
        ("null", "does not start with '{'"),
        ("\ufeff{}", "does not start with '{'"),
        ("{", "not valid JSON"),
        ('{"a":<U8 [3] 0,3>} x', "not valid JSON"),
        ('{"a":<U8 [3] 0,3>,}', "not valid JSON"),
        ('{"a":<U8 [3] 0,3>}\0', "not valid JSON"),
        ('{"a\n":<U8 [3] 0,3>}', "not valid JSON"),
        ("{" + '"a":[' + "[" * 100_000, "nested too deep"),
        ("{" + '"a":{' * 100_000, "nested too deep"),
        ('{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3],"strides":[1]}}', "'a': not a map"),
        ('{"a":{"dtype":"U8","shape":[3]}}', "tensor 'a': not a map of dtype, shape"),
        ('{"a":["U8",[3],[0,3]]}', "tensor 'a': not a map"),
        ('{"a":{"dtype":1,"shape":[3],"data_offsets":[0,3]}}', "tensor 'a': dtype"),
        ('{"a":{"dtype":"U8","shape":3,"data_offsets":[0,3]}}', "tensor 'a': shape"),
        ('{"a":{"dtype":"U8","shape":[3],"data_offsets":{}}}', "tensor 'a': data_offsets"),
        ('{"a":<U8 [true] 0,3>}', "tensor 'a': shape"),
        ('{"a":<U8 ["3"] 0,3>}', "tensor 'a': shape"),
        ('{"a":<U8 [null] 0,3>}', "tensor 'a': shape"),
        ('{"a":<U8 [3] 0,3,4>}', "tensor 'a': data_offsets"),
        ('{"a":<U8 [3] false,3>}', "tensor 'a': data_offsets"),
        ('{"a":<U8 [3.0] 0,3>}', "number 3.0 is not a natural number"),
        ('{"a":<U8 [3e0] 0,3>}', "number 3e0 is not a natural number"),
        ('{"a":<U8 [3] -0,3>}', "number -0 is not a natural number"),
        ('{"a":<U8 [-1] 0,3>}', "number -1 is not a natural number"),
        ('{"a":<U8 [NaN] 0,3>}', "number NaN is not a natural number"),
        (f'{{"a":<U8 [{"9" * 5000}] 0,3>}}', "not valid JSON"),
        (f'{{"a":<U8 [{1 << 41}] 0,3>}}', "tensor 'a': shape has a dimension"),
        (f'{{"a":<U8 [{1 << 40},{1 << 40},0] 0,0>}}', "tensor 'a': shape .* overflows"),
        (f'{{"a":<U8 [{"1," * 16}3] 0,3>}}', "tensor 'a': shape has 17 dimensions"),
        ('{"a":<F4 [5] 0,3>}', "tensor 'a': .*whole bytes"),
        ('{"a":<U8 [2] 0,3>}', "tensor 'a': data_offsets .* span 3 bytes, the shape 2"),
        ('{"a":<U8 [3] 3,0>}', "tensor 'a': data_offsets"),
        (f'{{"a":<U8 [3] {1 << 64},{(1 << 64) + 3}>}}', "tensor 'a': data_offsets .* a hole"),
        ('{"a":<U8 [2] 1,3>}', "tensor 'a': data_offsets .* leaves a hole"),
        ('{"a":<U8 [2] 0,2>,"b":<U8 [2] 1,3>}', "tensor 'b': data_offsets .* overlaps"),
        ('{"a":<U8 [1] 0,1>,"b":<U8 [1] 2,3>}', "tensor 'b': data_offsets .* leaves a hole"),
        ('{"a":<U8 [3] 0,3>,"b":<U8 [0] 1,1>}', "tensor 'b': data_offsets .* overlaps"),
        ('{"a":<U8 [2] 0,2>}', "end at byte"),
        ('{"a":<U8 [4] 0,4>}', "end at byte"),
        ("{}", "end at byte"),
        ('{"":<U8 [3] 0,3>}', "tensor name ''"),
        ('{"a\\u0000b":<U8 [3] 0,3>}', "tensor name"),
        ('{"a\\u001b":<U8 [3] 0,3>}', "tensor name"),
        ('{"\\ud800":<U8 [3] 0,3>}', "tensor name"),
        (f'{{"{"x" * (MAX_TENSOR_NAME + 1)}":<U8 [3] 0,3>}}', "tensor name"),
        ('{"a":<U8 [3] 0,3>,"__metadata__":[]}', "__metadata__ is not a map"),
        ('{"a":<U8 [3] 0,3>,"__metadata__":{"k":1}}', "__metadata__: 'k' is not a string"),
        ('{"a":<U8 [3] 0,3>,"__metadata__":{"k":"\\udfff"}}', "'k' is not valid UTF-8"),
    ],
)
def test_bad_headers_are_refused(text: str, reason: str) -> None:
    """Each rule refuses what breaks it, and names the file, the tensor and the field."""
    with pytest.raises(CorruptError, match=reason) as caught:
        parse(expand(text), 3)
    assert str(caught.value).startswith("safetensors header of 'x.safetensors': ")


def test_bad_utf8_is_refused() -> None:
    """A header that is not UTF-8 is refused, with the place."""
    with pytest.raises(CorruptError, match="not valid UTF-8 at byte 2"):
        parse(b'{"\xff":1}', 3)


def test_utf16_is_refused() -> None:
    """JSON in another encoding is refused."""
    with pytest.raises(CorruptError):
        parse(json.dumps({"a": tensor(0, 3)}).encode("utf-16-le"), 3)


def test_unknown_dtype_is_unsupported() -> None:
    """A dtype of a later safetensors is refused, and said to be newer."""
    with pytest.raises(UnsupportedError, match=r"x\.safetensors': tensor 'a': unknown dtype 'F2'"):
        parse({"a": tensor(0, 3, dtype="F2")}, 3)


@pytest.mark.parametrize(
    ("first", "file_size", "reason"),
    [
        (b"", 0, "shorter than its length"),
        (b"\2\0\0\0\0\0\0", 7, "shorter than its length"),
        (struct.pack("<Q", 3), 10, "3 bytes, but the file has only 10"),
        (struct.pack("<Q", MAX_HEADER + 1), 1 << 40, "at most"),
        (struct.pack("<Q", (1 << 64) - 1), 1 << 40, "at most"),
        (struct.pack("<Q", 1 << 36), 1 << 40, "at most"),
    ],
)
def test_bad_lengths_are_refused(first: bytes, file_size: int, reason: str) -> None:
    """A header beyond the file or the limit is refused before it is read."""
    with pytest.raises(CorruptError, match=reason):
        header_length(first, file_size)


@pytest.mark.parametrize("head", [framed("{}")[:-1], framed("{}") + b" "])
def test_header_is_exactly_its_length(head: bytes) -> None:
    """What is parsed is the header, no byte more or less."""
    with pytest.raises(CorruptError):
        parse_header(head, 100)


@given(st.binary(max_size=200), st.integers(0, 1 << 40))
def test_any_bytes_are_refused_cleanly(content: bytes, file_size: int) -> None:
    """Arbitrary bytes raise CorruptError or UnsupportedError and nothing else."""
    with contextlib.suppress(CorruptError, UnsupportedError):
        parse_header(content, file_size)
    with contextlib.suppress(CorruptError, UnsupportedError):
        parse_header(framed(b"{" + content), file_size)


PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"a"', '"b"', "0", "1", "2", "3", "-0", "1e0", "true", "null",
     '"dtype"', '"shape"', '"data_offsets"', '"U8"', '"F4"', '"__metadata__"', " ", "\\u0061",
     '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}',
     '"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}',
     '"c":{"dtype":"F4","shape":[0],"data_offsets":[3,3]}'],
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12), st.integers(0, 4))
@example(['"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'], 1)
def test_the_library_accepts_what_we_accept(pieces: list[str], body: int) -> None:
    """Whatever is accepted here has the same tensors in the library."""
    head = framed("{" + "".join(pieces) + "}")
    try:
        header = parse_header(head, len(head) + body)
    except (CorruptError, UnsupportedError):
        return
    assert library(head, body) == {
        span.name: (span.dtype, span.shape, span.stop - span.start) for span in header.spans
    }


@given(tensors(), st.integers(), st.integers(32, 126))
def test_a_changed_header_means_the_same_to_the_library(
    entries: list[tuple[str, str, list[int]]], place: int, byte: int
) -> None:
    """A header with one byte changed is refused, or read as the library reads it."""
    head = bytearray(build_header(entries))
    body = sum(tensor_size(dtype, shape) for _, dtype, shape in entries)
    head[8 + place % (len(head) - 8)] = byte
    try:
        header = parse_header(head, len(head) + body)
    except (CorruptError, UnsupportedError):
        return
    assert library(bytes(head), body) == {
        span.name: (span.dtype, span.shape, span.stop - span.start) for span in header.spans
    }


@pytest.mark.parametrize(
    "entries",
    [
        [("a", "U8", (1,)), ("a", "U8", (1,))],
        [("__metadata__", "U8", (1,))],
        [("", "U8", (1,))],
        [("a\0", "U8", (1,))],
        [("\ud800", "U8", (1,))],
        [("a", "F2", (1,))],
        [("a", "F4", (1,))],
        [("a", "U8", (-1,))],
    ],
)
def test_wrong_tensors_are_not_written(entries: list[tuple[str, str, tuple[int, ...]]]) -> None:
    """What would not parse again is refused as the caller's mistake."""
    with pytest.raises(InvalidInputError):
        build_header(entries)


@pytest.mark.parametrize("metadata", [{"k": "\ud800"}, {"k": "x" * MAX_HEADER}])
def test_wrong_metadata_is_not_written(metadata: dict[str, str]) -> None:
    """Text that is not UTF-8, or too much of it, is refused as the caller's mistake."""
    with pytest.raises(InvalidInputError):
        build_header([], metadata)
