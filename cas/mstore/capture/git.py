"""The source that a version was made with: the commit, and the tree as it was, exactly.

The tree is what ``git add -A`` would make a commit of: what is changed and what is new, without
what git ignores. It is put together in a git folder of our own that only borrows the objects of
the user's, which is not touched. What stands in ``without``, the store and what is being stored,
is left as the commit has it.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from msgspec import structs

from mstore.capture.running import Answer, Git, GitError, quiet_git
from mstore.capture.work_tree import CapturedCode, work_tree_of
from mstore.errors import MstoreError
from mstore.objects import Code

MAX_PATCH = 8 << 20
"""Bytes of a patch that is kept."""
MAX_CHANGED = 16 << 20
"""Bytes of changed and new files that are looked at for a patch: a second of git's time."""
MAX_PATHS = 10_000
"""Changed and new files that are looked at for a patch."""
_MAX_STATUS = 4 << 20
_EMPTY_TREES = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
"""The id of a tree without entries, by the digits that ids of its kind have."""
_SHA1_DIGITS = 40
_NO_COMMIT = "(initial)"
_DETACHED = "(detached)"

ScratchFolder = Callable[[], AbstractContextManager[Path]]
"""Gives an empty folder that is gone again afterwards."""


class _Status(NamedTuple):
    """What git says of a work tree: ``added`` has other bytes than the commit, or is new."""

    commit: str
    branch: str
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    foreign: tuple[bytes, ...]


_known: dict[tuple[object, ...], CapturedCode] = {}
_MAX_KNOWN = 4


def capture_code(
    folder: Path, scratch: ScratchFolder, without: Sequence[Path] = ()
) -> CapturedCode:
    """The commit and the tree of the git work tree that ``folder`` is in, if it is in one.

    Raises nothing: where git is missing or fails the remark says so. Of a clean tree, and of one
    that has not changed since it was last asked for, no file is read. ``scratch`` is only used for
    one that has.
    """
    folder = folder.resolve()
    top = work_tree_of(folder)
    if top is None:
        return CapturedCode()
    try:
        return _capture(top, folder, scratch, without)
    except (GitError, MstoreError) as error:
        return CapturedCode(None, f"the code is not known: {error}")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return CapturedCode(None, f"the code is not known: {reason}")


def _capture(
    top: Path, folder: Path, scratch: ScratchFolder, without: Sequence[Path]
) -> CapturedCode:
    git, config = quiet_git(top)
    found = git.run("rev-parse", "--show-toplevel", "--git-path", "objects").content.split(b"\n")
    if Path(os.fsdecode(found[0])) != top:
        # core.worktree can point at any folder: what stands there was never meant to be kept.
        raise GitError(f"git takes '{os.fsdecode(found[0])}' for the work tree of '{top}'")
    objects = top / os.fsdecode(found[1])
    answer = _ask_status(git, top, without)
    status = _parse_status(answer.content[: answer.content.rfind(b"\0")])
    code = Code(
        commit=status.commit,
        branch=_valid(status.branch),
        remote=_valid(_remote(config, status.branch)),
        folder="" if folder == top else _valid(folder.relative_to(top).as_posix()),
    )
    if not answer.is_whole or len(status.added) > MAX_PATHS:
        return _without_patch(code, f"more than {MAX_PATHS} files are changed")
    states = [_state(top / os.fsdecode(path)) for path in status.added]
    size = sum(state[0] for state in states if state is not None)
    if size > MAX_CHANGED:
        many = f"the changed files have {_mebibytes(size)} MiB"
        return _without_patch(code, f"{many}, at most {MAX_CHANGED >> 20} are read")
    key = (top, code, answer.content, *states)
    known = _known.get(key)
    if known is None:
        known = _with_tree(git, objects, code, status, scratch)
        while len(_known) >= _MAX_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[key] = known
    return known


def _ask_status(git: Git, top: Path, without: Sequence[Path]) -> Answer:
    left_out = [":(top,exclude,glob)**/.mstore/**"]
    for path in without:
        # What a link stands for may be anywhere; the link itself is here.
        inside = path.absolute().parent.resolve() / path.name
        if inside.is_relative_to(top) and inside != top:
            left_out.append(f":(top,exclude,literal){inside.relative_to(top).as_posix()}")
    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
    # A submodule has a configuration of its own, which is not asked to do anything.
    return git.run(
        "status", *options, "--ignore-submodules=dirty", "--", ":/", *left_out, limit=_MAX_STATUS
    )


def _parse_status(content: bytes) -> _Status:
    commit = branch = ""
    added: list[bytes] = []
    removed: list[bytes] = []
    foreign: list[bytes] = []
    for line in content.split(b"\0"):
        kind, _, rest = line.partition(b" ")
        if kind == b"#":
            name, _, value = rest.partition(b" ")
            commit = os.fsdecode(value) if name == b"branch.oid" else commit
            branch = os.fsdecode(value) if name == b"branch.head" else branch
        elif kind == b"?":
            (foreign if rest.endswith(b"/") else added).append(rest)
        elif kind in {b"1", b"u"}:
            # XY sub modes and ids, then the path: eight words of a changed, ten of an unmerged one
            path = line.split(b" ", 8 if kind == b"1" else 10)[-1]
            (removed if rest.startswith(b"D.") else added).append(path)
    # What was only taken out of the index stands in the tree still, unless it is ignored.
    there = set(added)
    gone = tuple(path for path in removed if path not in there)
    return _Status(
        commit="" if commit == _NO_COMMIT else commit,
        branch="" if branch == _DETACHED else branch,
        added=tuple(added),
        removed=gone,
        foreign=tuple(foreign),
    )


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells whether a file changed, its size first; None when there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode


def _with_tree(
    git: Git, objects: Path, code: Code, status: _Status, scratch: ScratchFolder
) -> CapturedCode:
    """The code with its tree, and its patch where it is not the commit's."""
    left = ""
    if status.foreign:
        left = f"'{_text(status.foreign[0]).rstrip('/')}' is a work tree of its own, not kept"
    if not status.added and not status.removed:
        tree = git.run("rev-parse", f"{code.commit}^{{tree}}").text if code.commit else ""
        return CapturedCode(structs.replace(code, tree=tree), left)
    try:
        with scratch() as folder:
            own = borrow(git, folder, objects, digits=len(code.commit))
            tree = _write_tree(own, git.folder, code, status)
            before = code.commit or empty_tree(tree)
            patch = own.run(*_diff(before, tree), limit=MAX_PATCH)
    except (GitError, MstoreError) as error:
        # Git's, or no room for a folder for a while.
        return _without_patch(code, f"the changed files cannot be read: {error}")
    if not patch.is_whole:
        left = f"the patch has {_mebibytes(patch.size)} MiB, at most {MAX_PATCH >> 20} are kept"
        return _without_patch(code, left, tree=tree)
    return CapturedCode(structs.replace(code, tree=tree, patch=patch.content), left)


def _without_patch(code: Code, reason: str, *, tree: str = "") -> CapturedCode:
    omitted = _valid(reason)
    return CapturedCode(structs.replace(code, tree=tree, omitted=omitted), omitted)


def _write_tree(own: Git, top: Path, code: Code, status: _Status) -> str:
    """The id of the commit's tree with what is changed put over it."""
    if code.commit:
        own.run("read-tree", code.commit)
    # Where git would write a file's bytes and finds them there, it gives that object a new time: so
    # it is not let see the user's objects while it does.
    placed = own.at(top, GIT_WORK_TREE=str(top))
    alone = placed.at(top, GIT_ALTERNATE_OBJECT_DIRECTORIES="")
    if status.removed:
        nothing = b"0" * (len(code.commit) or _SHA1_DIGITS)
        gone = b"".join(b"0 %s\t%s\0" % (nothing, path) for path in status.removed)
        alone.run("update-index", "-z", "--index-info", given=gone)
    if status.added:
        paths = b"".join(path + b"\0" for path in status.added)
        alone.run("update-index", "-z", "--add", "--remove", "--replace", "--stdin", given=paths)
    return placed.run("write-tree", "--missing-ok").text


def _diff(before: str, after: str) -> tuple[str, ...]:
    """A command whose answer depends on two trees only, and that ``git apply`` takes back."""
    form = ("--binary", "--full-index", "--no-renames", "--unified=3", "--no-color")
    plain = ("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
    return ("diff-tree", "-p", "-r", *form, *plain, before, after, "--")


def borrow(git: Git, folder: Path, objects: Path | None, *, digits: int) -> Git:
    """Git with a git folder of its own in ``folder`` that can read the ``objects`` of another.

    ``digits`` is how many a commit's id has, which says how ids are made.
    """
    name = "sha1" if digits <= _SHA1_DIGITS else "sha256"
    place = str(folder / "git")
    git.at(folder).run("init", "-q", "--bare", f"--object-format={name}", place)
    variables = {"GIT_DIR": place, "GIT_INDEX_FILE": str(folder / "index")}
    if objects is not None:
        variables["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(str(objects))
    return git.at(folder, **variables)


def empty_tree(like: str) -> str:
    """The id of a tree without entries, made as the id ``like`` was."""
    return _EMPTY_TREES[len(like)]


def _quoted(path: str) -> str:
    """A path in a list with colons between."""
    if ":" not in path and not path.startswith('"'):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _remote(config: Mapping[str, str], branch: str) -> str:
    """The address that the branch is fetched from, else that of ``origin``, else the only one."""
    urls = {
        key[len("remote.") : -len(".url")]: value
        for key, value in config.items()
        if key.startswith("remote.") and key.endswith(".url")
    }
    chosen = config.get(f"branch.{branch}.remote", "origin")
    alone = next(iter(urls.values())) if len(urls) == 1 else ""
    return without_credentials(urls.get(chosen, urls.get("origin", alone)))


def without_credentials(url: str) -> str:
    """An address without user names, passwords, queries and fragments that could be secrets.

    The user name of ssh stays: it is part of the address and opens nothing.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if "://" not in url:
        return url
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    if user and parts.scheme in {"ssh", "git+ssh", "ssh+git"}:
        host = f"{user}@{host}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _mebibytes(size: int) -> int:
    return -(-size >> 20)


def _text(path: bytes) -> str:
    return _valid(os.fsdecode(path))


def _valid(text: str) -> str:
    """The text as UTF-8 can say it: bytes of a name that are none become ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
