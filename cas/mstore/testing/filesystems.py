"""File systems that watch, fail or die, to be given to a backend in place of the real one.

Each wraps another one, so they can be put into each other::

    fs = RecordingFileSystem(folder)
    backend = LocalBackend(folder, FaultyFileSystem("fsync", 2, errno.EIO, inner=fs))

Here the fault is outermost, so that only what was really done is recorded.

What a test needs to know of a call is an ``Operation``, which also is what ``mstore.testing.crash``
builds crash states from.
"""

import inspect
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from mstore.backends.durable import Identity, identity
from mstore.backends.fsio import PRIMITIVES, FileSystem

Value = Any
"""What primitives take and give: numbers, names, bytes."""

CHANGES = frozenset(
    {
        "open_new",
        "open_lock",
        "write",
        "pwrite",
        "allocate",
        "truncate",
        "fsync",
        "close",
        "link",
        "unlink",
        "rename",
        "rename_new",
        "exchange",
        "mkdir",
        "rmdir",
    }
)
"""The primitives that change a disk, or tell whether it was changed."""


class InterceptingFileSystem(FileSystem):
    """Hands every primitive to ``intercept``, then to the file system inside."""

    def __init__(self, inner: FileSystem | None = None) -> None:
        self.inner = inner or FileSystem()

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Do the call of the primitive ``name``: ``call(**arguments)``."""
        del name
        return call(**arguments)

    def now(self) -> float:
        """The clock of the file system inside."""
        return self.inner.now()

    def token(self) -> str:
        """A token of the file system inside."""
        return self.inner.token()


def _intercepted(name: str) -> Callable[..., Value]:
    signature = inspect.signature(getattr(FileSystem, name))

    def primitive(self: InterceptingFileSystem, *args: Value, **kwargs: Value) -> Value:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = {key: bound.arguments[key] for key in list(bound.arguments)[1:]}
        return self.intercept(name, getattr(self.inner, name), arguments)

    primitive.__name__ = name
    return primitive


for _name in PRIMITIVES:
    setattr(InterceptingFileSystem, _name, _intercepted(_name))


class CountingFileSystem(InterceptingFileSystem):
    """Counts the calls of every primitive."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Count the call and do it."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return call(**arguments)


class SeededFileSystem(FileSystem):
    """The real one with counted tokens and a clock that only ticks: the same run every time."""

    def __init__(self) -> None:
        self._count = 0

    def token(self) -> str:
        """The next number, as 16 hex digits."""
        self._count += 1
        return f"{self._count:016x}"

    def now(self) -> float:
        """Seconds that grow by one with every token."""
        return float(self._count)


class Operation(Struct, frozen=True):
    """One call that was done; paths are relative to the watched folder.

    ``file`` numbers the files in the order they were first opened, so that a file is known under
    all its names. ``name`` is the primitive's, but "fsync_folder" for the fsync of a folder and
    "mark" for ``RecordingFileSystem.mark``, whose text is in ``path``. ``error`` is the errno of a
    call that failed, else 0.
    """

    name: str
    path: str = ""
    target: str = ""
    file: int = -1
    offset: int = 0
    size: int = 0
    content: bytes = b""
    error: int = 0


class _Open(Struct):
    path: str
    file: int
    position: int = 0


class RecordingFileSystem(InterceptingFileSystem):
    """Writes down every primitive as an ``Operation``, in the order the calls returned.

    Paths are relative to ``folder``; what lies outside it stays absolute.
    """

    def __init__(self, folder: Path, inner: FileSystem | None = None) -> None:
        super().__init__(inner)
        self.operations: list[Operation] = []
        self._folder = str(folder.absolute())
        self._open: dict[int, _Open] = {}
        self._files: dict[Identity, int] = {}
        self._count = 0
        self._lock = threading.RLock()

    def mark(self, text: str) -> None:
        """Write down what the program has told its user by now, such as "put 3 acknowledged"."""
        self.operations.append(Operation("mark", text))

    def names(self, *wanted: str) -> list[str]:
        """The names of the recorded operations, of only the ``wanted`` ones if any are given."""
        return [done.name for done in self.operations if not wanted or done.name in wanted]

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Do the call and write it down."""
        with self._lock:
            operation = self._describe(name, arguments)
            try:
                result = call(**arguments)
            except OSError as error:
                self._forget_closed(name, arguments)
                self.operations.append(structs.replace(operation, error=error.errno or -1))
                raise
            self.operations.append(self._done(operation, arguments, result))
            return result

    def _describe(self, name: str, arguments: dict[str, Value]) -> Operation:
        """What is known of a call before it is done."""
        fd = arguments.get("fd")
        if fd is not None:
            return self._describe_open(name, self._open.get(fd), arguments)
        dir_fd = arguments.get("dir_fd")
        path = next(arguments[key] for key in ("path", "source", "place") if key in arguments)
        target = arguments.get("target")
        return Operation(
            name,
            self._relative(path, dir_fd),
            "" if target is None else self._relative(target, dir_fd),
        )

    def _describe_open(self, name: str, opened: _Open | None, args: dict[str, Value]) -> Operation:
        opened = opened or _Open("", -1)
        if name == "fsync" and opened.file < 0:
            name = "fsync_folder"
        offset = opened.position if name == "write" else 0
        offset = args.get("offset") or args.get("start") or offset
        content = args.get("content", b"")
        size = args.get("size") or len(content)
        return Operation(name, opened.path, "", opened.file, offset, size, bytes(content))

    def _done(self, operation: Operation, arguments: dict[str, Value], result: Value) -> Operation:
        """What is known of the call when it is done."""
        name = operation.name
        if name.startswith("open_"):
            file = -1 if name == "open_folder" else self._number(result, is_new=name == "open_new")
            self._open[result] = _Open(operation.path, file)
            return structs.replace(operation, file=file)
        self._forget_closed(name, arguments)
        if name in {"rename", "rename_new"}:
            for opened in self._open.values():
                opened.path = operation.target if opened.path == operation.path else opened.path
        if name in {"write", "pwrite"}:
            if name == "write" and arguments["fd"] in self._open:
                self._open[arguments["fd"]].position += result
            return structs.replace(operation, size=result, content=operation.content[:result])
        return operation

    def _forget_closed(self, name: str, arguments: dict[str, Value]) -> None:
        if name == "close":
            self._open.pop(arguments["fd"], None)

    def _number(self, fd: int, *, is_new: bool) -> int:
        key = identity(os.fstat(fd))
        # The inode number of a removed file comes back, but for another file.
        if is_new or key not in self._files:
            self._files[key] = self._count
            self._count += 1
        return self._files[key]

    def _relative(self, path: str | int, dir_fd: int | None) -> str:
        if isinstance(path, int):
            return self._open[path].path
        if dir_fd is not None:
            start = self._open[dir_fd].path
            return start if path == "." else f"{start}/{path}".removeprefix("./")
        if path == self._folder:
            return "."
        return path.removeprefix(self._folder + "/")


class FaultyFileSystem(InterceptingFileSystem):
    """The N-th call of a primitive fails with ``error`` (counted from 1).

    ``sticky``: so do all later calls of it. ``after``: the call is done and then reported as
    failed, as a network file system may. ``primitive`` may be "*" for any that changes the disk.
    """

    def __init__(
        self,
        primitive: str,
        at: int,
        error: int,
        *,
        sticky: bool = False,
        after: bool = False,
        inner: FileSystem | None = None,
    ) -> None:
        super().__init__(inner)
        self.count = 0
        self.failed = 0
        self._primitive = primitive
        self._at = at
        self._error = error
        self._sticky = sticky
        self._after = after

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Do the call, or fail."""
        if not self._is_due(name):
            return call(**arguments)
        self.failed += 1
        if self._after or name == "close":  # a failed close has closed all the same
            call(**arguments)
        raise OSError(self._error, os.strerror(self._error))

    def _is_due(self, name: str) -> bool:
        if name != self._primitive and not (self._primitive == "*" and name in CHANGES):
            return False
        self.count += 1
        return self.count == self._at or (self._sticky and self.count > self._at)


class ShortFileSystem(InterceptingFileSystem):
    """Reads and writes at most ``limit`` bytes a call."""

    def __init__(self, limit: int, inner: FileSystem | None = None) -> None:
        super().__init__(inner)
        self._limit = limit

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Do the call with less."""
        if name in {"write", "pwrite"}:
            arguments["content"] = memoryview(arguments["content"])[: self._limit]
        if name == "pread":
            arguments["size"] = min(arguments["size"], self._limit)
        if name == "pread_into":
            arguments["buffer"] = memoryview(arguments["buffer"])[: self._limit]
        return call(**arguments)


class KillingFileSystem(InterceptingFileSystem):
    """Ends this program before its N-th call that changes the disk (counted from 1).

    For a program of its own, such as a forked child: nothing is cleaned up. ``done`` is the
    number of such calls so far; with ``at`` 0 it only counts.
    """

    def __init__(self, at: int, inner: FileSystem | None = None) -> None:
        super().__init__(inner)
        self.done = 0
        self._at = at

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Do the call, or die."""
        if name in CHANGES:
            self.done += 1
            if self.done == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
        return call(**arguments)
