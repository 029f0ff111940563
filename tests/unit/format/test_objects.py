"""Objects as bytes."""

import contextlib
import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format import objects
from mstore.format.objects import (
    MAX_OBJECT,
    MAX_TREE,
    MAX_VERSION,
    decode_object,
    encode_object,
    parse_tensor_file,
)
from mstore.format.safetensors import build_header
from mstore.ids import Kind
from mstore.objects import (
    CHUNK_SIZE,
    Object,
    OpaqueFile,
    Parent,
    Tensor,
    TensorFile,
    Tree,
    TreeEntry,
    Version,
)

ID = bytes(range(32))
KINDS = [Kind.TENSOR, Kind.FILE, Kind.TREE, Kind.VERSION]
HEADER = build_header([("a.weight", "F32", (2,)), ("b", "U8", ())])

IDS = st.binary(min_size=32, max_size=32)
COUNTS = st.integers(0, (1 << 63) - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.dictionaries(st.text(max_size=8), JSON, max_size=3)
TENSORS = st.integers(0, 5).flatmap(
    lambda count: st.builds(
        Tensor,
        dtype=st.just("U8"),
        shape=st.just((count * CHUNK_SIZE,)),
        chunks=st.binary(min_size=32 * count, max_size=32 * count),
    )
)
OPAQUES = st.lists(st.integers(1, CHUNK_SIZE), max_size=4).flatmap(
    lambda sizes: st.builds(
        OpaqueFile,
        size=st.just(sum(sizes)),
        sizes=st.just(tuple(sizes)),
        chunks=st.binary(min_size=32 * len(sizes), max_size=32 * len(sizes)),
    )
)
TENSOR_FILES = IDS.map(
    lambda oid: TensorFile("safetensors", len(HEADER) + 9, HEADER, (("a.weight", oid), ("b", oid)))
)
PLACED_FILES = IDS.map(
    lambda oid: TensorFile("torch", 20, b"PK\3\4", (("w", oid), ("tied", oid)), (4, 9))
)
TREES = st.dictionaries(
    st.from_regex(r"[a-z0-9_]{1,9}\.[a-z]{1,3}", fullmatch=True).filter(
        lambda name: not name.startswith(("con.", "aux.", "nul.", "prn.", "com", "lpt"))
    ),
    st.builds(TreeEntry, name=st.just(""), type=st.sampled_from(["file", "tree"]), id=IDS),
    max_size=6,
).map(lambda named: Tree(tuple(TreeEntry(k, named[k].type, named[k].id) for k in sorted(named))))
VERSIONS = st.builds(
    Version,
    tree=IDS,
    size=COUNTS,
    time=COUNTS,
    single=st.booleans(),
    tensor_count=COUNTS,
    model_hash=st.none() | IDS,
    parents=st.lists(
        st.builds(Parent, id=IDS, relation=st.sampled_from(["derived", "merged"])), max_size=2
    ).map(tuple),
    author=st.text(max_size=9),
    message=st.text(max_size=9),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    parameters=FIELDS,
    metrics=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3),
    metadata=FIELDS,
)
OBJECTS = st.one_of(TENSORS, OPAQUES, TENSOR_FILES, PLACED_FILES, TREES, VERSIONS)


def packed(value: object) -> bytes:
    """``value`` as msgpack with sorted keys, right or wrong."""
    return msgspec.msgpack.encode(value, order="sorted")


def fields_of(value: Object) -> dict[str, object]:
    """The fields of an object as the format has them, to be changed and packed again."""
    fields = msgspec.msgpack.decode(encode_object(value)[1])
    assert isinstance(fields, dict)
    return fields


def changed(value: Object, **fields: object) -> bytes:
    """The payload of ``value`` with some fields set to other values."""
    return packed(fields_of(value) | fields)


TENSOR = Tensor("F32", (2,), ID)
OPAQUE = OpaqueFile(5, (2, 3), ID + ID)
TENSOR_FILE = TensorFile("safetensors", len(HEADER) + 9, HEADER, (("a.weight", ID), ("b", ID)))
PLACED_FILE = TensorFile("gguf", 9, b"GGUF", (("a", ID), ("b", ID)), (4, 4))
TREE = Tree((TreeEntry("a", "file", ID), TreeEntry("b", "tree", ID)))
VERSION = Version(tree=ID, size=1, time=2)


@given(OBJECTS)
def test_round_trip(value: Object) -> None:
    """What is encoded decodes to the same value, from any kind of buffer."""
    kind, payload = encode_object(value)
    assert decode_object(kind, payload) == value
    assert decode_object(kind, memoryview(bytearray(payload))) == value


@given(OBJECTS)
def test_equal_values_have_equal_bytes(value: Object) -> None:
    """Encoding what was decoded gives the bytes it was decoded from."""
    kind, payload = encode_object(value)
    assert encode_object(decode_object(kind, payload)) == (kind, payload)


def test_order_of_a_dict_does_not_matter() -> None:
    """Two dicts that are equal are written as the same bytes."""
    ahead = Version(tree=ID, size=1, time=2, parameters={"a": {"x": 1, "y": 2}, "b": 3})
    behind = Version(tree=ID, size=1, time=2, parameters={"b": 3, "a": {"y": 2, "x": 1}})
    assert encode_object(ahead) == encode_object(behind)


@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_any_bytes_are_refused_cleanly(kind: Kind, payload: bytes) -> None:
    """Arbitrary bytes raise CorruptError or UnsupportedError and nothing else."""
    with contextlib.suppress(CorruptError, UnsupportedError):
        decode_object(kind, payload)


@given(st.sampled_from(KINDS), OBJECTS, st.integers(0), st.integers(0, 255))
def test_changed_bytes_are_refused_or_canonical(
    kind: Kind, value: Object, place: int, byte: int
) -> None:
    """A payload with one byte changed is refused, or is the one encoding of another value."""
    payload = bytearray(encode_object(value)[1])
    payload[place % len(payload)] = byte
    with contextlib.suppress(CorruptError, UnsupportedError):
        found = decode_object(kind, bytes(payload))
        assert encode_object(found)[1] == payload


@given(OBJECTS, st.integers(0))
def test_a_cut_payload_is_refused(value: Object, place: int) -> None:
    """A payload that ends early is corrupt."""
    kind, payload = encode_object(value)
    with pytest.raises(CorruptError):
        decode_object(kind, payload[: place % len(payload)])


@pytest.mark.parametrize("value", [TENSOR, OPAQUE, TENSOR_FILE, TREE, VERSION], ids=repr)
def test_bytes_behind_the_value_are_refused(value: Object) -> None:
    """Nothing may follow the value."""
    kind, payload = encode_object(value)
    with pytest.raises(CorruptError):
        decode_object(kind, payload + b"\xc0")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.TENSOR, b"\x82\xa5shape\x91\x00\xa5dtype\xa2U8"),
        (Kind.TENSOR, packed({"chunks": b"", "dtype": "U8", "shape": [0]})),
        (Kind.TENSOR, b"\x82\xa5dtype\xa2U8\xa5shape\x91\xcc\x00"),
        (Kind.TENSOR, b"\x82\xa5dtype\xd9\x02U8\xa5shape\x91\x00"),
        (Kind.TENSOR, b"\xde\x00\x02\xa5dtype\xa2U8\xa5shape\x91\x00"),
        (Kind.TENSOR, b"\x83\xa5dtype\xa2U8\xa5dtype\xa2U8\xa5shape\x91\x00"),
        (Kind.TREE, b"\x81\xa7entries\x90"),
        (Kind.VERSION, changed(VERSION, single=False)),
        (Kind.VERSION, changed(VERSION, metrics={"loss": 1})),
    ],
    ids=["order", "default", "integer", "string", "map", "twice", "empty", "false", "metric"],
)  # fmt: skip
def test_other_spellings_are_refused(kind: Kind, payload: bytes) -> None:
    """A value has one encoding: sorted keys, shortest lengths, no field at its default."""
    with pytest.raises(CorruptError, match="not in canonical form"):
        decode_object(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        (Kind.TENSOR, changed(TENSOR, strides=[1]), "unknown field `strides`"),
        (Kind.TENSOR, changed(TENSOR, dtype="F2"), "unknown dtype 'F2'"),
        (Kind.FILE, changed(OPAQUE, form="delta"), "'delta'"),
        (Kind.FILE, changed(TENSOR_FILE, format="gguf"), "'gguf'"),
        (Kind.FILE, changed(TENSOR_FILE, format="keras"), "'keras'"),
        (Kind.TREE, changed(TREE, mode=1), "unknown field `mode`"),
        (Kind.TREE, packed({"entries": [["a", "link", ID]]}), "'link'"),
        (Kind.VERSION, changed(VERSION, network=ID), "unknown field `network`"),
        (Kind.VERSION, changed(VERSION, parents=[[ID, "distilled"]]), "'distilled'"),
    ],
)
def test_what_is_newer_is_unsupported(kind: Kind, payload: bytes, reason: str) -> None:
    """A field, form, type or relation of a later format is refused, and said to be newer."""
    with pytest.raises(UnsupportedError, match=reason):
        decode_object(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        (Kind.TENSOR, b"", "does not start with a map"),
        (Kind.TENSOR, b"\xde", "unknown|empty|truncated|dtype"),
        (Kind.TENSOR, b"\x90", "does not start with a map"),
        (Kind.TENSOR, b"\xdf\xff\xff\xff\xff", "does not start with a map"),
        (Kind.TENSOR, packed({"dtype": "U8"}), "missing required field `shape`"),
        (Kind.TENSOR, changed(TENSOR, shape=[-1]), "shape has a dimension of -1"),
        (Kind.TENSOR, changed(TENSOR, shape=[1 << 41]), "shape has a dimension"),
        (Kind.TENSOR, changed(TENSOR, shape=[1] * 17), "shape says that it holds 17 values"),
        (Kind.TENSOR, changed(TENSOR, shape=[1 << 40] * 2), "overflows"),
        (Kind.TENSOR, changed(TENSOR, shape=[1.5]), "shape"),
        (Kind.TENSOR, changed(TENSOR, shape=[0]), "chunks has 32 bytes"),
        (Kind.TENSOR, changed(TENSOR, chunks=ID[:-1]), "chunks has 31 bytes"),
        (Kind.TENSOR, changed(TENSOR, shape=[CHUNK_SIZE]), "need 128"),
        (Kind.TENSOR, changed(TENSOR, dtype="F4", shape=[3]), "whole bytes"),
        (Kind.FILE, packed({"size": 0}), "missing required field `form`"),
        (Kind.FILE, changed(OPAQUE, size=6), "sizes add up to 5"),
        (Kind.FILE, changed(OPAQUE, sizes=[5]), "for 1 sizes"),
        (Kind.FILE, changed(OPAQUE, sizes=[0, 5]), "outside 1 to"),
        (Kind.FILE, changed(OPAQUE, sizes=[-1, 6]), "outside 1 to"),
        (Kind.FILE, changed(OPAQUE, size=CHUNK_SIZE + 2, sizes=[CHUNK_SIZE + 1, 1]), "outside"),
        (Kind.FILE, changed(TENSOR_FILE, size=3), "the file has only 3"),
        (Kind.FILE, changed(TENSOR_FILE, places=[0, 1]), "other formats than safetensors"),
        (Kind.FILE, changed(PLACED_FILE, size=3), "at most 3 can be"),
        (Kind.FILE, changed(PLACED_FILE, size=1 << 25, header=bytes((16 << 20) + 1)), "at most"),
        (Kind.FILE, changed(PLACED_FILE, size=1 << 63), r"int` <= .* at `\$.size`"),
        (Kind.FILE, changed(PLACED_FILE, places=[4]), "1 places for 2 tensors"),
        (Kind.FILE, changed(PLACED_FILE, places=[4, 10]), "one of 0 to 9"),
        (Kind.FILE, changed(PLACED_FILE, places=[-1, 4]), "one of 0 to 9"),
        (Kind.FILE, changed(PLACED_FILE, places=[5, 4]), "order of their places"),
        (Kind.FILE, changed(PLACED_FILE, tensors=[["b", ID], ["a", ID]]), "order of their places"),
        (Kind.FILE, changed(PLACED_FILE, tensors=[["a", ID], ["a", ID]]), "one name twice"),
        (Kind.FILE, changed(TENSOR_FILE, size=1 << 63), r"int` <= .* at `\$.size`"),
        (Kind.FILE, changed(TENSOR_FILE, header=HEADER + b" "), "its length field says"),
        (Kind.FILE, changed(TENSOR_FILE, header=b""), "shorter than its length"),
        (Kind.FILE, changed(TENSOR_FILE, tensors=[["a" * 40, b"x"]]), r"\$.tensors\[0\]\[1\]`"),
        (Kind.FILE, changed(TENSOR_FILE, tensors=[["a\0", ID]]), "tensor name"),
        (Kind.FILE, changed(TENSOR_FILE, tensors=[["a", ID], ["a", ID]]), "one name twice"),
        (Kind.TREE, packed({"entries": [["b", "file", ID], ["a", "file", ID]]}), "out of order"),
        (Kind.TREE, packed({"entries": [["a", "file", ID], ["a", "file", ID]]}), "are the same"),
        (Kind.TREE, packed({"entries": [["A", "file", ID], ["a", "file", ID]]}), "are the same"),
        (Kind.TREE, packed({"entries": [["..", "tree", ID]]}), "is not a name"),
        (Kind.TREE, packed({"entries": [["a/b", "tree", ID]]}), "separator"),
        (Kind.TREE, packed({"entries": [["a\0", "file", ID]]}), "control"),
        (Kind.TREE, packed({"entries": [["a", "file", ID[1:]]]}), r"\$.entries\[0\]\[2\]`"),
        (Kind.TREE, packed({"entries": [["a" * 40, "file"]]}), "length 3"),
        (Kind.VERSION, changed(VERSION, tree=b""), r"length >= 32 - at `\$.tree`"),
        (Kind.VERSION, changed(VERSION, tree=ID + b"x"), r"length <= 32 - at `\$.tree`"),
        (Kind.VERSION, changed(VERSION, model_hash=b"x"), r"length >= 32 - at `\$.model_hash`"),
        (Kind.VERSION, changed(VERSION, parents=[[b"x", "derived"]]), r"\$.parents\[0\]\[0\]`"),
        (Kind.VERSION, changed(VERSION, size=-1), r"int` >= 0 - at `\$.size`"),
        (Kind.VERSION, changed(VERSION, time=1 << 63), r"int` <= .* at `\$.time`"),
        (Kind.VERSION, changed(VERSION, tensor_count=-1), r"\$.tensor_count`"),
        (Kind.VERSION, changed(VERSION, parameters={"a": b"x"}), "parameters: msgpack type 0xc4"),
        (Kind.VERSION, changed(VERSION, metadata=[]), "metadata"),
        (Kind.VERSION, changed(VERSION, metrics={"a": "b"}), "metrics"),
    ],
)  # fmt: skip
def test_broken_rules_are_named(kind: Kind, payload: bytes, reason: str) -> None:
    """Each rule of the specification refuses what breaks it, and names the field."""
    with pytest.raises(CorruptError, match=reason) as caught:
        decode_object(kind, payload)
    assert str(caught.value).startswith(f"{kind.name.lower()} object: ")


def test_bad_utf8_is_refused() -> None:
    """A string that is not UTF-8 is corrupt."""
    payload = encode_object(Tree((TreeEntry("ab", "file", ID),)))[1].replace(b"ab", b"\xff\xfe")
    with pytest.raises(CorruptError, match=r"(?i)utf"):
        decode_object(Kind.TREE, payload)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(Kind.TENSOR, MAX_OBJECT), (Kind.TREE, MAX_TREE), (Kind.VERSION, MAX_VERSION)],
)
def test_size_is_bounded(kind: Kind, limit: int) -> None:
    """A payload over its limit is refused undecoded."""
    with pytest.raises(CorruptError, match=f"at most {limit} are allowed"):
        decode_object(kind, bytes(limit + 1))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.VERSION, b"\x81\xaaparameters" + b"\x91" * 1_000_000 + b"\xc0"),
        (Kind.VERSION, changed(VERSION, parameters={"a": [[]] * 100_000})),
        (Kind.VERSION, changed(VERSION, parameters={"a": [0] * 100_000})),
        (Kind.VERSION, b"\x81\xa7metrics" + b"\x91" * 1_000_000 + b"\xc0"),
        (Kind.VERSION, changed(VERSION, metrics={f"{i:05}": 0.5 for i in range(50_000)})),
        (Kind.TENSOR, changed(TENSOR, shape=[0] * 1_000_000)),
        (Kind.FILE, changed(OPAQUE, sizes=[1] * 1_000_000)),
        (Kind.FILE, b"\x81" + packed("sizes") + b"\x91" * 1_000_000 + b"\xc0"),
        (Kind.FILE, changed(TENSOR_FILE, tensors=[["", b""]] * 100_000)),
        (Kind.FILE, changed(TENSOR_FILE, tensors=[["", b""]] * 20)),
        (Kind.TREE, packed({"entries": [["", "file", b""]] * 100_000})),
        (Kind.TREE, packed({"entries": [["", "file", b""]] * 5})),
    ],
    ids=[
        "deep",
        "lists",
        "numbers",
        "deep metrics",
        "metrics",
        "shape",
        "sizes",
        "deep sizes",
        "tensors",
        "few tensors",
        "entries",
        "few entries",
    ],
)
def test_bombs_are_refused(kind: Kind, payload: bytes) -> None:
    """Few bytes that would become many values are refused before they do."""
    with pytest.raises(CorruptError):
        decode_object(kind, payload)


def test_metrics_are_floats() -> None:
    """A metric given as an integer is written as a float, any NaN as the one NaN."""
    negative_nan = struct.unpack(">d", b"\xff\xf8" + bytes(6))[0]
    version = Version(tree=ID, size=1, time=2, metrics={"step": 3, "loss": negative_nan})
    kind, payload = encode_object(version)
    found = decode_object(kind, payload)
    assert isinstance(found, Version)
    assert type(found.metrics["step"]) is float
    assert math.isnan(found.metrics["loss"])
    assert payload.count(b"\xcb\x7f\xf8" + bytes(6)) == 1


@pytest.mark.parametrize(
    "value",
    [
        Version(tree=ID, size=1, time=2, parameters={"seed": 1 << 70}),
        Version(tree=ID, size=1, time=2, parameters={"name": "\ud800"}),
        Version(tree=ID, size=1, time=2, parameters={"bytes": b"x"}),
        Version(tree=ID, size=1, time=2, parameters={1: 2}),
        Version(tree=ID, size=1, time=2, parameters={"object": object()}),
        Version(tree=ID, size=1, time=2, metrics={"loss": "low"}),
        Version(tree=b"", size=1, time=2),
        Tensor("F2", (1,), ID),
        Tensor("F32", (CHUNK_SIZE,), ID),
        Tree((TreeEntry("b", "file", ID), TreeEntry("a", "file", ID))),
    ],
    ids=["int", "surrogate", "bytes", "key", "object", "text", "tree", "dtype", "chunks", "order"],
)
def test_wrong_values_are_not_written(value: Object) -> None:
    """What would not decode again is refused as the caller's mistake."""
    with pytest.raises(InvalidInputError, match="cannot store this"):
        encode_object(value)


def test_a_loop_is_not_written() -> None:
    """A list that holds itself is refused."""
    loop: list[objects.Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError):
        encode_object(Version(tree=ID, size=1, time=2, parameters={"loop": loop}))


def test_tensor_file_agrees_with_its_header() -> None:
    """A file's header names its tensors in their order and covers its size."""
    header = parse_tensor_file(TENSOR_FILE)
    assert [span.name for span in header.spans] == ["a.weight", "b"]
    swapped = TensorFile("safetensors", TENSOR_FILE.size, HEADER, TENSOR_FILE.tensors[::-1])
    with pytest.raises(CorruptError, match="in their order"):
        parse_tensor_file(swapped)
    longer = TensorFile("safetensors", TENSOR_FILE.size + 1, HEADER, TENSOR_FILE.tensors)
    with pytest.raises(CorruptError, match="the file has"):
        parse_tensor_file(longer)
