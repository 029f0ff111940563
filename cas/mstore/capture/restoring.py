"""Giving back the source that a version was made with: the very tree, or an error that says why.

The commit comes from a repository of the user's choice, the patch from the store. They are put
together in a git folder of our own; unless the tree that they make has the id that was recorded,
nothing is given.
"""

from collections.abc import Sequence
from pathlib import Path

from mstore.capture.git import ScratchFolder, borrow
from mstore.capture.running import Git, GitError, quiet_git
from mstore.capture.work_tree import work_tree_of
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, StorageError
from mstore.objects import Code

FETCH_SECONDS = 600
"""How long fetching a commit from elsewhere may take."""
_SCHEMES = ("file://", "git://", "http://", "https://", "ssh://")


def restore_code(
    code: Code,
    target: Path,
    scratch: ScratchFolder,
    *,
    source: str | None = None,
    around: Path | None = None,
) -> str:
    """Write the tree of ``code`` into the folder ``target``; where the commit was found.

    The commit comes from ``source``, a folder or an address; if none is given, from the work tree
    that the folder ``around`` is in, else from the address that was recorded. NotFoundError
    when it is in none of them, CorruptError when what comes out is not the tree that was,
    StorageError when git fails or is not there.
    """
    if not code.tree:
        raise NotFoundError(
            f"the code cannot be given back: {code.omitted or 'its tree was not kept'}",
            hint=f"its commit alone: git checkout {code.commit}" if code.commit else None,
        )
    try:
        with scratch() as folder:
            git, _ = quiet_git(folder, seconds=FETCH_SECONDS)
            own, found = _with_commit(git, folder, code, source, around)
            _make_tree(own, code)
            place = target.resolve()
            own = own.at(place, GIT_WORK_TREE=str(place))
            own.run("checkout-index", "--all", "--force")
    except GitError as error:
        raise StorageError(f"the code cannot be given back: {error}", hint="look at git") from error
    return found


def _with_commit(
    git: Git, folder: Path, code: Code, source: str | None, around: Path | None
) -> tuple[Git, str]:
    """Git that can read the commit, and the place that it comes from."""
    digits = len(code.commit or code.tree)
    if not code.commit:
        return borrow(git, folder, None, digits=digits), "nowhere: nothing was committed"
    tried: list[str] = []
    for place in _places(code, source, around):
        objects = objects_of(git, place)
        own = borrow(git, folder, objects, digits=digits)
        if objects is None:
            reason = _fetch(own, place, code.commit)
            tried.append(f"'{place}'" + (f" ({reason})" if reason else ""))
        else:
            tried.append(f"'{place}'")
        if _has(own, code.commit):
            return own, place
    raise NotFoundError(
        f"commit {code.commit} is not to be had"
        + (f" from {', '.join(tried)}" if tried else ": no place is known that has it"),
        hint="name a clone or an address that has it: --from PLACE",
    )


def _places(code: Code, source: str | None, around: Path | None) -> Sequence[str]:
    if source is not None:
        return [source]
    near = None if around is None else work_tree_of(around.resolve())
    return [*([str(near)] if near is not None else []), *([code.remote] if code.remote else [])]


def objects_of(git: Git, place: str) -> Path | None:
    """Where the repository in the folder ``place`` has its objects; None if it is no folder."""
    folder = Path(place)
    if not folder.is_dir():
        return None
    try:
        found = git.at(folder.resolve()).run("rev-parse", "--git-path", "objects").text
    except GitError as error:
        raise InvalidInputError(f"'{place}' is no git repository: {error}") from error
    return folder.resolve() / found


def _fetch(git: Git, place: str, commit: str) -> str:
    """Fetch a commit, with everything else where it is not given alone; why that failed."""
    if not _is_address(place):
        return "neither a folder nor an address"
    wanted = ([commit], ["+refs/*:refs/fetched/*"])
    reason = ""
    for refs in wanted:
        try:
            git.run("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--", place, *refs)
        except GitError as error:
            reason = str(error)
        else:
            return ""
    return reason


def _is_address(place: str) -> bool:
    """Whether git takes it for a place to fetch from, and for nothing else."""
    if place.startswith("-"):
        return False
    host, colon, path = place.partition(":")
    scp = bool(colon and path) and "/" not in host and not path.startswith(":")
    return place.startswith(_SCHEMES) or (scp and not host.startswith("-"))


def _has(git: Git, commit: str) -> bool:
    try:
        git.run("cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def _make_tree(git: Git, code: Code) -> None:
    """Make the index of the tree; CorruptError unless it is the one that was recorded."""
    git.run(*(("read-tree", code.commit) if code.commit else ("read-tree", "--empty")))
    try:
        if code.patch:
            options = ("--cached", "--binary", "--whitespace=nowarn", "--unidiff-zero", "-p1")
            git.run("apply", *options, "-", given=code.patch)
        made = git.run("write-tree").text
    except GitError as error:
        raise CorruptError(f"the patch does not fit commit {code.commit}: {error}") from error
    if made != code.tree:
        reason = f": {code.omitted}" if code.omitted and not code.patch else ""
        raise _wrong_tree(made, code, reason)


def _wrong_tree(made: str, code: Code, reason: str) -> CorruptError | NotFoundError:
    if reason:
        return NotFoundError(
            f"the code cannot be given back{reason}",
            hint=f"its commit alone: git checkout {code.commit}",
        )
    return CorruptError(f"the code comes out as tree {made}, not {code.tree} as it was")
