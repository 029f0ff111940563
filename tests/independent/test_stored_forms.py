"""Every form that a chunk is stored in, and every vector, read by the reader of SPEC.md alone."""

import importlib.util
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

import mstore

READER = Path(__file__).with_name("reader.py")
VECTORS = READER.parents[1] / "vectors"
SPEC = importlib.util.spec_from_file_location("independent_reader", READER)
assert SPEC is not None
assert SPEC.loader is not None
reader = importlib.util.module_from_spec(SPEC)
sys.path.insert(0, str(READER.parent))  # where a script finds the module beside it
sys.modules["reader"] = reader
SPEC.loader.exec_module(reader)
importlib.import_module("remarks")  # what is said of versions is read by another file

# §7.3 and §8.1 leave these to checkers, or hide one object and no more
LENIENT = {
    "two rows of one id",
    "offset not aligned",
    "unknown kind",
    "reserved bytes of the header",
}


def read_config(raw: bytes, folder: Path) -> Any:
    """Read a config as that of a store."""
    (folder / "config").write_bytes(raw)
    return reader.Store(folder).path


def read_payload(case: dict[str, Any]) -> bytes:
    """Decode the entry of a vector."""
    base = bytes.fromhex(case["base"]["hex"]) if "base" in case else None
    plain: bytes = reader.payload(case["codec"], bytes.fromhex(case["hex"]), case["size"], base)
    assert "value" not in case or plain.hex() == case["value"]["hex"]
    return plain


def read_object(case: dict[str, Any]) -> Any:
    """Decode the object of a vector and hold its id."""
    raw = bytes.fromhex(case["hex"])
    assert "id" not in case or reader.digest(case["kind"], raw).hex() == case["id"]
    return raw if case["kind"] == "chunk" else reader.decode(raw, case["kind"])


def read_pack(case: dict[str, Any]) -> Any:
    """Read the index of a pack whose name is right."""
    raw = bytes.fromhex(case["hex"])
    start = int.from_bytes(raw[-32:-24], "little")
    return list(reader.read_index(raw, reader.digest("pack", raw[start:]).hex()))


def read_name(case: dict[str, Any]) -> Any:
    """Hold a name against the rules of refs or of files."""
    if case["name"].startswith("ref"):
        reader.need(reader.ref_name(case["text"]), "no name")
    entries = [(case["text"], "file", bytes(32))]
    if case["name"].startswith("file"):
        reader.need(reader.good_tree(reader.TYPES["tree"](entries=entries)), "no name")


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "codecs": read_payload,
    "objects": read_object,
    "packs": read_pack,
    "names": read_name,
    "slots": lambda case: reader.decode(bytes.fromhex(case["hex"]), "slot"),
}
CASES = [
    pytest.param(read, case, id=f"{name}: {case['name']}")
    for name, read in READERS.items()
    for case in json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    if case["name"] not in LENIENT | {"other generation"}  # a slot's is held where it stands
]


@pytest.mark.parametrize(("read", "case"), CASES)
def test_vectors(read: Callable[[dict[str, Any]], Any], case: dict[str, Any]) -> None:
    """The reader takes what the vectors hold, and refuses what they say is refused."""
    if "error" not in case:
        read(case)
        return
    with pytest.raises(ValueError, match="newer" if case["error"] == "unsupported" else "."):
        read(case)


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "configs.json").read_text("utf-8")), ids=lambda case: case["name"]
)
def test_configs(case: dict[str, Any], tmp_path: Path) -> None:
    """The reader takes and refuses the configs that the vectors say."""
    if "error" not in case:
        read_config(bytes.fromhex(case["hex"]), tmp_path)
        return
    with pytest.raises(ValueError, match="newer" if case["error"] == "unsupported" else "."):
        read_config(bytes.fromhex(case["hex"]), tmp_path)


def states(seed: int) -> list[dict[str, Any]]:
    """Return the states of a model: trained on, changed in places, and with a resized head."""
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {
        "f32": rng.normal(0, 0.02, (300, 200)).astype(np.float32),
        "f16": rng.normal(0, 0.02, (200, 100)).astype(np.float16),
        "f64": rng.normal(0, 0.02, (100, 90)),
        "ids": rng.integers(0, 50_000, 20_000),
        "i8": rng.integers(-20, 20, 30_000).astype(np.int8),
        "large": rng.normal(0, 0.02, 1_100_000).astype(np.float32),
        "head": rng.normal(0, 0.02, (100, 64)).astype(np.float32),
        "wide": rng.normal(0, 0.02, (64, 100)).astype(np.float32),
    }
    found = [state]
    for step in range(5):
        state = {name: array.copy() for name, array in state.items()}
        for name in ("f32", "f16", "f64", "large"):
            noise = rng.normal(0, 1e-5, state[name].shape)
            state[name] = (state[name] + noise).astype(state[name].dtype)
        state["ids"][rng.integers(0, 20_000, 7)] += 3
        state["i8"][step] ^= 1
        state["head"] = np.concatenate([state["head"], np.full((3, 64), step, np.float32)])
        state["wide"] = np.concatenate([state["wide"], np.zeros((64, 2), np.float32)], axis=1)
        found.append(state)
    return found


def bf16(array: Any) -> bytes:
    """Return the upper halves of 32-bit floats."""
    return bytes((array.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def put_all(store: mstore.Store, folder: Path, codec: Any) -> list[dict[str, bytes]]:
    """Put every state, bf16 beside the others, as versions of one model; return their files."""
    folder.mkdir()
    found = []
    for state in states(4):
        arrays = {name: (array.dtype.str, array) for name, array in state.items()}
        names = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<i8": "I64", "|i1": "I8"}
        rows = {n: (names[d], list(a.shape), a.tobytes()) for n, (d, a) in arrays.items()}
        rows["bf16"] = ("BF16", list(state["large"].shape), bf16(state["large"]))
        header, at = {}, 0
        for name, (dtype, shape, plain) in rows.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(plain)]}
            at += len(plain)
        text = json.dumps(header).encode()
        whole = struct.pack("<Q", len(text)) + text + b"".join(row[2] for row in rows.values())
        (folder / "model.safetensors").write_bytes(whole)
        store.put(folder, "lenet", codec=codec)
        found.append({"model.safetensors": whole})
    return found


def codecs_in(root: Path) -> set[int]:
    """Return the codes of the codecs that the live packs of a store use."""
    source = reader.Store(root)
    source.scan()
    return {copy[7] for copies in source.places.values() for copy in copies}


def extracts(root: Path, found: list[dict[str, bytes]]) -> bool:
    """Whether every version of a store is extracted byte for byte."""
    for number, expected in enumerate(found, 1):
        out = root.with_name(f"out-{len(list(root.parent.iterdir()))}")
        reader.extract(root, f"lenet@{number}", out)
        if {path.name: path.read_bytes() for path in out.iterdir()} != expected:
            return False
    return True


@pytest.mark.parametrize(("codec", "least"), [("raw", {0}), ("auto", {2, 4}), ("small", {2, 4, 5})])
def test_every_policy(tmp_path: Path, codec: Any, least: set[int]) -> None:
    """Versions stored raw, coded and as chains of differences come back byte for byte."""
    store = mstore.init(tmp_path / "store")[0]
    found = put_all(store, tmp_path / "source", codec)
    assert codecs_in(tmp_path / "store") >= least
    assert extracts(tmp_path / "store", found)


def test_archived_in_planes_and_materialized(tmp_path: Path) -> None:
    """A store that was archived, stored in planes, made raw and collected comes back whole."""
    store = mstore.init(tmp_path / "store")[0]
    found = put_all(store, tmp_path / "source", "auto")
    store.archive()
    assert extracts(tmp_path / "store", found)
    store.archive_planes(["lenet@1"])
    store.gc(now=True)
    assert 6 in codecs_in(tmp_path / "store")
    assert extracts(tmp_path / "store", found)
    store.materialize(["lenet"])
    store.gc(now=True)
    assert extracts(tmp_path / "store", found)


def write_pack(
    root: Path, entries: list[tuple[bytes, int, bytes, bytes | None]], what: str = "chunk"
) -> None:
    """Write a pack of objects: payload, codec, stored bytes and id of the base (§7)."""
    kind = reader.KINDS.index(what)
    body, rows = bytearray(b"MSTOREPK\1" + bytes(7)), []
    table = sorted({base for *_, base in entries if base})
    for plain, codec, stored, base in entries:
        body += bytes(-len(body) % 64)
        check = blake3(stored).digest()[:8] if codec else bytes(8)
        number = 1 + table.index(base) if base else 0
        oid = reader.digest(what, plain)
        row = (oid, len(body), len(stored), len(plain), kind, codec, 0, number)
        rows.append(struct.pack("<32sQIIBBHI", *row) + check)
        body += stored
    index = b"".join(sorted(rows)) + b"".join(table)
    index += struct.pack("<QIIQ", len(body), len(rows), len(table), 0) + b"MSTOREPK"
    name = blake3(index, derive_key_context="mstore v1 pack").hexdigest()
    (root / "objects" / f"{name}.pack").write_bytes(body + index)


def longer(size: int, base: int) -> tuple[bytes, int, bytes, bytes]:
    """Return the entry of `size` zeros that `base` zeros predict (§8.6)."""
    stored = struct.pack("<6I", 1, size, 0, 0, 0, 0)
    return bytes(size), 5, stored, blake3(bytes(base)).digest()


def chunk(root: Path, size: int) -> bytes:
    """Read a chunk of zeros."""
    plain: bytes = reader.Store(root).read(blake3(bytes(size)).digest(), "chunk")
    return plain


def test_longest_chain(tmp_path: Path) -> None:
    """64 bases below a chunk are followed, and not one more."""
    mstore.init(tmp_path / "store")
    entries: list[Any] = [longer(size, size - 1) for size in range(101, 166)]
    write_pack(tmp_path / "store", [(bytes(100), 0, bytes(100), None), *entries])
    assert chunk(tmp_path / "store", 164) == bytes(164)
    with pytest.raises(ValueError, match="cannot be read"):
        chunk(tmp_path / "store", 165)


def test_circle(tmp_path: Path) -> None:
    """Two copies that are each other's base are refused until a third is there."""
    mstore.init(tmp_path / "store")
    write_pack(tmp_path / "store", [longer(101, 100)])
    write_pack(tmp_path / "store", [longer(100, 101)])
    for size in (100, 101):
        with pytest.raises(ValueError, match="cannot be read"):
            chunk(tmp_path / "store", size)
    write_pack(tmp_path / "store", [(bytes(90), 0, bytes(90), None), longer(101, 90)])
    assert chunk(tmp_path / "store", 100) == bytes(100)


def test_another_copy_of_a_base(tmp_path: Path) -> None:
    """A damaged base is read from its other copy, and a chunk over its other base."""
    mstore.init(tmp_path / "store")
    write_pack(tmp_path / "store", [(bytes(100), 0, b"\1" * 100, None), longer(101, 100)])
    with pytest.raises(ValueError, match="damaged"):
        chunk(tmp_path / "store", 101)
    write_pack(tmp_path / "store", [(bytes(90), 0, bytes(90), None), longer(100, 90)])
    assert chunk(tmp_path / "store", 101) == bytes(101)


def test_window_of_a_small_frame() -> None:
    """A frame that asks for a window over 8 MiB is refused, however little it holds."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x80, 0x68]) + struct.pack("<I", 4) + b"\x21\x00\x00abcd"
    assert reader.payload(1, frame, 4) == b"abcd"
    with pytest.raises(ValueError, match="zstd"):
        reader.payload(1, frame.replace(b"\x80\x68", b"\x80\x69"), 4)


def test_foreign_name_in_a_ref(tmp_path: Path) -> None:
    """A ref whose folder has a foreign name above all slots is refused."""
    store = mstore.init(tmp_path / "store")[0]
    store.put({"x": np.zeros(3)}, "lenet")
    (tmp_path / "store/refs/heads/lenet/.note").write_text("below")
    reader.extract(tmp_path / "store", "lenet", tmp_path / "out")
    (tmp_path / "store/refs/heads/lenet/note").write_text("above")
    with pytest.raises(ValueError, match="foreign name"):
        reader.extract(tmp_path / "store", "lenet", tmp_path / "other")


def write_version(root: Path, trees: list[bytes], *, single: bool) -> None:
    """Write a version of no bytes, whose tree is the last of these, as the model "lenet"."""
    write_pack(root, [(plain, 0, plain, None) for plain in trees], "tree")
    tree = reader.digest("tree", trees[-1])
    fields = {"size": 0, "time": 0, "tree": tree} | ({"single": True} if single else {})
    version = reader.msgspec.msgpack.encode(fields, order="sorted")
    write_pack(root, [(version, 0, version, None)], "version")
    rows = [(1, reader.digest("version", version), "kept")]
    slot = reader.TYPES["slot"](
        author="", generation=1, previous=b"", reason="put", ref="heads/lenet", rows=rows, time=0,
        transaction=bytes(16),
    )  # fmt: skip
    raw = b"MSTORESL" + reader.msgspec.msgpack.encode(slot, order="sorted")
    (root / "refs/heads/lenet").mkdir(parents=True)
    (root / "refs/heads/lenet/0000000000000001").write_bytes(raw + reader.digest("slot", raw))


def nested(folders: int) -> list[bytes]:
    """Return the trees of so many folders inside one another, the innermost first."""
    trees = [b"\x80"]
    for _ in range(folders):
        inner = reader.digest("tree", trees[-1])
        trees.append(b"\x81\xa7entries\x91\x93\xa1d\xa4tree\xc4\x20" + inner)
    return trees


def test_folders_inside_one_another(tmp_path: Path) -> None:
    """64 folders inside one another are written."""
    mstore.init(tmp_path / "store")
    write_version(tmp_path / "store", nested(64), single=False)
    reader.extract(tmp_path / "store", "lenet", tmp_path / "out")
    assert (tmp_path / "out").joinpath(*["d"] * 64).is_dir()


def test_too_many_folders_inside_one_another(tmp_path: Path) -> None:
    """65 folders inside one another are refused."""
    mstore.init(tmp_path / "store")
    write_version(tmp_path / "store", nested(65), single=False)
    with pytest.raises(ValueError, match="too many folders"):
        reader.extract(tmp_path / "store", "lenet", tmp_path / "out")


def test_single_version_without_its_file(tmp_path: Path) -> None:
    """A version that says that it is one file, and has none, is refused."""
    mstore.init(tmp_path / "store")
    write_version(tmp_path / "store", [b"\x80"], single=True)
    with pytest.raises(ValueError, match="not the single file"):
        reader.extract(tmp_path / "store", "lenet", tmp_path / "out")
