"""A folder for a while: for programs that need a place of their own to work in."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mstore.backends.checkout import remove_tree
from mstore.backends.durable import abandon
from mstore.backends.failures import again, reported
from mstore.backends.fsio import FileSystem


@contextmanager
def scratch_folder(fs: FileSystem | None = None) -> Iterator[Path]:
    """An empty folder that nobody else may look into, gone afterwards with all that is in it.

    It is made where the system keeps such folders. StorageError when there is no room for one.
    """
    files = fs or FileSystem()
    with reported("make", "a folder for a while"):
        path = Path(again(files.make_scratch))
    try:
        yield path
    finally:
        with suppress(OSError):
            _remove(files, path)


def _remove(files: FileSystem, path: Path) -> None:
    above = again(files.open_folder, str(path.parent), follow=True)
    try:
        remove_tree(files, path.name, dir_fd=above)
    finally:
        abandon(files, above)
