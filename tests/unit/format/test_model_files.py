"""The tensors of torch, GGUF, ONNX and NumPy files, found without running or unpickling them."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from mstore.errors import CorruptError, MstoreError, UnsupportedError
from mstore.format import pickle_outline
from mstore.format.layout import Outline, Span
from mstore.format.model_files import check_literals, outline_of, why_opaque
from mstore.format.pickle_outline import tensors_in
from mstore.format.safetensors import parse_header
from mstore.objects import TensorFile

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
WEIGHT = torch.arange(6, dtype=torch.float32).reshape(2, 3)


def outlined(content: bytes) -> Outline:
    """The outline of a file with these bytes; reading beyond them is an error."""

    def read(start: int, size: int) -> bytes:
        assert 0 <= start <= start + size <= len(content)
        return content[start : start + size]

    return outline_of(len(content), read)


def saved(value: object) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def numpy_saved(save: Any, *arrays: Any, **named: Any) -> bytes:
    """What one of NumPy's functions writes."""
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def names(content: bytes) -> list[str]:
    """The names of the tensors of a file."""
    return [span.name for span in outlined(content).spans]


def shown(content: bytes, span: Span) -> tuple[str, str, tuple[int, ...], bytes]:
    """A tensor: its name, dtype, shape and bytes."""
    return span.name, span.dtype, span.shape, content[span.start : span.stop]


def test_a_state_dict_has_the_tensors_of_the_same_weights_in_safetensors() -> None:
    """Names, dtypes, shapes and bytes are the same in both files."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3))
    weights = model.half().state_dict()
    torch_file, other = saved(weights), save_safetensors(weights)
    head = other[: 8 + int.from_bytes(other[:8], "little")]
    spans = parse_header(head, len(other)).spans
    found = outlined(torch_file)
    assert found.format == "torch"
    assert sorted(shown(torch_file, span) for span in found.spans) == sorted(
        shown(other, span) for span in spans
    )


SHAPES = st.lists(st.integers(0, 4), max_size=3)
MODELS = st.dictionaries(
    st.text("abc._1é", min_size=1, max_size=9),
    st.tuples(SHAPES, st.sampled_from([torch.float32, torch.int8, torch.bfloat16, torch.bool])),
    min_size=1,
    max_size=6,
)


@given(MODELS)
def test_any_state_dict_is_that_of_safetensors(model: dict[str, Any]) -> None:
    """Whatever the names, shapes and dtypes are, both files have the same tensors."""
    weights = {name: torch.ones(shape).to(dtype) for name, (shape, dtype) in model.items()}
    torch_file, other = saved(weights), save_safetensors(weights)
    head = other[: 8 + int.from_bytes(other[:8], "little")]
    assert {shown(torch_file, span) for span in outlined(torch_file).spans} == {
        shown(other, span) for span in parse_header(head, len(other)).spans
    }


ARRAYS = st.dictionaries(
    st.text("abc._/", min_size=1, max_size=9).filter(lambda name: name != "file"),
    st.tuples(SHAPES, st.sampled_from(["<f4", "|i1", "<u2", "<c8"])),
    min_size=1,
    max_size=6,
)


@given(ARRAYS)
def test_any_archive_of_arrays_has_them_all(arrays: dict[str, Any]) -> None:
    """Whatever the names, shapes and dtypes are, an .npz file has the tensors that were saved."""
    named = {name: np.ones(shape, dtype) for name, (shape, dtype) in arrays.items()}
    content = numpy_saved(np.savez, **named)
    tensors = [shown(content, span) for span in outlined(content).spans]
    assert {name: (shape, raw) for name, _, shape, raw in tensors} == {
        name: (array.shape, array.tobytes()) for name, array in named.items()
    }


DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64", torch.uint16: "U16",
    torch.uint32: "U32", torch.uint64: "U64", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ", torch.float8_e8m0fnu: "F8_E8M0",
}  # fmt: skip


def test_every_dtype_of_torch_that_a_store_knows() -> None:
    """Each dtype is told by its storage, or by its own name where storages have no types."""
    weights = {name: torch.zeros(3, dtype=dtype) for dtype, name in DTYPES.items()}
    found = outlined(saved(weights)).spans
    assert {span.name: span.dtype for span in found} == {name: name for name in weights}


def test_names_are_the_keys_and_indexes_on_the_way() -> None:
    """What is nested has its keys joined by dots; a tensor alone is called tensor."""
    a, b, c, d = (WEIGHT + number for number in range(4))
    nested = {"model": OrderedDict(w=a), "state": {0: {"m": b}}, "groups": [{"t": (c, 1, d)}]}
    plain = {"lr": 0.5, "epoch": 3, "none": None, "on": True, "at": torch.device("cpu")}
    more = {"size": torch.Size([1]), "dtype": torch.float16, "set": {1}, "bytes": b"x", 7: "x"}
    content = saved(nested | plain | more)
    assert sorted(names(content)) == ["groups.0.t.0", "groups.0.t.2", "model.w", "state.0.m"]
    assert names(saved(WEIGHT)) == ["tensor"]
    assert names(saved(torch.nn.Parameter(WEIGHT))) == ["tensor"]


def test_tied_tensors_and_views_that_do_not_overlap() -> None:
    """Tied tensors have one place; views of one storage stand at theirs."""
    flat = torch.arange(8, dtype=torch.float32)
    content = saved({"a": flat[:4], "tied": flat[:4], "b": flat[4:].view(2, 2)})
    a, tied, b = outlined(content).spans
    assert (a.name, tied.name, b.name) == ("a", "tied", "b")
    assert (a.start, a.stop) == (tied.start, tied.stop)
    assert b.start == a.stop
    assert content[b.start : b.stop] == flat[4:].numpy().tobytes()


def test_bytes_of_a_storage_that_no_tensor_has_are_literal() -> None:
    """A view keeps its whole storage; what it does not show belongs to no tensor."""
    content = saved({"a": torch.arange(8, dtype=torch.float32)[2:4]})
    found = outlined(content)
    assert found.spans[0].stop - found.spans[0].start == 8
    assert len(found.literals) == len(content) - 8


class Canary:
    """Whoever unpickles one makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_what_is_not_plain_tensors_is_refused_and_never_run(tmp_path: Path) -> None:
    """The error names what the pickle wanted, which is not called."""
    canary = tmp_path / "canary"
    with pytest.raises(UnsupportedError, match=r"names '[a-z]+\.mkdir'"):
        outlined(saved({"w": WEIGHT, "x": Canary(canary)}))
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # noqa: S301 - shows that the canary sings
    assert canary.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.nn.Linear(2, 2), "names 'torch.nn.modules.linear.Linear'"),
        ({"a": WEIGHT.t()}, "'a' is not stored in C order"),
        ({"a": WEIGHT.view(6)[:4], "b": WEIGHT.view(6)[2:]}, "'a' and 'b' share"),
        ({"a": WEIGHT, "b": WEIGHT.view(6)}, "'a' and 'b' share"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, "torch.ComplexDoubleStorage"),
        ({"a": torch.zeros(2, dtype=torch.complex64).conj()}, "more than a view"),
        ({"a.b": WEIGHT, "a": {"b": WEIGHT + 1}}, "one name"),
        ({(1, 2): WEIGHT}, "a tuple as a key"),
        ({None: WEIGHT}, "no name"),
        ({"": WEIGHT}, "tensor name"),
        ({"a": 1}, "no tensors"),
    ],
)
def test_torch_files_that_are_kept_as_bytes(value: object, message: str) -> None:
    """What has no place, no plain bytes or no name of its own is refused by name."""
    with pytest.raises(MstoreError, match=message):
        outlined(saved(value))
    content = saved(value)
    assert message.strip("'") in why_opaque(len(content), lambda at, size: content[at : at + size])


def test_other_torch_files_that_are_kept_as_bytes() -> None:
    """Files of the form before archives, big-endian ones and scripts are refused."""
    buffer = io.BytesIO()
    torch.save({"a": WEIGHT}, buffer, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedError, match="no format"):
        outlined(buffer.getvalue())
    swapped = saved({"a": WEIGHT}).replace(b"little", b"biggie")
    with pytest.raises(UnsupportedError, match="little-endian"):
        outlined(swapped)
    with pytest.raises(UnsupportedError, match="compressed"):
        outlined(zipped({"x/data.pkl": b"."}, zipfile.ZIP_DEFLATED))
    with pytest.raises(UnsupportedError, match="something else"):
        outlined(zipped({"readme": b"."}))
    with pytest.raises(UnsupportedError, match="2 records"):
        outlined(zipped({"x/data.pkl": b".", "y/data.pkl": b"."}))


def zipped(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with these records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"PK\5\6", b"PK\5\7", "no directory"),
        (b"PK\1\2", b"PK\1\3", "broken"),
        (b"PK\6\6", b"PK\6\5", "zip64"),
        (b"archive/data/0", b"archive/data/1", "missing|not at its place"),
    ],
)
def test_broken_archives(old: bytes, new: bytes, message: str) -> None:
    """A directory or a record that is not what it should be is corrupt."""
    content = saved({"a": WEIGHT})
    assert old in content
    with pytest.raises(CorruptError, match=message):
        outlined(content.replace(old, new))


def test_records_that_share_their_bytes_are_corrupt() -> None:
    """An archive whose records overlap can be read in two ways."""
    content = bytearray(zipped({"a.npy": b"x" * 100, "b.npy": b"y" * 100}))
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = bytes(4)
    with pytest.raises(CorruptError, match="share"):
        outlined(bytes(content))


def test_large_archives_have_sizes_of_64_bits() -> None:
    """A record with a zip64 field is found, as torch and zipfile write for large ones."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("w.npy", "w", force_zip64=True) as f:
        np.save(f, WEIGHT.numpy())
    content = buffer.getvalue()
    (span,) = outlined(content).spans
    assert shown(content, span) == ("w", "F32", (2, 3), WEIGHT.numpy().tobytes())


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        (b"", CorruptError, "ends in an instruction"),
        (b"(", CorruptError, "ends in an instruction"),
        (b".", CorruptError, "broken"),
        (b"h\x05.", CorruptError, "broken"),
        (b"cos\nsystem\n(S'x'\ntR.", UnsupportedError, "names 'os.system'"),
        (b"cbuiltins\neval\n.", UnsupportedError, "names 'builtins.eval'"),
        (b"\x8c\x02os\x8c\x06system\x93.", UnsupportedError, "names 'os.system'"),
        (b"\x82\x01.", UnsupportedError, "instruction"),
        (b"ios\nsystem\n.", UnsupportedError, "instruction"),
        (b"(cos\nsystem\no.", UnsupportedError, "names 'os.system'"),
        (b"]N\x85R.", CorruptError, "no name"),
        (b"ctorch\nfloat32\n)R.", CorruptError, "broken"),
        (b"ccollections\nOrderedDict\n]\x85R.", CorruptError, "broken"),
        (b"X\xff\xff\xff\xff.", CorruptError, "ends in an instruction"),
        (b"}q\x00h\x00h\x00s.", UnsupportedError, "a dict as a key"),
        (b"]K\x01K\x02s.", CorruptError, "no map"),
        (b"}K\x01a.", CorruptError, "no list"),
        (b"K\x01Q.", CorruptError, "broken"),
        (b"K\x01N\x86b.", CorruptError, "broken"),
    ],
)
def test_pickles_that_are_refused(program: bytes, error: type[MstoreError], message: str) -> None:
    """Programs that are cut short, that call anything, or that make no sense are refused."""
    with pytest.raises(error, match=message):
        tensors_in(program)


def test_pickles_that_would_never_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ways to one value, values inside one another and long programs are all bounded."""
    doubled = b"]q\x00" + b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(40)) + b"."
    with pytest.raises(UnsupportedError, match="more than"):
        tensors_in(doubled)
    with pytest.raises(UnsupportedError, match="nests more than 64"):
        tensors_in(b"]" * 100 + b"a" * 99 + b".")
    monkeypatch.setattr(pickle_outline, "MAX_STEPS", 100)
    with pytest.raises(UnsupportedError, match="more than 100 instructions"):
        tensors_in(b"N" * 101 + b".")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN, st.integers(2, 5))
def test_plain_values_of_any_protocol_hold_no_tensors(value: object, protocol: int) -> None:
    """Numbers, texts, lists, tuples and maps are read to the end, and hold no tensors."""
    assert tensors_in(pickle.dumps(value, protocol)) == []


def test_an_array_and_an_archive_of_arrays() -> None:
    """An .npy file has one tensor; an .npz file one for each array, by its name."""
    weight, index = WEIGHT.numpy(), np.arange(3, dtype=np.int16)
    content = numpy_saved(np.save, weight)
    (span,) = outlined(content).spans
    assert shown(content, span) == ("tensor", "F32", (2, 3), weight.tobytes())
    content = numpy_saved(np.savez, **{"w": weight, "a/b": index, "none": np.zeros((0, 2), bool)})
    found = outlined(content)
    assert found.format == "numpy"
    assert [shown(content, span) for span in found.spans] == [
        ("w", "F32", (2, 3), weight.tobytes()),
        ("a/b", "I16", (3,), index.tobytes()),
        ("none", "BOOL", (0, 2), b""),
    ]


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(WEIGHT.numpy()),
        np.arange(3, dtype=">f4"),
        np.array(["text"]),
        np.zeros(2, dtype=[("x", "<f4")]),
        np.zeros(2, dtype=np.complex128),
        np.array([{}, None]),
    ],
)
def test_arrays_that_are_kept_as_bytes(array: Any) -> None:
    """Arrays in Fortran order, big-endian ones, texts, structures and objects are refused."""
    with pytest.raises(UnsupportedError, match=r"another form|holds"):
        outlined(numpy_saved(np.save, array))
    with pytest.raises(UnsupportedError, match=r"another form|holds"):
        outlined(numpy_saved(np.savez, WEIGHT.numpy(), array))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (numpy_saved(np.save, WEIGHT.numpy())[:-1], "has 23 bytes, not 24"),
        (numpy_saved(np.save, WEIGHT.numpy()) + b"x", "has 25 bytes, not 24"),
        (b"\x93NUMPY\x01\x00\xff\xff", "a header of 65535"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4294967295"),
        (b"\x93NUMPY", "no array"),
        (b"\x93NUMPY\x09\x00\x00\x00", "no array"),
    ],
)
def test_broken_arrays(content: bytes, message: str) -> None:
    """An array of another length than its header says, or with none, is refused."""
    with pytest.raises(MstoreError, match=message):
        outlined(content)


def fixture(name: str) -> bytes:
    """A file that the package which owns its format wrote (tests/fixtures/make.py)."""
    return (FIXTURES / name).read_bytes()


def numbers(*shape: int) -> Any:
    """What tests/fixtures/make.py put in."""
    return (np.arange(np.prod(shape), dtype=np.float32) / 8).reshape(shape)


def test_a_gguf_file() -> None:
    """Plain tensors have their dtypes and row-major shapes, quantised ones rows of bytes."""
    content = fixture("small.gguf")
    found = outlined(content)
    assert found.format == "gguf"
    weight, half, quantised = found.spans
    assert shown(content, weight) == ("weight", "F32", (2, 3), numbers(2, 3).tobytes())
    assert shown(content, half) == ("half", "F16", (4,), numbers(4).astype("f2").tobytes())
    assert (quantised.name, quantised.dtype, quantised.shape) == ("quantised", "U8", (2, 68))


def gguf_text(text: bytes) -> bytes:
    """A string of GGUF."""
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"GGUF", CorruptError, "behind the end"),
        (b"GGUF\0\0\0\3" + bytes(16), UnsupportedError, "version 50331648"),
        (b"GGUF\1\0\0\0" + bytes(16), UnsupportedError, "version 1"),
        (b"GGUF\3\0\0\0" + b"\xff" * 16, CorruptError, "fields or tensors"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 0), UnsupportedError, "no tensors"),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_text(b"k") + struct.pack("<I", 99),
            UnsupportedError,
            "field of type 99",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
            + gguf_text(b"k")
            + struct.pack("<I", 9)
            + struct.pack("<IQ", 9, 1) * 9,
            UnsupportedError,
            "field of type 9",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
            + gguf_text(b"k")
            + struct.pack("<IIQ", 9, 12, 1 << 60),
            CorruptError,
            "behind the end",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
            + gguf_text(b"general.alignment")
            + struct.pack("<II", 4, 0),
            CorruptError,
            "alignment",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
            + gguf_text(b"w")
            + struct.pack("<IQIQ", 1, 3, 77, 0),
            UnsupportedError,
            "unknown type 77",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
            + gguf_text(b"w")
            + struct.pack("<IQIQ", 1, 33, 8, 0),
            UnsupportedError,
            "half blocks",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + gguf_text(b"w") + struct.pack("<I", 99),
            CorruptError,
            "99 dimensions",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
            + gguf_text(b"w")
            + struct.pack("<IQIQ", 1, 8, 0, 0),
            CorruptError,
            "ends at byte",
        ),
    ],
)
def test_broken_gguf_files(content: bytes, error: type[MstoreError], message: str) -> None:
    """Counts, types, alignments and places that cannot be are refused before they are used."""
    with pytest.raises(error, match=message):
        outlined(content)


def test_an_onnx_file() -> None:
    """Initializers are found in raw_data, and in float_data where it is packed."""
    content = fixture("small.onnx")
    found = outlined(content)
    assert found.format == "onnx"
    assert [shown(content, span) for span in found.spans] == [
        ("weight", "F32", (2, 3), numbers(2, 3).tobytes()),
        ("index", "I64", (2,), np.array([1, 2], "<i8").tobytes()),
        ("typed", "F32", (2,), np.array([0.5, 0.25], "<f4").tobytes()),
    ]


@pytest.mark.parametrize(
    ("name", "message"), [("varints.onnx", "'varints'"), ("elsewhere.onnx", "'weight'")]
)
def test_onnx_files_that_are_kept_as_bytes(name: str, message: str) -> None:
    """One initializer that is not in place leaves the whole file opaque: no hash without it."""
    with pytest.raises(UnsupportedError, match=message):
        outlined(fixture(name))


def field(number: int, content: bytes | int) -> bytes:
    """A field of protobuf, of less than 128 bytes."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (field(1, 8), "no ONNX model"),
        (field(1, 8) + field(9, b""), "field 9"),
        (field(1, 8) + field(7, b"") + field(7, b""), "field 7"),
        (field(1, 8) + field(7, 1), "wire type 0"),
        (field(1, 8) + b"\x3f", "wire type 7"),
        (field(1, 8) + b"\x3a\xff\x7f", "behind the end"),
        (b"\x08" + b"\xff" * 11, "ten bytes"),
        (field(1, 8) + field(7, field(15, b"")), "sparse"),
        (field(1, 8) + field(7, field(5, 1)), "wire type 0"),
        (field(1, 8) + field(7, b"\x2a\x05"), "ends at byte|behind the end"),
        (field(1, 8) + field(7, field(5, field(8, b"\xff"))), "UTF-8"),
        (field(1, 8) + field(7, field(5, field(8, b"w") + field(2, 8))), "unknown dtype"),
        (
            field(1, 8) + field(7, field(5, field(8, b"w") + field(2, 2) + field(1, b"\1" * 20))),
            "not|dimensions",
        ),
        (
            field(1, 8)
            + field(7, field(5, field(8, b"w") + field(2, 2) + field(9, b"x") + field(9, b"x"))),
            "in one place",
        ),
        (field(1, 8) + field(7, b""), "no tensors"),
    ],
)
def test_broken_onnx_files(content: bytes, message: str) -> None:
    """What is no model, or a model whose parts do not fit one another, is refused."""
    with pytest.raises(MstoreError, match=message):
        outlined(content)


def test_an_initializer_without_numbers() -> None:
    """A tensor of size 0 stands anywhere."""
    empty = field(8, b"e") + field(2, 1) + field(1, 0)
    whole = field(8, b"w") + field(2, 2) + field(1, 1) + field(9, b"x")
    content = field(1, 8) + field(7, field(5, empty) + field(5, whole))
    assert [span[:3] for span in outlined(content).spans] == [("e", "F32", (0,)), ("w", "U8", (1,))]


def test_a_file_whose_bytes_name_other_tensors_is_told() -> None:
    """Names, shapes and places are held against the literal bytes of the file."""
    content = saved({"a": WEIGHT})
    found = outlined(content)
    (span,) = found.spans
    shape, tensor = [("F32", (2, 3))], ("a", bytes(32))

    def file(**fields: Any) -> TensorFile:
        whole: dict[str, Any] = {"format": "torch", "size": len(content), "header": found.literals}
        return TensorFile(**whole | {"tensors": (tensor,), "places": (span.start,)} | fields)

    check_literals(file(), shape)
    with pytest.raises(CorruptError, match="do not name"):
        check_literals(file(tensors=(("b", bytes(32)),)), shape)
    with pytest.raises(CorruptError, match="do not name"):
        check_literals(file(), [("F32", (3, 2))])
    with pytest.raises(CorruptError, match="do not name"):
        check_literals(file(format="numpy"), shape)
    with pytest.raises(CorruptError, match=r"not those of a torch file|zip64|directory"):
        check_literals(file(header=bytes(len(found.literals))), shape)
    with pytest.raises(CorruptError, match="not those of a torch file"):
        check_literals(file(header=found.literals.replace(b"_rebuild", b"_rebuilt")), shape)
