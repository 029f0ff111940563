"""Publishing packs on a disk that fails, is interrupted, or loses its program at every step."""

import errno
import os
import signal
from itertools import count
from pathlib import Path

import pytest

from mstore.backends.fsio import PRIMITIVES, FileSystem
from mstore.backends.local import LocalBackend
from mstore.codecs import SPARSE, Coded, Layout, codec
from mstore.errors import MstoreError
from mstore.ids import hash_chunk
from mstore.odb import ObjectDatabase, check_pack
from mstore.odb.index import Index
from mstore.odb.writer import PackWriter
from mstore.testing.filesystems import FaultyFileSystem, KillingFileSystem, ShortFileSystem

CHUNKS = [b"%d " % at * 400 for at in range(12)]
TUNED = [chunk[:-8] + b"%08d" % at for at, chunk in enumerate(CHUNKS)]
"""Stored as a difference from those."""
CAP = 6000
"""A few packs, so that full ones are published before the transaction is."""

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)


def publish(folder: Path, fs: FileSystem) -> None:
    """One transaction of several packs."""
    backend = LocalBackend(folder, fs)
    writer = PackWriter(backend, Index(backend), CAP)
    try:
        for chunk in CHUNKS:
            writer.add_chunk(hash_chunk(chunk), chunk)
        for chunk, base in zip(TUNED, CHUNKS, strict=True):
            stored = codec(SPARSE).encode(chunk, Layout(8), base)
            assert stored is not None
            coded = Coded(SPARSE, stored, hash_chunk(base))
            writer.add_chunk(hash_chunk(chunk), chunk, coded)
        writer.publish()
    finally:
        writer.discard()


def prepared(folder: Path) -> Path:
    """The folder of an empty store."""
    LocalBackend(folder).prepare()
    return folder


def check_all(folder: Path, *, complete: bool) -> None:
    """Every pack that is visible is sound; with ``complete`` every chunk is there."""
    backend = LocalBackend(folder)
    odb = ObjectDatabase(backend)
    assert [problem for key in odb.packs() for problem in check_pack(backend, key)] == []
    for chunk in CHUNKS + TUNED:
        location = odb.find(hash_chunk(chunk))
        assert location is not None or not complete
        assert location is None or odb.read(hash_chunk(chunk)) == chunk


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_an_error_at_any_call_loses_nothing(tmp_path: Path, primitive: str, sticky: bool) -> None:  # noqa: FBT001 - given by name
    """Whichever call fails, what is visible is sound, no ack is false, and the next put works."""
    for at in count(1):
        error = ERRORS[at % len(ERRORS)]
        folder = prepared(tmp_path / f"{at}")
        fs = FaultyFileSystem(primitive, at, error, sticky=sticky)
        try:
            publish(folder, fs)
        except MstoreError:
            acknowledged = False
        else:
            acknowledged = True
        check_all(folder, complete=acknowledged)
        publish(folder, FileSystem())
        check_all(folder, complete=True)
        if not fs.failed:
            break


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_interrupted_calls_are_repeated(tmp_path: Path, primitive: str) -> None:
    """A signal at any call changes nothing."""
    for at in count(1):
        folder = prepared(tmp_path / f"{at}")
        fs = FaultyFileSystem(primitive, at, errno.EINTR)
        publish(folder, fs)
        check_all(folder, complete=True)
        if not fs.failed:
            break


@pytest.mark.parametrize("limit", [1, 777])
def test_short_writes_and_reads_are_continued(tmp_path: Path, limit: int) -> None:
    """However little a call moves, all of it arrives."""
    folder = prepared(tmp_path)
    publish(folder, ShortFileSystem(limit))
    check_all(folder, complete=True)
    odb = ObjectDatabase(LocalBackend(folder, ShortFileSystem(limit)))
    assert [odb.read(hash_chunk(chunk)) for chunk in CHUNKS + TUNED] == CHUNKS + TUNED


def test_a_kill_at_any_step_loses_nothing(tmp_path: Path) -> None:
    """Wherever the program dies, what is visible is sound and the next transaction succeeds."""
    for at in count(1):
        folder = prepared(tmp_path / f"{at}")
        child = os.fork()
        if not child:
            publish(folder, KillingFileSystem(at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        check_all(folder, complete=status == 0)
        publish(folder, FileSystem())
        check_all(folder, complete=True)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert at > len(CHUNKS) // 2
