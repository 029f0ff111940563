"""Small direct checks of the store's promises: each gives what is wrong, nothing when all is well.

The suites use the same rules on far more cases; these are the smallest ones that can tell a bug.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.crash.commands import (
    AT_ONCE,
    digest_of,
    faults_of,
    init_at,
    numbers,
    observe,
    open_at,
)
from tests.crash.exploring import Bounds, Explorer

import mstore
from mstore import codecs
from mstore.backends.checkout import Checkout
from mstore.backends.local import LocalBackend
from mstore.backends.place import Place
from mstore.codecs import ZSTD, Coded
from mstore.codecs import zstd as zstd_codec
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
    StorageError,
)
from mstore.format.objects import decode_object, encode_object
from mstore.format.safetensors import parse_header
from mstore.format.slots import Row
from mstore.ids import Kind, ObjectId, hash_chunk, hash_object
from mstore.objects import OpaqueFile, Tree, TreeEntry, Version
from mstore.odb import PackWriter, index
from mstore.ops import copying
from mstore.ops.archive import Terms
from mstore.ops.gc import Limits, _Run
from mstore.parts import Transaction
from mstore.refs import HEADS, Change, RefStore
from mstore.store import Store
from mstore.testing.crash import crash_states, materialise, read_folder
from mstore.testing.filesystems import (
    FaultyFileSystem,
    InterceptingFileSystem,
    RecordingFileSystem,
    ShortFileSystem,
)

Checker = Callable[[Path], list[str]]

PAGE = 4096
"""Where the first large raw chunk of a pack begins."""


def refused(
    what: str, error: type[MstoreError] | tuple[type[MstoreError], ...], call: Callable[[], object]
) -> list[str]:
    """What is wrong unless ``call`` raises ``error``."""
    try:
        call()
    except error:
        return []
    return [f"{what} was let through"]


def wrong_arrays(store: Store, revision: str, expected: dict[str, np.ndarray]) -> list[str]:
    """What is wrong unless a version loads as these arrays."""
    try:
        found = digest_of(store.load(revision))
    except (MstoreError, IndexError, ValueError) as error:
        return [f"'{revision}' does not load: {error}"]
    return [] if found == digest_of(expected) else [f"'{revision}' loads as something else"]


def unsound(folder: Path) -> list[str]:
    """What fsck and the names say of a store."""
    return list(faults_of(folder, [observe(open_at(folder))]))


# Crashes


def survives_crashes_of(*names: str) -> Checker:
    """The check that no crash of some commands loses anything."""

    def check(folder: Path) -> list[str]:
        found: list[str] = []
        for number, name in enumerate(names):
            bounds = Bounds(depth=1, apart=0, stride=1, later_every=4)
            explorer = Explorer(bounds, folder / str(number))
            found += explorer.explore(name).violations
        return found

    check.__name__ = "survives crashes of " + ", ".join(names)
    return check


def survives_crash_after_reuse(folder: Path) -> list[str]:
    """What is lost of a model that reused what another program had not made durable yet."""
    store = init_at(folder / "store")
    store.put(numbers(9), "first")
    start = read_folder(folder / "store")
    files = RecordingFileSystem(folder / "store")
    first = Transaction(open_at(folder / "store", files).parts)
    _, payload = encode_object(Tree(()))
    first.writer.add_payload(Kind.TREE, hash_object(Kind.TREE, payload), payload)
    with monkey() as patch:
        # The other program is stopped between linking its pack and syncing the folder.
        patch.setattr(LocalBackend, "sync", lambda *_: None)
        first.publish()
    second = open_at(folder / "store", files)
    tree = hash_object(Kind.TREE, payload)
    version = Version(tree=bytes(tree), size=0, time=0, single=False)
    with Transaction(second.parts) as transaction:
        transaction.writer.add_payload(Kind.TREE, tree, payload)
        oid = transaction.writer.add_object(version)
        assert transaction.writer.new_bytes
        transaction.publish()
        row = Row(1, bytes(oid), "kept")
        transaction.commit(HEADS, "second", lambda _: Change((row,), "put"))
    files.mark("second")
    found = []
    for number, state in enumerate(crash_states(start, files.operations)):
        if state.marks:
            materialise(state, folder / f"state{number}")
            found += unsound(folder / f"state{number}")
    return found


def survives_crash_after_an_unsynced_slot(folder: Path) -> list[str]:
    """What breaks when a slot follows one that another program had not made durable yet."""
    init_at(folder / "store")
    start = read_folder(folder / "store")
    files = RecordingFileSystem(folder / "store")
    with monkey() as patch:
        # The other program is stopped between linking its slot and syncing the folder.
        patch.setattr(Place, "sync", lambda *_: None)
        open_at(folder / "store", files).put(numbers(1), "lenet")
    open_at(folder / "store", files).put(numbers(2), "lenet")
    found = []
    for number, state in enumerate(crash_states(start, files.operations)):
        # The first pack may be lost too: only the names are of interest.
        materialise(state, folder / f"state{number}")
        found += slot_faults(open_at(folder / f"state{number}").parts.refs)
    return found


def slot_faults(names: RefStore) -> list[str]:
    """What is wrong with the slots of a store."""
    try:
        names.tables(HEADS)
    except CorruptError as error:
        return [str(error)]
    return []


def survives_crash_in_a_new_folder(folder: Path) -> list[str]:
    """What is lost of a name whose folder another program had made and not yet made durable."""
    store = init_at(folder / "store")
    start = read_folder(folder / "store")
    files = RecordingFileSystem(folder / "store")
    files.mkdir(f"{store.path}/refs/heads/lenet")
    open_at(folder / "store", files).put(numbers(1), "lenet")
    files.mark("put")
    found = []
    for number, state in enumerate(crash_states(start, files.operations)):
        if state.marks:
            materialise(state, folder / f"state{number}")
            found += wrong_arrays(open_at(folder / f"state{number}"), "lenet", numbers(1))
    return found


# Bytes on the disk


def damaged_copies(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Copies of a store, each with one bit flipped in a file that matches ``pattern``."""
    store = init_at(folder / "store")
    for seed in (1, 2):
        store.put(numbers(seed) | {"text": np.zeros(40, np.uint8)}, "lenet")
    for path in sorted((folder / "store").glob(pattern)):
        content = path.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 12)):
            copy = shutil.copytree(folder / "store", folder / "copy")
            changed = bytearray(content)
            changed[at] ^= 1
            (copy / path.relative_to(folder / "store")).write_bytes(changed)
            yield f"{path.name[:8]} with byte {at} changed", copy
            shutil.rmtree(copy)


def finds_flipped_bits(folder: Path) -> list[str]:
    """Which flipped bits of packs fsck does not find."""
    copies = damaged_copies(folder, "objects/*.pack")
    return [what for what, copy in copies if open_at(copy).fsck(full=True).clean]


def finds_flipped_bits_of_slots(folder: Path) -> list[str]:
    """Which flipped bits of slots are believed."""
    found = []
    for what, copy in damaged_copies(folder, "refs/heads/lenet/*"):
        found += refused(what, CorruptError, lambda copy=copy: open_at(copy).log("lenet"))
    return found


def loads_no_damaged_bytes(folder: Path) -> list[str]:
    """Which flipped bits come out of a load, a copy or a file that was written."""
    found = []
    for what, copy in damaged_copies(folder, "objects/*.pack"):
        for seed in (1, 2):
            expected = numbers(seed) | {"text": np.zeros(40, np.uint8)}
            store = open_at(copy)
            with suppress(MstoreError):
                if digest_of(store.load(f"lenet@{seed}")) != digest_of(expected):
                    found.append(f"{what}: loaded as something else")
            with suppress(MstoreError):
                with store.read(f"lenet@{seed}") as reader:
                    rows = reader.get_slice("own")[5:10]
                if not np.array_equal(rows, expected["own"][5:10]):
                    found.append(f"{what}: rows read as something else")
    return found


def sends_no_damaged_bytes(folder: Path) -> list[str]:
    """Which flipped bits of a store reach another one by pull."""
    found = []
    for number, (what, copy) in enumerate(damaged_copies(folder, "objects/*.pack")):
        target = init_at(folder / f"target{number}")
        with suppress(MstoreError):
            target.pull(copy)
        found += [f"{what}: {fault}" for fault in unsound(folder / f"target{number}")]
    return found


def finds_swapped_packs(folder: Path) -> list[str]:
    """Two packs under each other's names are found out."""
    store = init_at(folder / "store")
    for seed in (1, 2):
        store.put(numbers(seed), "lenet")
    first, second = sorted((folder / "store/objects").iterdir())
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    return [] if not open_at(folder / "store").fsck().clean else ["two swapped packs"]


def finds_nonzero_padding(folder: Path) -> list[str]:
    """A changed byte between two entries is found."""
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet")
    key = store.parts.odb.packs()[0]
    entries = sorted(store.parts.odb.entries(key), key=lambda entry: entry.offset)
    pairs = itertools.pairwise(entries)
    gap = next(a.offset + a.stored_size for a, b in pairs if a.offset + a.stored_size < b.offset)
    path = folder / "store" / key
    content = bytearray(path.read_bytes())
    content[gap] = 1
    path.write_bytes(content)
    return [] if not open_at(folder / "store").fsck(full=True).clean else ["padding"]


def finds_a_missing_chunk(folder: Path) -> list[str]:
    """A version without one of its packs is reported."""
    store = init_at(folder / "store")
    oid = hash_chunk(numbers(1)["own"].tobytes())
    with Transaction(store.parts) as transaction:
        transaction.writer.add_chunk(oid, numbers(1)["own"].tobytes())
        transaction.publish()
    (pack,) = store.parts.odb.packs()
    open_at(folder / "store").put(numbers(1), "lenet")
    (folder / "store" / pack).unlink()
    report = open_at(folder / "store").fsck()
    return [] if "lenet@1" in report.hurt else ["a missing chunk"]


def refuses_cut_files(folder: Path) -> list[str]:
    """Reading beyond the end of a file is an error, not zeros."""
    backend = LocalBackend(folder)
    backend.prepare()
    backend.create("objects/short", b"0123456789")
    return refused(
        "a file that is cut short",
        CorruptError,
        lambda: backend.read_into("objects/short", 5, bytearray(10)),
    )


def distrusts_its_cache(folder: Path) -> list[str]:
    """What cannot be read when the cached index was damaged."""
    found = []
    with monkey() as patch:
        patch.setattr(index, "ROLL_PACKS", 0)
        store = init_at(folder / "store")
        for seed in (1, 2, 3):
            store.put(numbers(seed), "lenet")
        open_at(folder / "store").load("lenet")
        path = max((folder / "store/cache/index").iterdir())
        content = path.read_bytes()
        for at in range(0, len(content), len(content) // 24):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            for seed in (1, 2, 3):
                found += wrong_arrays(open_at(folder / "store"), f"lenet@{seed}", numbers(seed))
    return found


# Writing


def stores_what_it_is_given(folder: Path) -> list[str]:
    """What does not come back as it was put, through a file system that does little a call."""
    store = init_at(folder / "store", ShortFileSystem(100))
    for seed in (1, 2, 3):
        store.put(numbers(seed), "lenet")
    again = open_at(folder / "store")
    return unsound(folder / "store") + [
        fault for seed in (1, 2, 3) for fault in wrong_arrays(again, f"lenet@{seed}", numbers(seed))
    ]


def bears_interruptions(folder: Path) -> list[str]:
    """Which primitives may not be interrupted by a signal."""
    init_at(folder / "store")
    found = []
    for number, name in enumerate(("open_new", "write", "fsync", "link", "scan", "rename")):
        files = FaultyFileSystem(name, 1, errno.EINTR)
        try:
            open_at(folder / "store", files).put(numbers(number), "lenet", always=True)
        except StorageError as error:
            found.append(f"{name}: {error}")
    return found


def tells_of_failed_fsync(folder: Path) -> list[str]:
    """A put whose fsync fails is no success, nor is any after it in the same program."""
    init_at(folder / "store")
    store = open_at(folder / "store", FaultyFileSystem("fsync", 1, errno.EIO))
    first = refused("a failed fsync", StorageError, lambda: store.put(numbers(1), "lenet"))
    return first + refused(
        "a put after a failed fsync", StorageError, lambda: store.put(numbers(2), "lenet")
    )


def verifies_what_comes_in(folder: Path) -> list[str]:
    """A payload under an id that is not its own is refused."""
    store = init_at(folder / "store")
    _, payload = encode_object(Tree(()))
    with Transaction(store.parts) as transaction:
        wrong = ObjectId(bytes(32))
        return refused(
            "a payload with another id",
            CorruptError,
            lambda: transaction.writer.add_payload(Kind.TREE, wrong, payload),
        )


def notices_changing_files(folder: Path) -> list[str]:
    """A file that changes while it is read is refused."""
    store = init_at(folder / "store")
    path = folder / "model.bin"
    path.write_bytes(bytes(5000))
    os.utime(path, (1, 1))
    return refused(
        "a file that changes while it is read",
        ConflictError,
        lambda: store.put(path, "lenet", progress=lambda *_: path.write_bytes(b"x" * 5000)),
    )


def refuses_links_and_twins(folder: Path) -> list[str]:
    """Symbolic links and names that differ in case only are not stored."""
    store = init_at(folder / "store")
    (folder / "links").mkdir()
    (folder / "links/passwd").symlink_to("/etc/passwd")
    (folder / "twins").mkdir()
    for name in ("Model", "model"):
        (folder / "twins" / name).write_bytes(b"x")
    found = []
    for kind in ("links", "twins"):
        found += refused(
            kind, InvalidInputError, lambda kind=kind: store.put(folder / kind, "lenet")
        )
    return found


def writes_only_below_its_destination(folder: Path) -> list[str]:
    """A folder that becomes a symbolic link while files are written leads nowhere else."""
    outside = folder / "outside"
    outside.mkdir()
    with Checkout(folder / "out", folder=True) as checkout:
        checkout.make_folder("sub")
        # The last folder stays open, and cannot become another one.
        checkout.make_folder("other")
        (below,) = folder.glob(".mstore-*.tmp")
        (below / "sub").rmdir()
        (below / "sub").symlink_to(outside)
        with suppress(MstoreError), checkout.create("sub/file", 1) as file:
            file.write_at(0, b"x")
        return [f"'{path.name}' outside" for path in outside.iterdir()]


# Names


def loses_no_race_for_a_name(folder: Path) -> list[str]:
    """Two programs that put the same name at the same time both find their version there."""
    init_at(folder / "store")
    other = open_at(folder / "store")
    other.put(numbers(1), "lenet")

    def interfere(*_: object) -> None:
        other.put(numbers(2), "lenet", always=True)

    files = BeforeCall("link", "refs/heads/lenet", interfere)
    open_at(folder / "store", files).put(numbers(3), "lenet")
    found = [digest_of(other.load(f"lenet@{row.number}")) for row in other.log("lenet")]
    expected = {digest_of(numbers(seed)) for seed in (1, 2, 3)}
    return unsound(folder / "store") + ([] if set(found) == expected else ["a version was lost"])


def loses_no_model_to_two_renames(folder: Path) -> list[str]:
    """A model that two programs rename at the same time is there under its new name."""
    init_at(folder / "store").put(numbers(1), "lenet")
    other = open_at(folder / "store")
    files = BeforeCall("rename", "/leases/", lambda: other.rename("lenet", "zfnet"))
    with suppress(ConflictError, NotFoundError):
        open_at(folder / "store", files).rename("lenet", "zfnet")
    return wrong_arrays(open_at(folder / "store"), "zfnet", numbers(1))


def refuses_names_that_differ_in_case(folder: Path) -> list[str]:
    """Names that some file systems cannot tell apart do not both exist."""
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet")
    return refused("a twin of a name", ConflictError, lambda: store.put(numbers(2), "LeNet"))


def refuses_ambiguous_hashes(folder: Path) -> list[str]:
    """The beginning of two hashes names neither version."""
    store = init_at(folder / "store")
    _, payload = encode_object(Tree(()))
    tree = hash_object(Kind.TREE, payload)
    seen: dict[str, Version] = {}
    for number in itertools.count():
        version = Version(tree=bytes(tree), size=0, time=number, single=False)
        digits = str(hash_object(*encode_object(version)))[:4]
        if digits in seen:
            break
        seen[digits] = version
    with Transaction(store.parts) as transaction:
        transaction.writer.add_payload(Kind.TREE, tree, payload)
        pair = [transaction.writer.add_object(item) for item in (seen[digits], version)]
        transaction.publish()
        rows = tuple(Row(number, bytes(oid), "kept") for number, oid in enumerate(pair, 1))
        transaction.commit(HEADS, "lenet", lambda _: Change(rows, "put"))
    return refused(
        "an ambiguous hash", InvalidInputError, lambda: store.resolve(f"blake3:{digits}")
    )


def makes_versions_of_changes(folder: Path) -> list[str]:
    """A changed model is a new version, an unchanged one is none."""
    store = init_at(folder / "store")
    results = [store.put(numbers(seed), "lenet") for seed in (1, 2, 2)]
    found = [(result.number, result.unchanged) for result in results]
    expected = [(1, False), (2, False), (2, True)]
    return [] if found == expected else [f"puts gave {found}"]


# Collecting


class BeforeCall(InterceptingFileSystem):
    """Does something once, before the first call of a primitive on paths with some text."""

    def __init__(self, primitive: str, text: str, action: Callable[[], object]) -> None:
        super().__init__()
        self._primitive, self._text = primitive, text
        self._action: Callable[[], object] | None = action

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Do the call, and before it the action if it is time."""
        if name == self._primitive and self._text in str(arguments.get("target", "")):
            action, self._action = self._action, None
            if action is not None:
                action()
        return call(**arguments)


class Writer:
    """A put in pieces: everything but the commit, then the commit."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed

    def prepare(self) -> None:
        """Take a lease, store or reuse the objects, and make them durable."""
        self.store = open_at(self.folder)
        self.transaction = Transaction(self.store.parts)
        content = self.content()
        chunk, size = hash_chunk(content), len(content)
        writer = self.transaction.writer
        self.add(writer, chunk, content)
        file = writer.add_object(OpaqueFile(size, (size,), bytes(chunk)))
        tree = writer.add_object(Tree((TreeEntry("model.bin", "file", bytes(file)),)))
        self.version = writer.add_object(
            Version(tree=bytes(tree), size=len(content), time=0, single=True)
        )
        self.transaction.publish()

    def content(self) -> bytes:
        """The bytes of the only chunk."""
        return numbers(self.seed)["own"].tobytes()

    def add(self, writer: PackWriter, chunk: ObjectId, content: bytes) -> None:
        """Store the chunk."""
        writer.add_chunk(chunk, content)

    def commit(self) -> None:
        """Let a name need what was stored."""
        row = Row(1, bytes(self.version), "kept")
        self.transaction.commit(HEADS, "written", lambda _: Change((row,), "put"))
        self.transaction.__exit__(None, None, None)

    def put(self) -> None:
        """All of it."""
        self.prepare()
        self.commit()


def with_garbage(folder: Path) -> Writer:
    """A store whose only garbage is what the returned writer will want again."""
    store = init_at(folder)
    store.put(numbers(1), "kept")
    writer = Writer(folder, 7)
    writer.put()
    store.delete("written")
    return Writer(folder, 7)


def keeps_what_is_committed_meanwhile(folder: Path) -> list[str]:
    """A writer that commits between the marks of a gc loses nothing."""
    writer = with_garbage(folder / "store")
    writer.prepare()
    files = BeforeCall("link", "/epoch/", writer.commit)
    open_at(folder / "store", files).gc(now=True, limits=AT_ONCE)
    return unsound(folder / "store")


def waits_for_writers(folder: Path) -> list[str]:
    """A writer that commits after a gc that began after it loses nothing."""
    writer = with_garbage(folder / "store")
    writer.prepare()
    open_at(folder / "store").gc(now=True, limits=AT_ONCE)
    with suppress(ConflictError):
        writer.commit()
    return unsound(folder / "store")


def stops_writers_it_did_not_wait_for(folder: Path) -> list[str]:
    """A writer whose lease gc broke commits nothing."""
    writer = with_garbage(folder / "store")
    writer.prepare()
    limits = Limits(grace=0.0, lease_ttl=-1.0, tmp_age=0.0)
    open_at(folder / "store").gc(now=True, limits=limits)
    with suppress(ConflictError):
        writer.commit()
    return unsound(folder / "store")


def reuses_nothing_condemned(folder: Path) -> list[str]:
    """A writer that begins after a gc's condemning does not rely on what will be deleted."""
    begin_behind_the_fence(folder, with_garbage(folder / "store"))
    return unsound(folder / "store")


def fine_tunes(store: Store) -> dict[str, dict[str, np.ndarray]]:
    """Two models, the second stored as a difference from the first, by name."""
    weights = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    models = {"base": {"w": weights}, "tuned": {"w": weights * np.float32(1 + 1e-5)}}
    store.put(models["base"], "base", codec="raw")
    store.put(models["tuned"], "tuned", parents=["base"])
    chunk = hash_chunk(models["tuned"]["w"].tobytes())
    assert store.parts.odb.depth(chunk) == 1
    return models


def refuses_wrong_bases(folder: Path) -> list[str]:
    """Which changed bits of a base come out of what is a difference from it."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    place = store.parts.odb.find(hash_chunk(models["base"]["w"].tobytes()))
    assert place is not None
    path = folder / "store" / place.pack_key
    content = path.read_bytes()
    found = []
    for at in range(place.entry.offset, place.entry.offset + place.entry.raw_size, 7919):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        with suppress(MstoreError):
            arrays = open_at(folder / "store").load("tuned")
            if digest_of(arrays) != digest_of(models["tuned"]):
                found.append(f"byte {at} of the base changed, and the difference was believed")
    return found


def keeps_what_others_are_based_on(folder: Path) -> list[str]:
    """A base survives the collection of its own version while another is based on it."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    store.delete("base")
    store.gc(now=True, limits=AT_ONCE)
    return wrong_arrays(open_at(folder / "store"), "tuned", models["tuned"])


class Tuner(Writer):
    """A writer whose chunk is a difference, if its base is there."""

    base = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)

    def content(self) -> bytes:
        """Numbers that are not far from the base."""
        return (self.base * np.float32(1 + 1e-5)).tobytes()

    def add(self, writer: PackWriter, chunk: ObjectId, content: bytes) -> None:
        """Store the difference where the base is live, else all of it."""
        layout = codecs.Layout(4)
        stored = codecs.codec(codecs.DELTA_PCO).encode(content, layout, self.base.tobytes())
        assert stored is not None
        coded = Coded(codecs.DELTA_PCO, stored, hash_chunk(self.base.tobytes()))
        with suppress(InvalidInputError):
            writer.add_chunk(chunk, content, coded)
        writer.add_chunk(chunk, content)


def bases_on_nothing_condemned(folder: Path) -> list[str]:
    """A writer that begins after a gc's condemning is based on nothing that will be deleted."""
    store = init_at(folder / "store")
    store.put(numbers(1), "kept")
    store.put({"w": Tuner.base}, "base", codec="raw")
    store.delete("base")
    writer = Tuner(folder / "store", 0)
    begin_behind_the_fence(folder, writer)
    return unsound(folder / "store")


def begin_behind_the_fence(folder: Path, writer: Writer) -> None:
    """A gc in the middle of which a writer begins, which commits when gc is done."""
    fence = _Run._fence

    def begin_after(run: _Run) -> int:
        bound = fence(run)
        writer.prepare()
        return bound

    with monkey() as patch:
        patch.setattr(_Run, "_fence", begin_after)
        open_at(folder / "store").gc(now=True, limits=AT_ONCE)
    with suppress(ConflictError):
        writer.commit()


def reuses_nothing_without_its_base(folder: Path) -> list[str]:
    """A difference whose base has gone is stored again when the same is put."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    base = store.parts.odb.find(hash_chunk(models["base"]["w"].tobytes()))
    assert base is not None
    store.delete("base")
    store.delete("tuned")
    (folder / "store" / base.pack_key).unlink()
    again = open_at(folder / "store")
    with suppress(MstoreError):
        again.put(models["tuned"], "again")
    return wrong_arrays(open_at(folder / "store"), "again", models["tuned"])


def recodes_only_what_reads_back(folder: Path) -> list[str]:
    """When what was written in a new form is damaged on its way, the old form stays."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    before = set(store.parts.odb.packs())
    publish = PackWriter.publish

    def publish_damaged(self: PackWriter) -> list[str]:
        keys = publish(self)
        path = folder / "store" / keys[0]
        content = bytearray(path.read_bytes())
        if len(content) > PAGE:
            content[PAGE] ^= 1
            path.write_bytes(content)
        return keys

    with monkey() as patch:
        patch.setattr(PackWriter, "publish", publish_damaged)
        found = refused(
            "a damaged new form",
            CorruptError,
            lambda: open_at(folder / "store").materialize(["tuned"]),
        )
    again = open_at(folder / "store")
    if not before <= set(again.parts.odb.packs()):
        found.append("the old form was condemned")
    return found + wrong_arrays(again, "tuned", models["tuned"])


def turns_differences_round_safely(folder: Path) -> list[str]:
    """After changes of form all reads back, from live packs alone."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    again = open_at(folder / "store")
    again.archive(terms=Terms(alpha=3.0, measure="bytes"))
    ids = [hash_chunk(arrays["w"].tobytes()) for arrays in models.values()]
    found = [f"'{oid}' is in no live pack" for oid in ids if not again.parts.odb.is_live(oid)]
    again.gc(now=True, limits=AT_ONCE)
    found += [f for n in models for f in wrong_arrays(open_at(folder / "store"), n, models[n])]
    return found + unsound(folder / "store")


def decodes_against_the_right_base(folder: Path) -> list[str]:
    """What is a difference from several chunks of another model comes back as it was put."""
    store = init_at(folder / "store")
    weights = np.random.default_rng(0).standard_normal(2_200_000).astype(np.float32)
    models = {"base": {"w": weights}, "tuned": {"w": weights * np.float32(1 + 1e-5)}}
    store.put(models["base"], "base", codec="raw")
    store.put(models["tuned"], "tuned", parents=["base"])
    return [f for n in models for f in wrong_arrays(open_at(folder / "store"), n, models[n])]


def sends_bases_before_what_needs_them(folder: Path) -> list[str]:
    """A transfer that is killed at any publish leaves nothing visible that lacks its base."""
    store = init_at(folder / "store")
    models = fine_tunes(store)
    target = init_at(folder / "target")
    found: list[str] = []
    publish = PackWriter.publish

    def publish_and_look(self: PackWriter) -> list[str]:
        keys = publish(self)
        odb = open_at(folder / "target").parts.odb
        for key in odb.packs():
            ids = [entry.id for entry in odb.entries(key)]
            found.extend(f"'{oid}' came before its base" for oid in ids if not odb.is_live(oid))
        return keys

    with monkey() as patch:
        patch.setattr(PackWriter, "publish", publish_and_look)
        patch.setattr(copying, "PUBLISH_EVERY", 1)
        try:
            target.pull(folder / "store")
        except MstoreError as error:
            found.append(f"the transfer failed: {error}")
    copy = open_at(folder / "target")
    return found + [f for n in models for f in wrong_arrays(copy, n, models[n])]


def keeps_what_tags_mean(folder: Path) -> list[str]:
    """A version that only a tag names survives a collection."""
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet", tags=["best"])
    row = store.parts.refs.table(HEADS, "lenet").rows[1]
    with Transaction(store.parts) as transaction:
        gone = msgspec.structs.replace(row, state="deleted")
        transaction.commit(HEADS, "lenet", lambda _: Change((gone,), "delete"))
    store.gc(now=True, limits=AT_ONCE)
    return wrong_arrays(open_at(folder / "store"), "best", numbers(1))


def keeps_what_may_be_wanted_back(folder: Path) -> list[str]:
    """What was deleted can be had back after a collection that holds what it condemns."""
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet")
    store.put(numbers(2), "other")
    store.delete("lenet")
    open_at(folder / "store").gc()
    with suppress(MstoreError):
        open_at(folder / "store").undo("lenet")
    return wrong_arrays(open_at(folder / "store"), "lenet", numbers(1))


def collects_nothing_it_cannot_judge(folder: Path) -> list[str]:
    """With a damaged description nothing is collected."""
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet")
    store.put(numbers(2), "other")
    key = store.parts.odb.find(store.resolve("lenet").version)
    assert key is not None
    path = folder / "store" / key.pack_key
    path.rename(folder / "aside")
    before = sorted(path.name for path in (folder / "store/objects").iterdir())
    found = refused(
        "a collection with a missing pack",
        MstoreError,
        lambda: open_at(folder / "store").gc(now=True, limits=AT_ONCE),
    )
    after = sorted(path.name for path in (folder / "store/objects").iterdir())
    return found + ([] if before == after else ["packs were collected"])


def leaves_unfinished_work_alone(folder: Path) -> list[str]:
    """A writer that is at work while gc runs can finish."""
    store = mstore.init(folder / "store")[0]
    store.put(numbers(1), "lenet")
    writer = Transaction(mstore.open(folder / "store").parts)
    content = numbers(2)["own"].tobytes()
    writer.writer.add_chunk(hash_chunk(content), content)
    store.gc(now=True)
    try:
        writer.publish()
    except ConflictError as error:
        return [str(error)]
    return []


def strips_only_what_is_not_kept(folder: Path) -> list[str]:
    """A slim store has the bytes of what was to be kept, and no others."""
    store = init_at(folder / "store")
    for seed in (1, 2):
        store.put(numbers(seed), "lenet")
    store.strip(["lenet@2"], to=folder / "slim")
    slim = open_at(folder / "slim")
    found = wrong_arrays(slim, "lenet@2", numbers(2))
    return (
        found
        + refused("a stripped version", MstoreError, lambda: slim.load("lenet@1"))
        + unsound(folder / "slim")
    )


# Formats


def header_of(text: str, size: int = 0) -> tuple[bytes, int]:
    """A safetensors header with some JSON, and the size of a file with it."""
    content = text.encode()
    return len(content).to_bytes(8, "little") + content, 8 + len(content) + size


TENSOR = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
OVERLAP = '"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}'
HEADERS = {
    "a name that stands twice": ("{" + ",".join([TENSOR] * 2) + "}", 1),
    "overlapping tensors": ('{"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},' + OVERLAP, 3),
    "bytes of no tensor": ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 2),
    "a shape that does not fit": ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
}


def refuses_bad_headers(folder: Path) -> list[str]:
    """Headers that other readers would read differently are refused."""
    del folder
    found = []
    for what, (text, size) in HEADERS.items():
        head, total = header_of(text, size)
        found += refused(
            what, CorruptError, lambda head=head, total=total: parse_header(head, total)
        )
    return found


def refuses_other_forms(folder: Path) -> list[str]:
    """An object has one form only, so that it has one id only."""
    del folder
    _, payload = encode_object(Version(tree=bytes(32), size=1, time=1, single=False))
    fields = msgspec.msgpack.decode(payload)
    turned = msgspec.msgpack.encode(dict(reversed(list(fields.items()))))
    assert turned != payload
    return refused(
        "fields in another order", CorruptError, lambda: decode_object(Kind.VERSION, turned)
    )


def refuses_bombs(folder: Path) -> list[str]:
    """A small frame that holds much more than it should is refused before it is decoded."""
    del folder
    bomb = zstd_codec.zstd.compress(bytes(8 << 20))
    found = refused("a bomb", CorruptError, lambda: codecs.decode(ZSTD, bomb, 100))
    twice = zstd_codec.zstd.compress(b"x" * 1000) * 2
    return found + refused("two frames", CorruptError, lambda: codecs.decode(ZSTD, twice, 1000))


@contextmanager
def monkey() -> Iterator[pytest.MonkeyPatch]:
    """Changes to modules that are undone after the block."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def commits_once(folder: Path) -> list[str]:
    """Two leases cannot commit the same slot."""
    backend = LocalBackend(folder)
    backend.prepare()
    key = "refs/heads/lenet/0000000000000001"
    with backend.lease(0) as first, backend.lease(0) as second:
        first.commit(key, b"first")
        return refused("a slot twice", ExistsError, lambda: second.commit(key, b"second"))


CHECKERS: Sequence[Checker] = (
    survives_crashes_of("put new"),
    survives_crashes_of("put changed", "gc --now"),
    survives_crash_after_reuse,
    survives_crash_after_an_unsynced_slot,
    survives_crash_in_a_new_folder,
    finds_flipped_bits,
    finds_flipped_bits_of_slots,
    loads_no_damaged_bytes,
    refuses_wrong_bases,
    sends_no_damaged_bytes,
    finds_swapped_packs,
    finds_nonzero_padding,
    finds_a_missing_chunk,
    refuses_cut_files,
    distrusts_its_cache,
    stores_what_it_is_given,
    bears_interruptions,
    tells_of_failed_fsync,
    verifies_what_comes_in,
    notices_changing_files,
    refuses_links_and_twins,
    writes_only_below_its_destination,
    loses_no_race_for_a_name,
    loses_no_model_to_two_renames,
    refuses_names_that_differ_in_case,
    refuses_ambiguous_hashes,
    makes_versions_of_changes,
    commits_once,
    keeps_what_is_committed_meanwhile,
    waits_for_writers,
    stops_writers_it_did_not_wait_for,
    reuses_nothing_condemned,
    keeps_what_others_are_based_on,
    bases_on_nothing_condemned,
    reuses_nothing_without_its_base,
    recodes_only_what_reads_back,
    turns_differences_round_safely,
    decodes_against_the_right_base,
    sends_bases_before_what_needs_them,
    keeps_what_tags_mean,
    keeps_what_may_be_wanted_back,
    collects_nothing_it_cannot_judge,
    leaves_unfinished_work_alone,
    strips_only_what_is_not_kept,
    refuses_bad_headers,
    refuses_other_forms,
    refuses_bombs,
)
