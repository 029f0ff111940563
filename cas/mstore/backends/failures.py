"""Turns the operating system's errors into mstore's, with a hint what to do about them."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from mstore.errors import MstoreError, NotFoundError, StorageError

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 100
"""How often an interrupted call is repeated: a signal storm ends before this, a broken disk not."""

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}

_HINTS = {
    errno.ENOSPC: "free some space on that disk, then run the same again",
    errno.EDQUOT: "your disk quota is used up: free some space, then run the same again",
    errno.EROFS: "the place is read-only: copy it to where you can write, and work on the copy",
    errno.EACCES: "check who may read and write the place",
    errno.EPERM: "check who may read and write the place",
    errno.EIO: "the disk reported an error: check it, then run 'mstore fsck --full'",
    errno.ESTALE: "the network file system lost the file: run the same again",
    errno.EMFILE: "too many files are open: raise the limit with 'ulimit -n'",
    errno.ENFILE: "too many files are open on this machine",
    errno.ELOOP: "a symbolic link stands where a file should be: remove it",
}


def failure(error: OSError, action: str, subject: str) -> MstoreError:
    """The error to raise instead of ``error``: ``action`` ("write") failed on ``subject``.

    NotFoundError when there is no such file, StorageError for everything else.
    """
    reason = (error.strerror or str(error)).lower()
    message = f"cannot {action} '{subject}': {reason}"
    if error.errno in _MISSING:
        return NotFoundError(message)
    return StorageError(message, hint=_HINTS.get(error.errno or 0))


@contextmanager
def reported(action: str, subject: str) -> Iterator[None]:
    """Raise what ``failure`` says for every OSError of the block."""
    try:
        yield
    except OSError as error:
        raise failure(error, action, subject) from error


def again(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``call(...)``, repeated for as long as a signal interrupts it."""
    for _ in range(_ATTEMPTS):
        try:
            return call(*args, **kwargs)
        except InterruptedError:
            continue
    return call(*args, **kwargs)
