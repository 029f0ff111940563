"""Both backends pass the suite that plugin authors inherit."""

from pathlib import Path

from mstore.backends.base import Backend
from mstore.backends.local import LocalBackend
from mstore.backends.memory import MemoryBackend
from mstore.testing.backends import BackendTests


class TestLocal(BackendTests):
    """A store in a folder."""

    def make(self, folder: Path) -> Backend:
        """A store in a folder that does not exist yet."""
        return LocalBackend(folder / "far" / "store")


class TestMemory(BackendTests):
    """A store in memory."""

    def make(self, folder: Path) -> Backend:
        """A store that needs no folder."""
        del folder
        return MemoryBackend()
