"""The crash states of small runs, counted by hand; and that no planted fault escapes them."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.backends.local import LocalBackend
from mstore.testing.crash import CrashState, crash_states, materialise, read_folder
from mstore.testing.disk import FolderState
from mstore.testing.filesystems import Operation, RecordingFileSystem

EMPTY = FolderState({}, frozenset())
PACK = "objects/1.pack"
SLOT = "refs/heads/lenet/0000000000000001"
WHOLE = {PACK: b"pack" * 10, SLOT: b"slot"}

Run = list[Operation]


def create(path: str, file: int = 0) -> Operation:
    """Making a file."""
    return Operation("open_new", path, file=file)


def write(content: bytes, offset: int = 0, file: int = 0) -> Operation:
    """Writing to a file."""
    return Operation("pwrite", file=file, offset=offset, size=len(content), content=content)


def fsync(file: int = 0) -> Operation:
    """Making its bytes durable."""
    return Operation("fsync", file=file)


def sync_folder(path: str = ".") -> Operation:
    """Making a folder's names durable."""
    return Operation("fsync_folder", path)


def outcomes(operations: Run, start: FolderState = EMPTY, **how: object) -> set[frozenset[str]]:
    """The states as texts like "a=12", files only."""
    return {
        frozenset(f"{path}={content.decode()}" for path, content in state.files.items())
        for state in crash_states(start, operations, **how)  # type: ignore[arg-type]  # passed on
    }


def only(*files: str) -> frozenset[str]:
    """One state."""
    return frozenset(files)


def test_nothing_done_is_one_state() -> None:
    """Without operations there is the start."""
    start = FolderState({"a": b"1"}, frozenset())
    assert outcomes([], start) == {only("a=1")}


def test_a_new_file_may_be_missing_or_empty() -> None:
    """Before its folder is synced a file may be lost."""
    assert outcomes([create("a")]) == {only(), only("a=")}


def test_unsynced_bytes_may_be_anything_between() -> None:
    """Bytes that are not synced may be lost, cut, or zero in part or whole."""
    found = outcomes([create("a"), write(b"1234")])
    zeros = "\0\0"
    assert found == {
        only(),
        only("a="),
        only("a=12"),
        only(f"a=12{zeros}"),
        only(f"a={zeros}{zeros}"),
        only("a=1234"),
    }


def test_fsync_keeps_bytes_and_no_name() -> None:
    """A synced file is whole, if it is there."""
    done = [create("a"), sync_folder(), write(b"1234"), fsync()]
    assert last_outcomes(done) == {only("a=1234")}
    assert last_outcomes([create("a"), write(b"1234"), fsync()]) == {only(), only("a=1234")}


def last_outcomes(operations: Run, start: FolderState = EMPTY) -> set[frozenset[str]]:
    """The states of a crash after the last operation, however they were seen before."""
    return {
        frozenset(f"{path}={content.decode()}" for path, content in state.files.items())
        for state in crash_states(start, [*operations, Operation("mark", "end")])
        if state.marks
    }


def test_rewritten_bytes_may_be_the_old_ones() -> None:
    """A file that is rewritten holds the old bytes, the new ones, or something torn."""
    start = FolderState({"a": b"1234"}, frozenset())
    opened = Operation("open_lock", "a", file=0)
    cut = Operation("truncate", "a", file=0)
    found = last_outcomes([opened, cut, write(b"56")], start)
    assert found == {only("a=1234"), only("a=56"), only("a=5"), only("a=5\0"), only("a=\0\0")}


def test_growing_keeps_what_was_durable() -> None:
    """Zeros only come where new bytes would."""
    start = FolderState({"a": b"12"}, frozenset())
    found = last_outcomes([Operation("open_lock", "a", file=0), write(b"34", 2)], start)
    assert found == {only("a=12"), only("a=1234"), only("a=12\0\0")}


def test_a_folder_sync_keeps_names_and_no_bytes() -> None:
    """A synced name may have no bytes behind it: that is the zero-length file of a power cut."""
    found = last_outcomes([create("a"), write(b"1234"), sync_folder()])
    assert only() not in found
    assert only("a=") in found


def test_names_are_lost_one_by_one() -> None:
    """Of two files either may be there without the other."""
    found = last_outcomes([create("a", 0), create("b", 1)])
    assert found == {only(), only("a="), only("b="), only("a=", "b=")}


def test_a_link_may_survive_its_source() -> None:
    """A second name may be durable and the first not."""
    done = [create("a"), write(b"1"), fsync(), Operation("link", "a", "b")]
    assert last_outcomes(done) == {only(), only("a=1"), only("b=1"), only("a=1", "b=1")}


def test_renaming_is_one_change() -> None:
    """A renamed file has its old name or its new one, never both or none."""
    start = FolderState({"a": b"1", "b": b"2"}, frozenset())
    rename = Operation("rename", "a", "b")
    assert last_outcomes([rename], start) == {only("a=1", "b=2"), only("b=1")}
    assert last_outcomes([rename, sync_folder()], start) == {only("b=1")}


def test_renaming_between_folders_is_durable_with_either() -> None:
    """Syncing the source's folder or the target's keeps the whole rename."""
    start = FolderState({"x/a": b"1"}, frozenset({"x", "y"}))
    rename = Operation("rename", "x/a", "y/a")
    for folder in ("x", "y"):
        assert last_outcomes([rename, sync_folder(folder)], start) == {only("y/a=1")}


def test_what_a_synced_change_rests_on_is_synced() -> None:
    """Renaming a new file and syncing the target leaves nothing at the source."""
    start = FolderState({}, frozenset({"x", "y"}))
    done = [create("x/a"), Operation("rename", "x/a", "y/a"), sync_folder("y")]
    assert last_outcomes(done, start) == {only("y/a=")}


def test_exchanging_is_one_change() -> None:
    """Two exchanged names stand for the old or for the new."""
    start = FolderState({"a": b"1", "b": b"2"}, frozenset())
    found = last_outcomes([Operation("exchange", "a", "b")], start)
    assert found == {only("a=1", "b=2"), only("a=2", "b=1")}


def test_renaming_a_file_to_its_twin_does_nothing() -> None:
    """Two names of one file are left alone by rename(2)."""
    start = FolderState({"a": b"1"}, frozenset())
    done = [Operation("link", "a", "b"), sync_folder(), Operation("rename", "a", "b")]
    assert last_outcomes(done, start) == {only("a=1", "b=1")}


def test_a_lost_folder_takes_all_with_it() -> None:
    """A folder whose own name was not synced is lost with what is in it."""
    done = [Operation("mkdir", "x"), create("x/a"), write(b"1"), fsync(), sync_folder("x")]
    assert last_outcomes(done) == {only(), only("x/a=1")}
    assert last_outcomes([*done, sync_folder()]) == {only("x/a=1")}


def test_a_removed_name_may_come_back() -> None:
    """Until the folder is synced a removed file may be there."""
    start = FolderState({"a": b"1"}, frozenset({"x"}))
    assert last_outcomes([Operation("unlink", "a")], start) == {only(), only("a=1")}
    assert last_outcomes([Operation("unlink", "a"), sync_folder()], start) == {only()}
    gone = list(crash_states(start, [Operation("rmdir", "x"), sync_folder()]))
    assert gone[-1].folders == frozenset()


def test_the_names_of_tmp_go_together() -> None:
    """Where nobody reads, names do not multiply the states."""
    start = FolderState({}, frozenset({"tmp"}))
    done = [
        operation for n in range(20) for operation in (create(f"tmp/{n}", n), write(b"1", 0, n))
    ]
    sizes = {len(state.files) for state in crash_states(start, done)}
    assert sizes == set(range(21))
    assert len(list(crash_states(start, done))) == 21


def test_failed_operations_did_nothing() -> None:
    """A call that failed changes no state."""
    assert outcomes([Operation("open_new", "a", file=0, error=5)]) == {only()}


def test_marks_tell_what_was_acknowledged() -> None:
    """The same files after a mark are another state."""
    done = [create("a"), Operation("mark", "made"), Operation("mark", "told")]
    found = [(sorted(state.files), state.marks) for state in crash_states(EMPTY, done)]
    assert found == [
        ([], ()),
        (["a"], ()),
        (["a"], ("made",)),
        ([], ("made",)),
        (["a"], ("made", "told")),
        ([], ("made", "told")),
    ]


def test_a_state_tells_its_story() -> None:
    """A state says when the crash came and what was lost."""
    run = [create("a"), write(b"1234"), Operation("mark", "told")]
    stories = [state.story for state in crash_states(EMPTY, run)]
    assert stories[0] == "after 0 operations (mark ): nothing lost"
    assert "after 2 operations (pwrite ): content of a cut" in stories
    assert "after 3 operations (mark told): lost open_new a" in stories


def test_above_the_cap_all_pairs_are_tried() -> None:
    """Of twenty files every pair is seen in all four ways."""
    done = [create(str(number), number) for number in range(20)]
    states = [set(state.files) for state in crash_states(EMPTY, done, cap=64)]
    assert len(states) < 20_000
    for a, b in itertools.combinations(map(str, range(20)), 2):
        assert {(a in state, b in state) for state in states} == set(
            itertools.product((False, True), repeat=2)
        )


def test_many_changes_of_one_name_are_thinned_out() -> None:
    """A name that changes often is seen with each thing it stood for."""
    done: Run = []
    for number in range(12):
        done += [create("a", number), write(b"%d" % number, 0, number), fsync(number)]
        done += [Operation("unlink", "a")]
    assert outcomes(done) >= {only(), *(only(f"a={number}") for number in range(12))}


@given(
    st.lists(
        st.sampled_from(["create", "write", "fsync", "link", "unlink", "rename", "sync"]),
        max_size=6,
    )
)
def test_synced_states_are_among_all(steps: Sequence[str]) -> None:
    """The state in which nothing was lost is always possible."""
    run, current = simulate(steps)
    states = [dict(state.files) for state in crash_states(EMPTY, run)]
    assert current in states


def simulate(steps: Iterable[str]) -> tuple[Run, dict[str, bytes]]:
    """Operations on names "a" and "b" as far as they are possible, and the files at their end."""
    run: Run = []
    names: dict[str, int] = {}
    contents: dict[int, bytes] = {}
    for step in steps:
        if step == "create" and "a" not in names:
            names["a"] = len(contents)
            contents[names["a"]] = b""
            run.append(create("a", names["a"]))
        elif step == "sync":
            run.append(sync_folder())
        elif "a" in names:
            change(step, run, names, contents)
    return run, {name: contents[file] for name, file in names.items()}


def change(step: str, run: Run, names: dict[str, int], contents: dict[int, bytes]) -> None:
    """One step on the file "a"."""
    file = names["a"]
    if step == "write":
        run.append(write(b"xyz", len(contents[file]), file))
        contents[file] += b"xyz"
    elif step == "fsync":
        run.append(fsync(file))
    elif step == "link" and "b" not in names:
        run.append(Operation("link", "a", "b"))
        names["b"] = file
    elif step == "unlink":
        run.append(Operation("unlink", "a"))
        del names["a"]
    elif step == "rename" and names.get("b") != file:
        run.append(Operation("rename", "a", "b"))
        names["b"] = names.pop("a")


def test_a_state_can_be_made(tmp_path: Path) -> None:
    """A folder made from a state reads as that state."""
    state = FolderState({"a/b/c": b"1", "d": b""}, frozenset({"a", "a/b", "e"}))
    materialise(state, tmp_path / "made")
    (tmp_path / "made/link").symlink_to("d")
    assert read_folder(tmp_path / "made") == state


def test_recorded_paths_are_those_of_the_folder(tmp_path: Path) -> None:
    """What is done below the folder is told by relative paths, through descriptors too."""
    fs = RecordingFileSystem(tmp_path)
    fs.mkdir(str(tmp_path / "x"))
    root = fs.open_folder(str(tmp_path))
    folder = fs.open_folder("x", dir_fd=root)
    file = fs.open_new("a", dir_fd=folder)
    fs.write(file, b"12")
    fs.write(file, b"3")
    fs.fsync(folder)
    assert [found.name for found in fs.scan(folder)] == ["a"]
    fs.rename("a", "b", dir_fd=folder)
    with pytest.raises(FileExistsError):
        fs.open_new("b", dir_fd=folder)
    for fd in (root, folder, file):
        fs.close(fd)
    again = fs.open_read(str(tmp_path / "x/b"))
    fs.close(again)
    assert [(done.name, done.path, done.file, done.offset) for done in fs.operations] == [
        ("mkdir", "x", -1, 0),
        ("open_folder", ".", -1, 0),
        ("open_folder", "x", -1, 0),
        ("open_new", "x/a", 0, 0),
        ("write", "x/a", 0, 0),
        ("write", "x/a", 0, 2),
        ("fsync_folder", "x", -1, 0),
        ("scan", "x", -1, 0),
        ("rename", "x/a", -1, 0),
        ("open_new", "x/b", -1, 0),
        ("close", ".", -1, 0),
        ("close", "x", -1, 0),
        ("close", "x/b", 0, 0),
        ("open_read", "x/b", 0, 0),
        ("close", "x/b", 0, 0),
    ]
    assert fs.operations[8].target == "x/b"
    assert fs.operations[9].error


def recorded_put(folder: Path) -> tuple[FolderState, Run]:
    """A store's transaction: a pack, then the slot that names it, then the acknowledgement."""
    LocalBackend(folder).prepare()
    start = read_folder(folder)
    fs = RecordingFileSystem(folder)
    backend = LocalBackend(folder, fs)
    with backend.lease(0) as lease:
        with backend.draft() as draft:
            draft.write(WHOLE[PACK])
            draft.publish(PACK)
        backend.sync("objects")
        lease.commit(SLOT, WHOLE[SLOT])
        fs.mark("acknowledged")
    return start, fs.operations


def faults(states: Iterable[CrashState]) -> tuple[set[str], int]:
    """Which rules the states break, and how many states there are."""
    broken: set[str] = set()
    count = 0
    for state in states:
        count += 1
        named = {key: state.files[key] for key in WHOLE if key in state.files}
        if any(content != WHOLE[key] for key, content in named.items()):
            broken.add("half-written")
        if SLOT in named and PACK not in named:
            broken.add("dangling")
        if state.marks and SLOT not in named:
            broken.add("forgotten")
    return broken, count


def test_a_put_survives_every_crash(tmp_path: Path) -> None:
    """The order of a transaction leaves no bad state, and few states at all."""
    broken, count = faults(crash_states(*recorded_put(tmp_path)))
    assert broken == set()
    assert 20 < count < 500


def drop(name: str, of: Callable[[Operation], bool]) -> Callable[[Run], Run]:
    """A program that leaves out some of its calls."""
    return lambda run: [done for done in run if not (done.name == name and of(done))]


def files_of(run: Run) -> tuple[int, int]:
    """The numbers of the lease's file and of the pack's."""
    lease, pack = (done.file for done in run if done.name == "open_new")
    return lease, pack


def drop_fsync(which: int) -> Callable[[Run], Run]:
    """A program that does not fsync its n-th file."""
    return lambda run: drop("fsync", lambda done: done.file == files_of(run)[which])(run)


def commit_first(run: Run) -> Run:
    """A program that links its slot before the pack's name is durable."""
    late = [done for done in run if done.name == "fsync_folder" and done.path == "objects"]
    rest = [done for done in run if done not in late]
    at = next(i for i, done in enumerate(rest) if done.target == SLOT and not done.error)
    return [*rest[: at + 1], *late, *rest[at + 1 :]]


ABLATIONS = {
    "the pack is not synced": (drop_fsync(1), "half-written"),
    "the slot is not synced": (drop_fsync(0), "half-written"),
    "the folder of packs is not synced": (
        drop("fsync_folder", lambda done: done.path == "objects"),
        "dangling",
    ),
    "the folder of slots is not synced": (
        drop("fsync_folder", lambda done: done.path == "refs/heads/lenet"),
        "forgotten",
    ),
    "the folder of names is not synced": (
        drop("fsync_folder", lambda done: done.path == "refs/heads"),
        "forgotten",
    ),
    "no file is synced": (drop("fsync", lambda _: True), "half-written"),
    "no folder is synced": (drop("fsync_folder", lambda _: True), "forgotten"),
    "the slot is linked first": (commit_first, "dangling"),
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_planted_fault_is_found(tmp_path: Path, ablation: str) -> None:
    """Leaving out or moving any one step of a transaction leads to a bad state."""
    start, run = recorded_put(tmp_path)
    plant, expected = ABLATIONS[ablation]
    broken, _ = faults(crash_states(start, plant(run)))
    assert expected in broken


def test_states_are_real_folders(tmp_path: Path) -> None:
    """A store made from any state of a put opens, and reads what it lists."""
    for number, state in enumerate(crash_states(*recorded_put(tmp_path / "store"))):
        folder = tmp_path / str(number)
        materialise(state, folder)
        backend = LocalBackend(folder)
        for item in backend.list("objects"):
            assert backend.read(item.key) == WHOLE[item.key]
        assert not any(lease.alive for lease in backend.leases())
