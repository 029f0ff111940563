"""A folder during a run: what its program sees, and what of that would survive a power cut.

``Disk`` replays recorded operations by the rules that ``mstore.testing.crash`` states; it touches
no real disk.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from msgspec import Struct, field

from mstore.testing.filesystems import Operation


class FolderState(Struct, frozen=True):
    """A folder's files and the folders in it, by relative path with "/"."""

    files: Mapping[str, bytes]
    folders: frozenset[str]


class File(Struct, eq=False):
    """A file's bytes at its last fsync, and those that its program sees."""

    durable: bytes = b""
    current: bytes = b""


class Folder(Struct, eq=False):
    """A folder's names at its last fsync, and those that its program sees."""

    durable: "dict[str, Node]" = field(default_factory=dict)
    current: "dict[str, Node]" = field(default_factory=dict)


Node = File | Folder
Slot = tuple[Folder, str]


class Change(Struct, eq=False):
    """What names come to stand for, in one step; None: for nothing."""

    edits: tuple[tuple[Folder, str, Node | None], ...]
    story: str

    def slots(self) -> set[Slot]:
        """The names it changes."""
        return {(folder, name) for folder, name, _ in self.edits}


class Disk:
    """The folder as the program sees it, and what of that is durable.

    ``pending`` are the changes of names that are not durable yet, in their order.
    """

    def __init__(self, start: FolderState) -> None:
        self.root = Folder()
        self.pending: list[Change] = []
        self._files: dict[int, File] = {}
        for name in sorted(start.folders):
            self._put_durable(name, Folder())
        for name, content in start.files.items():
            self._put_durable(name, File(content, content))

    def _put_durable(self, path: str, node: Node) -> None:
        folder, name = self.slot(path)
        folder.current[name] = folder.durable[name] = node

    def node(self, path: str) -> Node:
        """What the program finds at a path; "." is the folder itself."""
        node: Node = self.root
        for part in () if path == "." else path.split("/"):
            assert isinstance(node, Folder)
            node = node.current[part]
        return node

    def slot(self, path: str) -> Slot:
        """The folder that a path lies in, and its name there."""
        above, _, name = path.rpartition("/")
        folder = self.node(above or ".")
        assert isinstance(folder, Folder)
        return folder, name

    def apply(self, done: Operation) -> bool:
        """Do the operation; False when it changes nothing about what a crash may leave."""
        action = self._ACTIONS.get(done.name)
        if action is None or done.path.startswith("/"):
            return False
        action(self, done)
        return True

    def _change(self, done: Operation, *edits: tuple[Folder, str, Node | None]) -> None:
        for folder, name, node in edits:
            if node is None:
                folder.current.pop(name, None)
            else:
                folder.current[name] = node
        story = f"{done.name} {done.path} {done.target}".rstrip()
        self.pending.append(Change(edits, story))

    def _open_file(self, done: Operation) -> None:
        folder, name = self.slot(done.path)
        node = folder.current.get(name)
        if isinstance(node, File):
            self._files[done.file] = node
            return
        self._files[done.file] = File()
        self._change(done, (folder, name, self._files[done.file]))

    def _write(self, done: Operation) -> None:
        file = self._files[done.file]
        before = file.current[: done.offset].ljust(done.offset, b"\0")
        file.current = before + done.content + file.current[done.offset + len(done.content) :]

    def _resize(self, done: Operation) -> None:
        file = self._files[done.file]
        file.current = file.current[: done.size].ljust(done.size, b"\0")

    def _fsync(self, done: Operation) -> None:
        file = self._files[done.file]
        file.durable = file.current

    def _fsync_folder(self, done: Operation) -> None:
        folder = self.node(done.path)
        settled = {change for change in self.pending if any(e[0] is folder for e in change.edits)}
        slots: set[Slot] = set()
        for change in reversed(self.pending):
            if change in settled or change.slots() & slots:
                settled.add(change)
                slots |= change.slots()
        for change in self.pending:
            if change in settled:
                _do(change)
        self.pending = [change for change in self.pending if change not in settled]

    def _link(self, done: Operation) -> None:
        self._change(done, (*self.slot(done.target), self.node(done.path)))

    def _remove(self, done: Operation) -> None:
        self._change(done, (*self.slot(done.path), None))

    def _rename(self, done: Operation) -> None:
        node = self.node(done.path)
        folder, name = self.slot(done.target)
        if folder.current.get(name) is not node:
            self._change(done, (*self.slot(done.path), None), (folder, name, node))

    def _exchange(self, done: Operation) -> None:
        here, there = self.node(done.path), self.node(done.target)
        self._change(done, (*self.slot(done.path), there), (*self.slot(done.target), here))

    def _mkdir(self, done: Operation) -> None:
        self._change(done, (*self.slot(done.path), Folder()))

    _ACTIONS: ClassVar[dict[str, Callable[["Disk", Operation], None]]] = {
        "open_new": _open_file,
        "open_lock": _open_file,
        "write": _write,
        "pwrite": _write,
        "allocate": _resize,
        "truncate": _resize,
        "fsync": _fsync,
        "fsync_folder": _fsync_folder,
        "link": _link,
        "unlink": _remove,
        "rmdir": _remove,
        "rename": _rename,
        "rename_new": _rename,
        "exchange": _exchange,
        "mkdir": _mkdir,
    }


def _do(change: Change) -> None:
    for folder, name, node in change.edits:
        if node is None:
            folder.durable.pop(name, None)
        else:
            folder.durable[name] = node


def walk(folder: Folder, start: str = "") -> Iterator[tuple[str, Node]]:
    """What the program finds below ``folder``, with its paths, each beginning with ``start``."""
    for name, node in folder.current.items():
        yield start + name, node
        if isinstance(node, Folder):
            yield from walk(node, f"{start}{name}/")


def folders(root: Folder) -> Iterator[Folder]:
    """``root`` and the folders that the program finds below it."""
    yield root
    for _, node in walk(root):
        if isinstance(node, Folder):
            yield node
