"""Stores of packs for the object database: on disk and in memory."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mstore.backends.base import Backend
from mstore.backends.local import LocalBackend
from mstore.backends.memory import MemoryBackend
from mstore.codecs import ZSTD, Coded, codec
from mstore.ids import hash_chunk
from mstore.odb import ObjectDatabase

Publish = Callable[..., str]


@pytest.fixture(params=["local", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty place for a store."""
    place = LocalBackend(tmp_path / "store") if request.param == "local" else MemoryBackend()
    place.prepare()
    return place


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    """An empty place on disk."""
    place = LocalBackend(tmp_path / "store")
    place.prepare()
    return place


@pytest.fixture
def publish() -> Publish:
    """Writes chunks as one pack and returns its key; with "zstd" as small as that makes them."""

    def write(backend: Backend, chunks: Iterable[bytes], name: str = "raw") -> str:
        writer = ObjectDatabase(backend).writer()
        for chunk in chunks:
            stored = codec(ZSTD).encode(chunk) if name == "zstd" else None
            coded = None if stored is None else Coded(ZSTD, stored)
            writer.add_chunk(hash_chunk(chunk), chunk, coded)
        return writer.publish()[-1]

    return write


@pytest.fixture
def rewrite() -> Callable[[Backend, str, bytes], None]:
    """Replaces the bytes of a key, as a broken disk or a careless user would."""

    def replace(backend: Backend, key: str, content: bytes) -> None:
        backend.remove(key)
        assert backend.create(key, content)

    return replace
