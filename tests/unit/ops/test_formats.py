"""Models in files of torch, GGUF, ONNX and NumPy: stored as tensors, given back bit for bit."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import mstore
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, UnsupportedError
from mstore.format.slots import Row
from mstore.ids import ObjectId, hash_chunk
from mstore.objects import OpaqueFile, Tensor, TensorFile, Tree, TreeEntry, Version
from mstore.ops.chunking import Hasher
from mstore.ops.sources import FileSource
from mstore.ops.walk import walk_files
from mstore.parts import Transaction
from mstore.refs import HEADS, Change
from mstore.store import Store

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """A few tensors; one is longer than a chunk."""
    draw = torch.Generator().manual_seed(seed)
    return {
        "embed.weight": torch.randn(1100, 1024, generator=draw),
        "norm.bias": torch.randn(1024, generator=draw),
        "norm.steps": torch.tensor(7),
    }


def write_torch(path: Path, value: Any) -> Path:
    """Write what torch.save makes of a value."""
    torch.save(value, path)
    return path


def write_every_format(folder: Path) -> dict[str, Path]:
    """The same weights as safetensors, torch and NumPy files, and the small fixtures."""
    torch_weights = weights()
    save_file(torch_weights, folder / "m.safetensors")
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in torch_weights.items()}
    np.savez(folder / "m.npz", **arrays)
    np.save(folder / "m.npy", arrays["norm.bias"])
    write_torch(folder / "m.pt", torch_weights)
    for name in ("small.gguf", "small.onnx"):
        (folder / name).write_bytes((FIXTURES / name).read_bytes())
    return {path.suffix[1:]: path for path in folder.iterdir()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of every format, by its suffix."""
    folder = tmp_path / "formats"
    folder.mkdir()
    return write_every_format(folder)


def file_of(store: Store, revision: str) -> OpaqueFile | TensorFile:
    """The one file of a version."""
    tree = store.parts.odb.version(store.resolve(revision).version).tree
    (found,) = walk_files(store.parts.odb, tree)
    return found.file


def model_hash(store: Store, revision: str) -> bytes | None:
    """The model hash of a version."""
    return store.parts.odb.version(store.resolve(revision).version).model_hash


FORMATS = {
    "safetensors": "safetensors", "pt": "torch", "npz": "numpy", "npy": "numpy", "gguf": "gguf",
    "onnx": "onnx",
}  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_every_format_comes_back(
    store: Store, files: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    """It is stored as tensors, and get and cat give its very bytes."""
    content = files[suffix].read_bytes()
    store.put(files[suffix], "m")
    stored = file_of(store, "m")
    assert isinstance(stored, TensorFile)
    assert stored.format == FORMATS[suffix]
    assert store.get("m", tmp_path / "back").size_bytes == len(content)
    assert (tmp_path / "back").read_bytes() == content
    pieces: list[bytes] = []
    store.cat("m", lambda piece: pieces.append(bytes(piece)))
    assert b"".join(pieces) == content
    assert store.fsck(full=True).findings == []


def test_the_same_weights_have_the_same_model_hash(store: Store, files: dict[str, Path]) -> None:
    """Whatever file they came from; and a second file of them costs next to nothing."""
    store.put(files["safetensors"], "m")
    for suffix in ("pt", "npz"):
        report = store.put(files[suffix], suffix)
        assert model_hash(store, suffix) == model_hash(store, "m")
        assert report.tensors == 3
        assert report.new_bytes < 5000


@pytest.mark.parametrize("suffix", ["pt", "npz"])
def test_tensors_of_other_formats_are_read_by_name(
    store: Store, files: dict[str, Path], suffix: str
) -> None:
    """load, read, rows and tensors know them as they know those of safetensors."""
    store.put(files[suffix], "m", codec="raw")
    expected = weights()
    loaded = store.load("m", "torch")
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    rows = store.read("m", "torch")["embed.weight"][1050:1052]
    assert torch.equal(rows, expected["embed.weight"][1050:1052])
    shown = {row.name: (row.dtype, row.shape) for row in store.tensors("m")}
    assert shown["embed.weight"] == ("F32", (1100, 1024))
    assert store.read("m").metadata() == {}
    pieces: list[bytes] = []
    store.cat(f"m:m.{suffix}#norm.bias[3:5]", lambda piece: pieces.append(bytes(piece)))
    assert b"".join(pieces) == expected["norm.bias"][3:5].numpy().tobytes()


def test_a_fine_tune_in_another_format_is_a_difference(store: Store, tmp_path: Path) -> None:
    """Its tensors are stored as differences from those of the safetensors file it came from."""
    base = weights()
    save_file(base, tmp_path / "base.safetensors")
    store.put(tmp_path / "base.safetensors", "m")
    tuned = {name: tensor.clone() for name, tensor in base.items()}
    tuned["embed.weight"][::7, ::5] += 1e-3
    report = store.put(write_torch(tmp_path / "tuned.pt", tuned), "m")
    assert report.deltas == 1
    assert report.stored_bytes < 1_000_000
    store.get("m@2", tmp_path / "back.pt")
    assert (tmp_path / "back.pt").read_bytes() == (tmp_path / "tuned.pt").read_bytes()


def test_identify_names_the_version_of_another_format(
    store: Store, files: dict[str, Path], tmp_path: Path
) -> None:
    """A stray torch file of known weights is told by its tensors, the very file by its bytes."""
    store.put(files["safetensors"], "m")
    (match,) = store.identify(files["pt"]).exact
    assert (match.label, match.how) == ("m@1", "tensors")
    store.put(files["pt"], "m", always=True)
    found = {(match.label, match.how) for match in store.identify(files["pt"]).exact}
    assert found == {("m@1", "tensors"), ("m@2", "bytes")}
    nearest = store.identify(write_torch(tmp_path / "x.pt", weights() | {"x": torch.ones(2)}))
    assert nearest.nearest is not None
    assert (nearest.nearest.agreeing, nearest.nearest.total) == (3, 4)


def test_tied_tensors_and_empty_ones(store: Store, tmp_path: Path) -> None:
    """Tied tensors are stored once under both names; empty ones have no bytes."""
    shared = torch.arange(4096, dtype=torch.float32)
    value = {"a": shared, "b": shared, "none": torch.zeros(0, 3), "c": shared + 1}
    path = write_torch(tmp_path / "tied.pt", value)
    report = store.put(path, "m", codec="raw")
    assert report.tensors == 4
    assert report.new_bytes < 2 * 4 * 4096 + 5000
    store.get("m", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert all(torch.equal(store.load("m", "torch")[name], value[name]) for name in value)
    assert store.fsck(full=True).findings == []


def test_thousands_of_small_tensors(store: Store, tmp_path: Path) -> None:
    """The literal bytes between them are as many as they are, and all come back."""
    value = {f"layer.{number}": torch.full((number % 7,), 1.5) for number in range(3000)}
    path = write_torch(tmp_path / "many.pt", value)
    assert store.put(path, "m").tensors == 3000
    store.get("m", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


class Canary:
    """Whoever unpickles one makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_file_is_bytes_and_nothing_more(store: Store, tmp_path: Path) -> None:
    """It is stored, checked, identified and given back, and never run; loading it is refused."""
    canary = tmp_path / "canary"
    path = write_torch(tmp_path / "evil.pt", {"w": torch.ones(9), "x": Canary(canary)})
    store.put(path, "evil")
    assert isinstance(file_of(store, "evil"), OpaqueFile)
    for read in (store.load, lambda text: store.read(text).get_tensor("w")):
        with pytest.raises(UnsupportedError, match=r"evil.pt.*names '[a-z]+\.mkdir'"):
            read("evil")
    assert store.tensors("evil") == []
    assert store.identify(path).exact[0].how == "bytes"
    store.get("evil", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert store.fsck(full=True).findings == []
    assert not canary.exists()


def test_a_put_says_whose_tensors_it_did_not_see(store: Store, tmp_path: Path) -> None:
    """Large files with the names of models are remarked upon when they are kept as bytes."""
    weights = torch.ones(600, 600)
    torch.save({"w": weights}, tmp_path / "seen.pt")
    torch.save({"w": weights.T}, tmp_path / "turned.pt")
    torch.save({"w": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "training_args.bin").write_bytes(b"small")
    (tmp_path / "notes.txt").write_bytes(bytes(1 << 20))
    assert store.put(tmp_path, "m", capture=False).remarks == (
        "'old.pth' is kept as bytes, without tensors: no format that is known",
        "'turned.pt' is kept as bytes, without tensors: tensor 'w' is not stored in C order",
    )


def test_files_without_weights_load_as_nothing(store: Store, tmp_path: Path) -> None:
    """A version of texts has no tensors, and that is no error."""
    (tmp_path / "notes.txt").write_text("hello")
    store.put(tmp_path / "notes.txt", "notes")
    assert store.load("notes") == {}
    with pytest.raises(NotFoundError, match="no tensor 'w'"):
        store.read("notes").get_tensor("w")


def damage(store: Store, *oids: bytes) -> None:
    """Flip one bit of some objects, and forget what was read."""
    for oid in oids:
        found = store.parts.odb.find(ObjectId(oid))
        assert found is not None
        path = Path(store.path) / found.pack_key
        content = bytearray(path.read_bytes())
        content[found.entry.offset] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["pt", "npz", "gguf", "onnx"])
def test_repair_from_the_old_file(store: Store, files: dict[str, Path], suffix: str) -> None:
    """Chunks, tensors and the file object are computed again from the file itself."""
    store.put(files[suffix], "m", codec="raw")
    tree = store.parts.odb.version(store.resolve("m").version).tree
    (found,) = walk_files(store.parts.odb, tree)
    assert isinstance(found.file, TensorFile)
    _, tensor = found.file.tensors[0]
    damage(store, found.id, tensor, store.parts.odb.tensor(ObjectId(tensor)).chunks[:32])
    opened = mstore.open(store.path)
    assert opened.fsck(full=True).hurt == ("m@1",)
    report = opened.repair([files[suffix]])
    assert report.findings == []
    assert len(report.healed) == 3


def test_repair_from_the_same_weights_in_another_format(
    store: Store, files: dict[str, Path]
) -> None:
    """A lost chunk of a safetensors file comes back from a torch file."""
    store.put(files["safetensors"], "m", codec="raw")
    chunk = weights()["embed.weight"].numpy().tobytes()[: 4 << 20]
    damage(store, hash_chunk(chunk))
    assert mstore.open(store.path).repair([files["pt"]]).findings == []


def add_version(store: Store, name: str, file: OpaqueFile | TensorFile) -> None:
    """A version of one file of our own making."""
    with Transaction(store.parts) as transaction:
        add = transaction.writer.add_object
        tree = add(Tree((TreeEntry("m.pt", "file", bytes(add(file))),)))
        version = add(Version(tree=bytes(tree), size=file.size, time=0, single=True))
        transaction.publish()
        change = Change((Row(1, bytes(version), "kept"),), "put")
        transaction.commit(HEADS, name, lambda _: change)


def put_as_bytes(store: Store, path: Path, name: str) -> OpaqueFile:
    """Store a file as an earlier mstore did, which knew no format but safetensors."""
    sizes, ids = [], b""
    with Transaction(store.parts) as transaction, closing(Hasher()) as hasher:
        with FileSource(path) as source:
            for chunk in hasher.opaque_chunks(source):
                transaction.writer.add_chunk(chunk.id, bytes(chunk.content))
                sizes.append(len(chunk.content))
                ids += chunk.id
        transaction.publish()
    file = OpaqueFile(sum(sizes), tuple(sizes), ids)
    add_version(store, name, file)
    return file


def test_what_was_stored_as_bytes_before(
    store: Store, files: dict[str, Path], tmp_path: Path
) -> None:
    """It is read, recognised and repaired as ever."""
    file = put_as_bytes(store, files["pt"], "old")
    store.get("old", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == files["pt"].read_bytes()
    (match,) = store.identify(files["pt"]).exact
    assert (match.label, match.how) == ("old@1", "bytes")
    damage(store, file.chunks[:32])
    assert mstore.open(store.path).repair([files["pt"]]).findings == []


def test_a_file_that_lies_about_its_tensors_is_found(store: Store, tmp_path: Path) -> None:
    """What fsck reads in the literal bytes of a file must be what the file says of its tensors."""
    store.put(write_torch(tmp_path / "m.pt", {"a": torch.ones(9)}), "m")
    file = file_of(store, "m")
    assert isinstance(file, TensorFile)
    ((_, tensor),) = file.tensors
    lie = TensorFile(file.format, file.size, file.header, (("b", tensor),), file.places)
    add_version(store, "lie", lie)
    findings = mstore.open(store.path).fsck(full=True).findings
    assert any("do not name" in finding.message for finding in findings)


def test_a_file_whose_places_lie_is_refused(store: Store, tmp_path: Path) -> None:
    """Tensors that overlap, or leave a hole, write no file."""
    chunk = b"\1\2"
    tensor = Tensor("U8", (2,), bytes(hash_chunk(chunk)))
    other = Tensor("I8", (2,), bytes(hash_chunk(chunk)))
    with Transaction(store.parts) as transaction:
        transaction.writer.add_chunk(hash_chunk(chunk), chunk)
        oids = [bytes(transaction.writer.add_object(value)) for value in (tensor, other)]
        transaction.publish()
    for number, (places, message) in enumerate((((0, 1), "overlaps"), ((0, 3), "hole"))):
        named = tuple(zip("ab", oids, strict=True))
        add_version(store, f"lie{number}", TensorFile("torch", 4, b"", named, places))
        with pytest.raises(CorruptError, match=message):
            store.get(f"lie{number}", tmp_path / "out")
        with pytest.raises(CorruptError, match=message):
            store.cat(f"lie{number}", lambda _: None)
        assert not (tmp_path / "out").exists()
    assert {finding.kind for finding in store.fsck(full=True).errors} == {"disagrees"}


def test_strip_bundle_and_push(store: Store, files: dict[str, Path], tmp_path: Path) -> None:
    """Files of tensors travel, are stripped, and come back from where they went."""
    store.put(files["pt"], "m")
    store.put(write_torch(tmp_path / "other.pt", weights(3)), "m")
    other = mstore.init(tmp_path / "other")[0]
    store.push(tmp_path / "other")
    store.bundle(tmp_path / "m.bundle", ["m@1"])
    store.strip(["m@2"])
    store.gc(now=True)
    stripped = mstore.open(store.path)
    assert len(stripped.tensors("m@1")) == 3
    with pytest.raises(NotFoundError, match="strip"):
        stripped.get("m@1", tmp_path / "gone")
    third = mstore.init(tmp_path / "third")[0]
    third.unbundle(tmp_path / "m.bundle")
    for place in (other, third):
        place.get("m@1", tmp_path / "back", force=True)
        assert (tmp_path / "back").read_bytes() == files["pt"].read_bytes()


def test_leading_bits_are_for_safetensors_files(
    store: Store, files: dict[str, Path], tmp_path: Path
) -> None:
    """A file that cannot say that its numbers are not exact comes exactly; load gives the bits."""
    store.put(files["pt"], "m")
    store.get("m", tmp_path / "back", bits=8)
    assert (tmp_path / "back").read_bytes() == files["pt"].read_bytes()
    rough = store.load("m", "torch", bits=8)["embed.weight"]
    assert not torch.equal(rough, weights()["embed.weight"])


def test_quantising_takes_tensors_of_safetensors_files_only(
    store: Store, files: dict[str, Path], tmp_path: Path
) -> None:
    """A torch file cannot hold quantised tensors; one that is left alone is carried over."""
    store.put(files["pt"], "m")
    with pytest.raises(InvalidInputError, match=r"'m\.pt' is a torch file"):
        store.quantise("m", "int8")
    folder = tmp_path / "formats"
    for name in ("m.npz", "m.npy", "m.pt"):
        (folder / name).unlink()
    write_torch(folder / "counts.pt", {"count": torch.arange(5)})
    store.put(folder, "both")
    store.quantise("both", "int8", name="small", include=["embed.weight"])
    store.get("small", tmp_path / "small")
    for name in ("counts.pt", "small.gguf", "small.onnx"):
        assert (tmp_path / "small" / name).read_bytes() == (folder / name).read_bytes()
