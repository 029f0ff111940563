"""What a power cut may leave of a folder, by the rules of POSIX rather than of one file system.

Nothing here knows of stores. To test a program::

    fs = RecordingFileSystem(folder)
    start = read_folder(folder)                  # what was durable before
    ...                                          # let the program work through ``fs``
    fs.mark("put 1")                             # when it has told its user so; as often as wanted
    for state in crash_states(start, fs.operations):
        copy = tmp_path / str(number)            # a fresh folder each time; /dev/shm is quickest
        materialise(state, copy)
        ...                                      # open it: whole? all of ``state.marks`` there?

When a state is bad, ``state.story`` tells after which call the power went and what was lost.

The rules, after ALICE (Pillai et al., OSDI 2014). A crash may come after every operation. Then

1. a file holds what it held at its last fsync, or all that was written since, or that cut in the
   middle, or with its second half zero, or its whole new part zero; each file for itself;
2. every change of a name (make, link, unlink, rename, mkdir) was done or lost, each for itself,
   unless its folder was fsynced since. Renaming is one change. Two changes of one name keep their
   order: the later one wins when both were done;
3. fsync of a file makes its bytes durable and none of its names, fsync of a folder its names and
   neither the files' bytes nor the folder's own name.

Where that gives more than ``cap`` states for one moment, all pairs of choices are tried, with
everything else done and with everything else lost.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from mstore.backends.durable import write_all
from mstore.backends.fsio import FileSystem
from mstore.testing.disk import Change, Disk, File, Folder, FolderState, Node, Slot, folders, walk
from mstore.testing.filesystems import Operation

DEFAULT_CAP = 1 << 12
"""States of one moment up to which all are tried."""


class CrashState(FolderState, frozen=True):
    """What may be there after a crash.

    ``step`` operations had been done and ``marks`` been recorded; ``story`` tells what was lost.
    """

    step: int
    marks: tuple[str, ...]
    story: str


def read_folder(folder: Path) -> FolderState:
    """The state of a folder as it is; symbolic links are left out."""
    found = [path for path in sorted(folder.rglob("*")) if not path.is_symlink()]
    files = {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}
    return FolderState(files, frozenset(str(p.relative_to(folder)) for p in found if p.is_dir()))


def materialise(state: FolderState, folder: Path) -> None:
    """Make ``folder``, which must not exist, be in that state."""
    fs = FileSystem()
    fs.mkdir(str(folder))
    for name in sorted(state.folders):
        fs.mkdir(str(folder / name))
    for name, content in state.files.items():
        fd = fs.open_new(str(folder / name))
        write_all(fs, fd, content)
        fs.close(fd)


def crash_states(
    start: FolderState,
    operations: Sequence[Operation],
    *,
    together: Sequence[str] = ("tmp",),
    cap: int = DEFAULT_CAP,
) -> Iterator[CrashState]:
    """All states that a crash during ``operations`` may leave, each once per set of marks.

    The names in the folders ``together`` and below are lost all or none, and files with names
    only there are empty: for places that nobody needs, which would only multiply the states.
    """
    disk = Disk(start)
    seen: set[object] = set()
    marks: tuple[str, ...] = ()
    for step, operation in enumerate((Operation("mark"), *operations)):
        if operation.error:
            continue
        if operation.name == "mark":
            marks += (operation.path,) if operation.path else ()
        elif not disk.apply(operation):
            continue
        for state, story in _states_now(disk, together, cap):
            key = (marks, state.folders, frozenset(state.files.items()))
            if key not in seen:
                seen.add(key)
                where = f"after {step} operations ({operation.name} {operation.path}): {story}"
                yield CrashState(state.files, state.folders, step, marks, where)


class _Option(Struct):
    """One way that something may have gone, and what is lost by it."""

    names: Mapping[Slot, Node | None]
    contents: Mapping[File, bytes]
    lost: str


_Choice = list[_Option]
"""All ways that it may have gone: complete first, lost last."""


def _states_now(disk: Disk, together: Sequence[str], cap: int) -> Iterator[tuple[FolderState, str]]:
    """What a crash now may leave, and the story of it."""
    aside = set(_aside(disk, together))
    choices = [*_name_choices(disk, aside), *_file_choices(disk, aside)]
    for picks in _combinations([len(choice) for choice in choices], cap):
        options = [choice[pick] for choice, pick in zip(choices, picks, strict=True)]
        lost = "; ".join(option.lost for option in options if option.lost)
        yield _visible(disk.root, options), lost or "nothing lost"


def _aside(disk: Disk, together: Sequence[str]) -> Iterator[Folder]:
    for path in together:
        node = disk.node(path) if path in disk.root.current else None
        if isinstance(node, Folder):
            yield from folders(node)


def _name_choices(disk: Disk, aside: set[Folder]) -> Iterator[_Choice]:
    """One choice for each group of changes that have names in common (rule 2)."""
    alone: list[Change] = []
    for group in _groups(disk.pending):
        if all(folder in aside for change in group for folder, _ in change.slots()):
            alone += group
        else:
            yield _outcomes(group, _subsets(len(group)))
    if alone:
        yield _outcomes(alone, [[True] * len(alone), [False] * len(alone)])


def _groups(changes: Iterable[Change]) -> list[list[Change]]:
    """The changes in groups that share no name, each in its order."""
    groups: list[tuple[set[Slot], list[Change]]] = []
    for change in changes:
        slots, members = change.slots(), [change]
        apart = []
        for group in groups:
            if group[0] & slots:
                slots, members = slots | group[0], group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (slots, members)]
    return [members for _, members in groups]


_ALL_SUBSETS = 8
"""Changes of one group up to which all subsets are tried: 256."""


def _subsets(count: int) -> list[list[bool]]:
    """What of ``count`` changes is done: all of them first, none last.

    Of many changes: the first n, all but one, and only one.
    """
    if count <= _ALL_SUBSETS:
        return [list(done) for done in itertools.product((True, False), repeat=count)]
    numbers = range(count)
    first = [[i < n for i in numbers] for n in range(count, 0, -1)]
    one = [[(i == n) is kept for i in numbers] for n in numbers for kept in (True, False)]
    return [*first, *one, [False] * count]


def _outcomes(changes: Sequence[Change], subsets: Sequence[Sequence[bool]]) -> _Choice:
    """What names come to stand for when a subset of the changes is done; each outcome once."""
    before = {slot: slot[0].durable.get(slot[1]) for change in changes for slot in change.slots()}
    outcomes: dict[frozenset[tuple[Slot, Node | None]], _Option] = {}
    for subset in subsets:
        names = dict(before)
        lost = []
        for change, done in zip(changes, subset, strict=True):
            if done:
                names |= {(folder, name): node for folder, name, node in change.edits}
            else:
                lost.append(f"lost {change.story}")
        outcomes.setdefault(frozenset(names.items()), _Option(names, {}, ", ".join(lost)))
    return list(outcomes.values())


def _file_choices(disk: Disk, aside: set[Folder]) -> Iterator[_Choice]:
    """One choice for each file with bytes that are not durable (rule 1)."""
    paths: dict[Node, str] = {node: path for path, node in walk(disk.root)}
    for file in _named_outside(disk, aside):
        if file.durable != file.current:
            path = paths.get(file, "a file without name")
            yield [
                _Option({}, {file: content}, how and f"content of {path} {how}")
                for content, how in _contents(file.durable, file.current).items()
            ]


def _contents(old: bytes, new: bytes) -> dict[bytes, str]:
    """What may be in a file whose ``old`` bytes were durable (rule 1), and a word for it."""
    half = len(new) // 2
    kept = len(old) if new.startswith(old) else 0
    between = {
        new[:half]: "cut",
        new[:half].ljust(len(new), b"\0"): "torn",
        new[:kept].ljust(len(new), b"\0"): "zeros",
    }
    ends = {new, old}
    return {
        new: "",
        **{content: how for content, how in between.items() if content not in ends},
        old: "as before",
    }


def _named_outside(disk: Disk, aside: set[Folder]) -> Iterable[File]:
    """The files that have, had or may get a name where somebody looks."""
    nodes: list[Node | None] = []
    for change in disk.pending:
        nodes += [node for folder, _, node in change.edits if folder not in aside]
    for folder in folders(disk.root):
        if folder not in aside:
            nodes += [*folder.durable.values(), *folder.current.values()]
    return dict.fromkeys(node for node in nodes if isinstance(node, File))


def _combinations(sizes: Sequence[int], cap: int) -> Iterator[Sequence[int]]:
    """One index below each of ``sizes``: all combinations, or above ``cap`` all pairs (see top)."""
    if math.prod(sizes) <= cap:
        yield from itertools.product(*(range(size) for size in sizes))
        return
    for rest in ([0] * len(sizes), [size - 1 for size in sizes]):
        for i, j in itertools.combinations(range(len(sizes)), 2):
            for a, b in itertools.product(range(sizes[i]), range(sizes[j])):
                picks = list(rest)
                picks[i], picks[j] = a, b
                yield picks


def _visible(root: Folder, options: Iterable[_Option]) -> FolderState:
    """The files and folders that can be reached from the root."""
    changed: dict[Folder, dict[str, Node | None]] = {}
    contents: dict[File, bytes] = {}
    for option in options:
        contents |= option.contents
        for (folder, name), node in option.names.items():
            changed.setdefault(folder, {})[name] = node
    files: dict[str, bytes] = {}
    found: list[str] = []
    todo = [("", root)]
    while todo:
        start, folder = todo.pop()
        for name, node in (folder.durable | changed.get(folder, {})).items():
            if isinstance(node, File):
                files[start + name] = contents.get(node, node.durable)
            elif node is not None:
                found.append(start + name)
                todo.append((f"{start}{name}/", node))
    return FolderState(files, frozenset(found))
