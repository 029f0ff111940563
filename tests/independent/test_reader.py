"""What stores hold, read by a reader that was written from SPEC.md alone."""

import ast
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3

import mstore

READER = Path(__file__).with_name("reader.py")
SPEC = importlib.util.spec_from_file_location("independent_reader", READER)
assert SPEC is not None
assert SPEC.loader is not None
reader = importlib.util.module_from_spec(SPEC)
sys.path.insert(0, str(READER.parent))  # where a script finds the module beside it
SPEC.loader.exec_module(reader)

DTYPES = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


def safetensors(
    tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None
) -> bytes:
    """Return the bytes of a safetensors file with these tensors, in this order."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for name, (dtype, shape, plain) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(plain)]}
        at += len(plain)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(plain for *_, plain in tensors.values())


def files(folder: Path) -> dict[str, tuple[bytes, bool] | None]:
    """Return what a folder holds: the bytes and the x bit of its files, None for its folders."""
    return {
        path.relative_to(folder).as_posix(): None
        if path.is_dir()
        else (path.read_bytes(), os.access(path, os.X_OK) and path.stat().st_mode & 0o100 != 0)
        for path in folder.rglob("*")
    }


def version_of(folder: Path, revision: str) -> Any:
    """Return the version that a revision of the store in a folder means."""
    return reader.read_version(reader.Store(folder / "store"), revision)


def flip(path: Path, at: int) -> None:
    """Flip a bit of a file."""
    plain = bytearray(path.read_bytes())
    plain[at] ^= 1 << at % 8
    path.chmod(0o644)
    path.write_bytes(plain)


@pytest.fixture
def store(tmp_path: Path) -> mstore.Store:
    """Return a new store at `tmp_path/store`."""
    return mstore.init(tmp_path / "store")[0]


@pytest.fixture
def extract(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that extracts a version into a folder of its own."""

    def run(revision: str) -> Path:
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        reader.extract(tmp_path / "store", revision, folder)
        return folder

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with files of many kinds."""
    rng = random.Random(7)
    folder = tmp_path / "source"
    (folder / "nested/deeper/deepest").mkdir(parents=True)
    (folder / "nothing here").mkdir()
    (folder / "nested/ünïcode naïve 模型.txt").write_text("Grüße\n" * 5, "utf-8")
    (folder / "config.json").write_text(json.dumps({"layers": list(range(20_000))}))
    (folder / "nested/empty.bin").write_bytes(b"")
    (folder / "nested/deeper/one byte").write_bytes(b"\0")
    (folder / "nested/deeper/deepest/copy.bin").write_bytes(rng.randbytes(20_000))
    (folder / "vocabulary.bin").write_bytes(rng.randbytes(6_000_000))
    (folder / "train.sh").write_text("#!/bin/sh\nexit 0\n")
    (folder / "train.sh").chmod(0o755)
    (folder / "weights.safetensors").write_bytes(
        safetensors({"w": ("F32", [500, 1000], rng.randbytes(2_000_000))})
    )
    return folder


def test_safetensors_of_every_dtype(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """A file with tensors of every dtype, of no elements and of no dimensions comes back whole."""
    rng = random.Random(1)
    tensors = {
        f"layer.{dtype}": (dtype, [3, 8], rng.randbytes(3 * bits))
        for dtype, bits in DTYPES.items()
        if dtype != "BOOL"
    }
    tensors["flags"] = ("BOOL", [5], bytes([0, 1, 1, 0, 1]))
    tensors["none"] = ("F32", [0, 7], b"")
    tensors["also none"] = ("BF16", [0], b"")
    tensors["scalar"] = ("F64", [], struct.pack("<d", -0.0))
    tensors["same"] = tensors["layer.F16"]
    plain = safetensors(tensors, {"format": "pt", "Ünïcode": 'naïve " \\ \n 模型'})
    (tmp_path / "model.safetensors").write_bytes(plain)
    store.put(tmp_path / "model.safetensors", "lenet")
    assert files(extract("lenet")) == {"model.safetensors": (plain, False)}
    assert version_of(tmp_path, "lenet").tensor_count == len(tensors)


@pytest.mark.parametrize("metadata", [None, {}, {"only": "metadata"}])
def test_safetensors_without_tensors(
    store: mstore.Store, tmp_path: Path, extract: Any, metadata: dict[str, str] | None
) -> None:
    """A file of a header alone comes back whole, and its version has no model hash."""
    plain = safetensors({}, metadata)
    (tmp_path / "model.safetensors").write_bytes(plain)
    store.put(tmp_path / "model.safetensors", "lenet")
    assert files(extract("lenet")) == {"model.safetensors": (plain, False)}
    assert version_of(tmp_path, "lenet").model_hash is None


def test_files_with_places(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """Files whose tensors stand between other bytes come back whole, tied and empty ones too."""
    folder = tmp_path / "formats"
    folder.mkdir()
    tied = torch.arange(1_100_000, dtype=torch.float32)
    value = {"a": tied, "b": tied, "none": torch.zeros(0, 3), "c": {"d": tied[:5] + 1}}
    torch.save(value, folder / "model.pt")
    np.savez(folder / "model.npz", w=tied.numpy()[:7], empty=np.zeros((0, 2)))
    for fixture in (READER.parent.parent / "fixtures").glob("small.*"):
        (folder / fixture.name).write_bytes(fixture.read_bytes())
    store.put(folder, "lenet")
    assert files(extract("lenet")) == files(folder)
    assert version_of(tmp_path, "lenet").tensor_count == 4 + 2 + 3 + 3


def test_folder(store: mstore.Store, source: Path, extract: Any) -> None:
    """A folder comes back with its files, folders, empty folders and x bits."""
    store.put(source, "group/lenet")
    assert files(extract("group/lenet")) == files(source)


def test_reader_and_get_agree(store: mstore.Store, source: Path, extract: Any) -> None:
    """The reader and `get` give the same files."""
    store.put(source, "lenet")
    store.get("lenet", source.with_name("got"))
    assert files(extract("lenet")) == files(source.with_name("got"))


def test_tensor_of_several_chunks(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """Tensors that are several chunks long, one of them a whole number of chunks, come back."""
    rng = np.random.default_rng(2)
    arrays = {
        "random": rng.integers(0, 256, 10_000_000, np.uint8).view(np.float32),
        "exact": rng.integers(0, 9, (2048, 1024), np.int32),
        "zeros": np.zeros((3, 1_000_000), np.float64),
    }
    store.put(arrays, "lenet")
    store.get("lenet", tmp_path / "got")
    (written,) = extract("lenet").iterdir()
    plain = written.read_bytes()
    assert plain == (tmp_path / "got").read_bytes()
    size = struct.unpack("<Q", plain[:8])[0]
    header = json.loads(plain[8 : 8 + size])
    for name, array in arrays.items():
        start, stop = header[name]["data_offsets"]
        assert plain[8 + size + start : 8 + size + stop] == array.tobytes()


def test_compressed_entries(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """A file that the store keeps compressed comes back whole."""
    plain = b"".join(b"line %d of a long log\n" % number for number in range(200_000))
    (tmp_path / "log.txt").write_bytes(plain)
    store.put(tmp_path / "log.txt", "log")
    assert sum(p.stat().st_size for p in (tmp_path / "store/objects").iterdir()) < len(plain) // 2
    assert files(extract("log")) == {"log.txt": (plain, False)}


def test_every_version_through_full_slots(
    store: mstore.Store, tmp_path: Path, extract: Any
) -> None:
    """All of 43 versions come back, the newest also when slots before a full one are not read."""
    path = tmp_path / "weights.bin"
    contents = [random.Random(number).randbytes(3000 + number) for number in range(43)]
    for plain in contents:
        path.write_bytes(plain)
        store.put(path, "lenet")
    for number, plain in enumerate(contents, 1):
        assert files(extract(f"lenet@{number}")) == {"weights.bin": (plain, False)}
    slots = sorted((tmp_path / "store/refs/heads/lenet").iterdir())
    assert len(slots) == len(contents)
    for slot in slots[:16]:
        slot.unlink()
    assert files(extract("lenet@1")) == {"weights.bin": (contents[0], False)}
    assert files(extract("lenet")) == {"weights.bin": (contents[-1], False)}


def test_missing_slot(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """A slot that is missing below the newest one is reported."""
    for value in range(4):
        store.put({"x": np.full(3, value)}, "lenet")
    (tmp_path / "store/refs/heads/lenet/0000000000000002").unlink()
    with pytest.raises(ValueError, match="0000000000000002 is missing"):
        extract("lenet")


def test_older_version(store: mstore.Store, source: Path, extract: Any) -> None:
    """An older version comes back as it was, also after a revert made it the newest again."""
    before = files(source)
    store.put(source, "lenet")
    (source / "config.json").write_text("{}")
    (source / "train.sh").chmod(0o644)
    (source / "vocabulary.bin").unlink()
    store.put(source, "lenet")
    assert files(extract("lenet@1")) == before
    assert files(extract("lenet@2")) == files(extract("lenet")) == files(source)
    store.revert("lenet@1")
    assert files(extract("lenet")) == files(extract("lenet@3")) == before


def test_names(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """A model is found by its new name and by its tag, and no more by a name that it has not."""
    for name, text in (("old", "one"), ("old", "two"), ("gone", "three")):
        (tmp_path / "notes.txt").write_text(text)
        store.put(tmp_path / "notes.txt", name)
    store.tag("old@1", "release/1.0")
    store.rename("old", "new")
    store.delete("gone")
    assert files(extract("new")) == {"notes.txt": (b"two", False)}
    assert (
        files(extract("new@1")) == files(extract("release/1.0")) == {"notes.txt": (b"one", False)}
    )
    store.delete_tag("release/1.0")
    for revision in ("old", "gone", "gone@1", "release/1.0", "new@3", "never"):
        with pytest.raises(ValueError, match=f"there is no {revision}"):
            extract(revision)
    store.put({"x": np.zeros(3)}, "gone")
    assert [path.name for path in extract("gone").iterdir()] == ["model.safetensors"]
    with pytest.raises(ValueError, match="there is no gone@1"):
        extract("gone@1")


def test_after_gc(store: mstore.Store, tmp_path: Path, source: Path, extract: Any) -> None:
    """What is kept comes back after gc has written packs again without what is not."""
    store.put(source, "all")
    part = tmp_path / "part"
    part.mkdir()
    shutil.copy(source / "weights.safetensors", part)
    store.put(part, "part")
    store.delete("all")
    packs = set((tmp_path / "store/objects").iterdir())
    store.gc(now=True)
    left = set((tmp_path / "store/objects").iterdir())
    assert packs - left
    assert left - packs
    assert sum(path.stat().st_size for path in left) < 3_000_000
    assert files(extract("part")) == files(part)
    with pytest.raises(ValueError, match="there is no all"):
        extract("all")


def test_condemned_packs(store: mstore.Store, tmp_path: Path, source: Path, extract: Any) -> None:
    """Objects in condemned packs are found, and those in quarantine are not."""
    store.put(source, "lenet")
    root = tmp_path / "store"
    place = root / "condemned/0000000000000000"
    place.mkdir(exist_ok=True)
    packs = [path.rename(place / path.name) for path in (root / "objects").iterdir()]
    assert files(extract("lenet")) == files(source)
    for path in packs:
        path.rename(root / "quarantine" / path.name)
    with pytest.raises(ValueError, match="cannot be read"):
        extract("lenet")


def test_needs_nothing_derived(
    store: mstore.Store, tmp_path: Path, source: Path, extract: Any
) -> None:
    """A store is read without `cache/`, `tmp/` and `leases/`, and other files are passed over."""
    store.put(source, "lenet")
    root = tmp_path / "store"
    for name in ("cache", "tmp", "leases", "epoch", "quarantine"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "objects/README").write_text("not a pack")
    (root / "objects" / f"{'A' * 64}.pack").write_text("not a pack")
    (root / "condemned/here").mkdir(parents=True)
    assert files(extract("lenet")) == files(source)


def test_any_copy_will_do(store: mstore.Store, tmp_path: Path, source: Path, extract: Any) -> None:
    """A damaged object is read from another pack that holds it."""
    store.put(source, "lenet")
    (pack,) = (tmp_path / "store/objects").iterdir()
    (tmp_path / "store/condemned/0000000000000000").mkdir(exist_ok=True)
    shutil.copy(pack, tmp_path / "store/condemned/0000000000000000")
    flip(pack, pack.stat().st_size // 2)
    assert files(extract("lenet")) == files(source)


def test_flipped_bit(store: mstore.Store, tmp_path: Path) -> None:
    """A flipped bit is refused wherever it is but in the padding of a pack, which holds nothing."""
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/notes.txt").write_text("some text, " * 40)
    plain = safetensors({"x": ("U8", [300], random.Random(3).randbytes(300))})
    (folder / "model.safetensors").write_bytes(plain)
    store.put(folder, "lenet", message="first", metrics={"loss": 0.5})
    root, expected, refused = tmp_path / "store", files(folder), 0
    paths = [root / "config", *root.glob("refs/heads/lenet/*"), *root.glob("objects/*")]
    assert len(paths) == 3
    for path in paths:
        before = path.read_bytes()
        for at in range(len(before)):
            flip(path, at)
            try:
                reader.extract(root, "lenet", tmp_path / "out")
            except ValueError:
                refused += 1
            else:
                assert files(tmp_path / "out") == expected
                assert path.suffix == ".pack"
                assert before[at] == 0, f"byte {at} of a pack"
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            path.write_bytes(before)
    assert refused > sum(path.stat().st_size for path in paths) // 2


def test_cut_files(store: mstore.Store, tmp_path: Path) -> None:
    """A file of the store that was cut short is refused."""
    store.put({"x": np.arange(1000)}, "lenet")
    root = tmp_path / "store"
    for path in [root / "config", *root.glob("refs/heads/lenet/*"), *root.glob("objects/*")]:
        before = path.read_bytes()
        path.chmod(0o644)
        for size in (0, 1, 47, len(before) // 2, len(before) - 1):
            path.write_bytes(before[:size])
            with pytest.raises(ValueError, match=r"."):
                reader.extract(root, "lenet", tmp_path / "out")
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        path.write_bytes(before)


def test_slot_of_another_ref(store: mstore.Store, tmp_path: Path, extract: Any) -> None:
    """A slot that was copied to another ref is refused."""
    store.put({"x": np.zeros(3)}, "lenet")
    refs = tmp_path / "store/refs/heads"
    shutil.copytree(refs / "lenet", refs / "other")
    with pytest.raises(ValueError, match="slot: place"):
        extract("other")


@pytest.mark.parametrize(
    ("old", "new"), [(b'"format":1', b'"format":2'), (b'"format":1', b'"format":1,"future":1')]
)
def test_other_config(
    store: mstore.Store, tmp_path: Path, extract: Any, old: bytes, new: bytes
) -> None:
    """A store of a newer format, or with a field that is not known, is refused as newer."""
    store.put({"x": np.zeros(3)}, "lenet")
    path = tmp_path / "store/config"
    line = path.read_bytes().replace(old, new)
    path.chmod(0o644)
    path.write_bytes(line)
    with pytest.raises(ValueError, match="newer reader"):
        extract("lenet")


def test_version_fields(store: mstore.Store, tmp_path: Path) -> None:
    """The fields of a version are what was said when it was put."""
    params = {"rate": 1e-3, "layers": [1, -200, 2**63, None, True, {"ü": "x" * 300}], "inf": np.inf}
    store.put({"x": np.zeros(3)}, "base")
    store.put(
        {"x": np.ones(3)},
        "tuned",
        message="a message\nof two lines",
        parents=["base"],
        relation="fine-tuned",
        params=params,
        metrics={"accuracy": 0.875, "loss": -1.5, "broken": float("nan")},
        datasets=["mnist", "own"],
        task="digits",
        metadata={"note": {"deep": [[[]]]}},
        author="somebody",
    )
    version = version_of(tmp_path, "tuned")
    assert version.message == "a message\nof two lines"
    assert [relation for _, relation in version.parents] == ["fine-tuned"]
    assert version.parameters == params
    assert np.isnan(version.metrics.pop("broken"))
    assert version.metrics == {"accuracy": 0.875, "loss": -1.5}
    assert version.datasets == ["mnist", "own"]
    assert version.task == "digits"
    assert version.metadata == {"note": {"deep": [[[]]]}}
    assert version.author == "somebody"
    assert version.single is True
    assert version.tensor_count == 1


def test_model_hash(store: mstore.Store, tmp_path: Path) -> None:
    """The model hash is what §5.3 says of tensors that are hashed as §6.2 says."""
    arrays = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.int64)}
    store.put(arrays, "lenet")
    pairs = b""
    for name, dtype, shape in (("a", b"I64", b"\x92\x02\x02"), ("b", b"F32", b"\x91\x03")):
        chunk = blake3(arrays[name].tobytes()).digest()
        payload = b"\x83\xa6chunks\xc4\x20" + chunk + b"\xa5dtype\xa3" + dtype
        payload += b"\xa5shape" + shape
        tensor = blake3(payload, derive_key_context="mstore v1 tensor").digest()
        pairs += struct.pack("<Q", len(name)) + name.encode() + tensor
    expected = blake3(pairs, derive_key_context="mstore v1 model").digest()
    assert version_of(tmp_path, "lenet").model_hash == expected


def test_existing_destination(store: mstore.Store, tmp_path: Path) -> None:
    """The reader writes into no folder that exists."""
    store.put({"x": np.zeros(3)}, "lenet")
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        reader.extract(tmp_path / "store", "lenet", tmp_path / "out")


def test_store_is_left_alone(store: mstore.Store, source: Path, extract: Any) -> None:
    """Reading changes nothing in the store."""
    store.put(source, "lenet")
    before = files(source.with_name("store"))
    extract("lenet")
    assert files(source.with_name("store")) == before


def test_command(store: mstore.Store, source: Path) -> None:
    """The command extracts a version, and fails with a reason where there is none."""
    store.put(source, "lenet")
    root, out = source.with_name("store"), source.with_name("out")
    command = [sys.executable, READER, root]
    subprocess.run([*command, "lenet@1", out], check=True)
    assert files(out) == files(source)
    done = subprocess.run([*command, "lenet@2", out], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no lenet@2" in done.stderr


LINES = {
    READER: 300,
    READER.with_name("decoders.py"): 160,
    READER.with_name("remarks.py"): 90,
}


@pytest.mark.parametrize(("path", "lines"), LINES.items())
def test_reader_is_small_and_independent(path: Path, lines: int) -> None:
    """The reader is short, and imports no more than BLAKE3, msgpack, zstd, pco and arrays."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= lines
    names = set(re.findall(r'"([a-z]+)[.]zstd"', text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            names.add(node.module.split(".")[0])
    libraries = {"blake3", "msgspec", "backports", "compression", "pcodec", "numpy"}
    libraries |= {"decoders", "reader"}
    assert names - sys.stdlib_module_names <= libraries
    assert not re.search(r"\b(import|from) mstore|mstore_cli", text)
