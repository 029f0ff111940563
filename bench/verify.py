"""Compares what a tool gave back with what it was given, byte for byte."""

from pathlib import Path

_STEP = 8 << 20


class DifferentError(Exception):
    """A tool gave back other bytes than it was given."""


def _same_file(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(_STEP):
            if block != right.read(_STEP):
                return False
    return True


def _listing(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def check_same(given: Path, got: Path) -> None:
    """Raises DifferentError unless `got` is the same file, or the same folder of files."""
    if given.is_file():
        if not _same_file(given, got):
            raise DifferentError(f"'{got}' is not '{given}'")
        return
    left, right = _listing(given), _listing(got)
    if left.keys() != right.keys():
        odd = sorted(left.keys() ^ right.keys())[:5]
        raise DifferentError(f"'{got}' holds other files than '{given}': {odd}")
    for name, path in left.items():
        if not _same_file(path, right[name]):
            raise DifferentError(f"'{right[name]}' is not '{path}'")


def size_on_disk(folder: Path) -> int:
    """The sum of the sizes of all files below `folder`, in bytes; hard links count once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            seen[(status.st_dev, status.st_ino)] = status.st_size
    return sum(seen.values())


def count_files(folder: Path) -> int:
    """How many files lie below `folder`."""
    return sum(1 for path in folder.rglob("*") if path.is_file())
