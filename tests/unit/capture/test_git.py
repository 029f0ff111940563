"""The source that a version was made with: found, kept, and given back."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from mstore.backends.scratch import scratch_folder
from mstore.capture import git as capture
from mstore.capture import running
from mstore.capture.git import capture_code, without_credentials
from mstore.capture.restoring import restore_code
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, StorageError
from mstore.objects import Code


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and link below a folder, but git's own: whether it may be run, and its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if ".git" in path.relative_to(folder).parts or (path.is_dir() and not path.is_symlink()):
            continue
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        found[str(path.relative_to(folder))] = (path.lstat().st_mode & 0o170100, content)
    return found


def restored(code: Code, target: Path, **options: Any) -> dict[str, tuple[int, bytes]]:
    """What comes back of the code."""
    target.mkdir()
    restore_code(code, target, scratch_folder, **options)
    return files_of(target)


def test_a_clean_tree_is_its_commit(work: Any) -> None:
    """A clean work tree is known by its commit, its branch and its tree, without a patch."""
    code, remark = work.capture()
    assert code == Code(
        commit=work.git("rev-parse", "HEAD"), branch="main", tree=work.git("rev-parse", "HEAD:")
    )
    assert remark == ""


def test_a_dirty_tree_comes_back(work: Any, tmp_path: Path) -> None:
    """Changed, new, removed, renamed, binary and executable files and links come back."""
    work.write(
        old_txt="a\n" * 50, moved_txt="b\n" * 50, gone_txt="c\n", bytes_bin=bytes(range(256))
    )
    work.commit()
    work.write(train_py="print('tuned')\r\n", new__deep__file_txt="new", bytes_bin=b"\0\xff" * 400)
    (work.path / "gone.txt").unlink()
    (work.path / "moved.txt").rename(work.path / "elsewhere.txt")
    (work.path / "old.txt").chmod(0o755)
    (work.path / "link").symlink_to("src/net.py")
    (work.path / "naïve name\n.txt").write_text("x", encoding="utf-8")
    (work.path / "run.ckpt").write_bytes(b"ignored")
    code, remark = work.capture()
    before = files_of(work.path)
    assert remark == ""
    assert restored(code, tmp_path / "out", around=work.path).items() >= {}.items()
    del before["run.ckpt"]
    assert files_of(tmp_path / "out") == before
    assert code.tree == work.tree()


def test_what_is_staged_comes_back(work: Any, tmp_path: Path) -> None:
    """What was added, taken out of the index or half staged is kept as it stands in the folder."""
    work.write(a_txt="1", b_txt="1", c_txt="1", d_txt="1")
    work.commit()
    work.write(a_txt="2", new_txt="new")
    work.git("add", "a.txt", "new.txt")
    work.write(a_txt="3")
    work.git("rm", "-q", "--cached", "b.txt")
    work.git("rm", "-q", "c.txt")
    work.git("rm", "-q", "--cached", "d.txt")
    work.write(_gitignore="d.txt\n")
    code = work.capture().code
    found = restored(code, tmp_path / "out", around=work.path)
    assert (found["a.txt"][1], found["b.txt"][1]) == (b"3", b"1")
    assert {"c.txt", "d.txt"}.isdisjoint(found)
    assert code.tree == work.tree()


def test_a_file_may_become_a_folder(work: Any, tmp_path: Path) -> None:
    """A file where a folder was, and a folder where a file was, come back as they are now."""
    work.write(one_txt="1", two__inner_txt="2")
    work.commit()
    (work.path / "one.txt").unlink()
    work.write(**{"one.txt__inner_txt": "in"})
    (work.path / "two/inner.txt").unlink()
    (work.path / "two").rmdir()
    (work.path / "two").write_text("file", encoding="utf-8")
    code = work.capture().code
    found = restored(code, tmp_path / "out", around=work.path)
    assert found["one.txt/inner.txt"][1] == b"in"
    assert found["two"][1] == b"file"
    assert code.tree == work.tree()


def test_the_work_tree_is_not_touched(work: Any) -> None:
    """Capturing changes no byte and no time of the user's git folder."""
    work.write(train_py="changed", new_txt="new")
    work.git("add", "new.txt")

    def states() -> dict[Path, tuple[int, int]]:
        found = (work.path / ".git").rglob("*")
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}

    before = states()
    assert work.capture().code.patch
    assert states() == before


def test_the_same_state_is_looked_at_once(work: Any) -> None:
    """An unchanged dirty tree makes no tree again; a changed one does."""
    work.write(train_py="changed")
    first = work.capture()
    assert work.capture() is first
    time.sleep(0.02)
    work.write(train_py="CHANGED")
    assert work.capture().code.tree != first.code.tree


def test_what_is_stored_is_left_out(work: Any) -> None:
    """Stores, and the files that are being put, are no part of the code."""
    clean = work.capture().code
    work.write(**{".mstore__config_bin": b"store", "sub__.mstore__x_bin": b"s", "model_bin": b"w"})
    work.write(**{"out[1]__a_bin": b"w"})
    assert work.capture(work.path / "model.bin", work.path / "out[1]").code == clean
    assert b"out[1]" in work.capture(work.path / "model.bin").code.patch


def test_no_work_tree_has_no_code(tmp_path: Path) -> None:
    """Outside of git nothing is captured, and nothing is said."""
    assert capture_code(tmp_path, scratch_folder) == (None, "")


def test_a_bare_one_has_no_code(work: Any, tmp_path: Path) -> None:
    """A bare repository has no work tree, inside it nothing is captured."""
    work.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    assert work.capture(folder=tmp_path / "bare").code is None
    (tmp_path / "odd").mkdir()
    work.git("clone", "-q", "--bare", ".", str(tmp_path / "odd/.git"))
    code, remark = work.capture(folder=tmp_path / "odd")
    assert code is None
    assert "must be run in a work tree" in remark


def test_without_git_it_is_said(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git is not installed nothing is captured or given back, and that is said."""
    code = work.capture().code
    monkeypatch.setenv("PATH", str(work.path))
    assert work.capture() == (None, "the code is not known: git is not installed")
    with pytest.raises(StorageError, match="cannot be given back: git is not installed"):
        restored(code, tmp_path / "out", around=work.path)


def test_a_broken_one_is_said(work: Any) -> None:
    """Where git fails, the remark has git's reason."""
    (work.path / ".git/HEAD").unlink()
    code, remark = work.capture()
    assert code is None
    assert remark.startswith("the code is not known: git rev-parse failed: not a git repository")


def test_a_slow_one_is_given_up(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git that takes too long is ended, and the remark says so."""
    os.mkfifo(work.path / "slow")
    work.git("config", "core.excludesFile", str(work.path / "slow"))
    monkeypatch.setattr(running.quiet_git, "__kwdefaults__", {"seconds": 0.3})
    assert work.capture() == (None, "the code is not known: git status took too long")


def test_without_room_the_commit_is_known(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be made for a while, the patch is left out and the reason said."""
    work.write(train_py="changed")
    monkeypatch.setattr(tempfile, "tempdir", str(work.path / "missing"))
    code, remark = work.capture()
    assert code.commit == work.git("rev-parse", "HEAD")
    assert remark.startswith("the changed files cannot be read: cannot make 'a folder for a while'")


def test_nothing_committed_yet(tmp_path: Path, work: Any) -> None:
    """A work tree without a commit is kept as a patch to nothing."""
    fresh = type(work)(tmp_path / "fresh")
    fresh.path.mkdir()
    fresh.git("init", "-q", "-b", "main")
    assert fresh.capture().code == Code(commit="", branch="main")
    fresh.write(a_txt="a", b__c_bin=b"\0\1")
    code = fresh.capture().code
    assert (code.commit, code.tree) == ("", fresh.tree())
    assert restored(code, tmp_path / "out") == files_of(fresh.path)


def test_a_detached_head_has_no_branch(work: Any) -> None:
    """At a commit that no branch names, the branch is empty."""
    work.git("checkout", "-q", "--detach")
    assert work.capture().code.branch == ""


def test_a_shallow_clone(work: Any, tmp_path: Path) -> None:
    """A clone that has the last commit only gives it, and its patch, and comes back from itself."""
    work.commit("second")
    address = f"file://{work.path}"
    work.git("clone", "-q", "--depth", "1", address, str(tmp_path / "shallow"))
    shallow = type(work)(tmp_path / "shallow")
    shallow.write(train_py="changed")
    code, remark = shallow.capture()
    assert (code.commit, code.remote, remark) == (work.git("rev-parse", "HEAD"), address, "")
    assert restored(code, tmp_path / "out", around=shallow.path) == files_of(shallow.path)


def test_a_second_work_tree(work: Any, tmp_path: Path) -> None:
    """A work tree that shares another's repository is captured with its own state."""
    work.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = type(work)(tmp_path / "side")
    side.write(new_txt="side")
    code = side.capture().code
    assert code.branch == "side"
    assert restored(code, tmp_path / "out", around=work.path) == files_of(side.path)


def test_a_folder_below_the_top(work: Any) -> None:
    """From a folder inside, all of the work tree is captured, and the folder's name."""
    work.write(train_py="changed")
    code = work.capture(folder=work.path / "src").code
    assert (code.folder, code.tree) == ("src", work.tree())


def test_submodules(work: Any, tmp_path: Path) -> None:
    """The commit of a submodule is part of the tree; one that is no submodule is left out."""
    inner = type(work)(tmp_path / "inner")
    inner.path.mkdir()
    inner.git("init", "-q", "-b", "main")
    inner.commit()
    allowed = ("-c", "protocol.file.allow=always")
    work.git(*allowed, "submodule", "--quiet", "add", str(inner.path), "sub")
    work.commit()
    inner_clone = type(work)(work.path / "sub")
    moved = inner_clone.commit("moved")
    code, remark = work.capture()
    assert remark == ""
    assert moved.encode() in code.patch
    assert code.tree == work.tree()
    (work.path / "own").mkdir()
    type(work)(work.path / "own").git("init", "-q")
    type(work)(work.path / "own").commit()
    code, remark = work.capture()
    assert remark == "'own' is a work tree of its own, not kept"
    assert restored(code, tmp_path / "out", around=work.path)


def test_large_patches_are_left_out(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch, a file or a number of files over the limit is left out, and that is said."""
    (work.path / "noise").write_bytes(os.urandom(9 << 20))
    code, remark = work.capture()
    assert remark == code.omitted
    assert remark.endswith(" MiB, at most 8 are kept")
    assert (code.patch, code.tree) == (b"", work.tree())
    work.git("reset", "-q")
    with (work.path / "noise").open("wb") as file:
        file.truncate(93 << 20)
    code, remark = work.capture()
    assert remark == "the changed files have 93 MiB, at most 16 are read"
    assert (code.commit, code.tree) == (work.git("rev-parse", "HEAD"), "")
    monkeypatch.setattr(capture, "MAX_PATHS", 2)
    work.write(a_txt="a", b_txt="b")
    assert work.capture().remark == "more than 2 files are changed"


def test_what_was_left_out_cannot_be_given_back(work: Any, tmp_path: Path) -> None:
    """A tree whose patch was too large is refused with the reason and the way to its commit."""
    (work.path / "noise").write_bytes(os.urandom(9 << 20))
    code = work.capture().code
    with pytest.raises(NotFoundError, match="cannot be given back: the patch has") as caught:
        restored(code, tmp_path / "out", around=work.path)
    assert caught.value.hint == f"its commit alone: git checkout {code.commit}"


def test_the_commit_may_come_from_elsewhere(work: Any, tmp_path: Path) -> None:
    """Without a work tree around, the commit comes from the place named, else the recorded one."""
    work.git("remote", "add", "origin", f"file://{work.path}")
    work.write(train_py="changed")
    code = work.capture().code
    (tmp_path / "else").mkdir()
    expected = files_of(work.path)
    assert restored(code, tmp_path / "1", around=tmp_path / "else") == expected
    assert restored(code, tmp_path / "2", source=str(work.path)) == expected
    assert restored(code, tmp_path / "3", source=f"file://{work.path}") == expected


def test_a_commit_that_is_nowhere(work: Any, tmp_path: Path) -> None:
    """A commit that no place has is not found; the places that were tried are named."""
    code = work.capture().code
    other = type(work)(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    with pytest.raises(NotFoundError, match=f"is not to be had from '{other.path}'"):
        restored(code, tmp_path / "1", source=str(other.path))
    with pytest.raises(NotFoundError, match="no place is known that has it"):
        restored(code, tmp_path / "2")
    with pytest.raises(NotFoundError, match="neither a folder nor an address"):
        restored(code, tmp_path / "3", source="nothing-here")
    with pytest.raises(InvalidInputError, match="is no git repository"):
        restored(code, tmp_path / "4", source=str(tmp_path))


def test_another_tree_is_refused(work: Any, tmp_path: Path) -> None:
    """A patch that does not fit, or makes another tree than was recorded, gives no file."""
    work.write(train_py="changed")
    code = work.capture().code
    wrong = Code(commit=code.commit, tree="0" * 40, patch=code.patch)
    with pytest.raises(CorruptError, match="not 0000000"):
        restored(wrong, tmp_path / "1", around=work.path)
    broken = Code(commit=code.commit, tree=code.tree, patch=code.patch.replace(b"print", b"other"))
    with pytest.raises(CorruptError, match="does not fit commit"):
        restored(broken, tmp_path / "2", around=work.path)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2") == {}


HOSTILE = (
    ("core.fsmonitor", "{canary}"),
    ("core.hooksPath", "hooks"),
    ("core.sshCommand", "{canary}"),
    ("core.pager", "{canary}"),
    ("core.editor", "{canary}"),
    ("core.askPass", "{canary}"),
    ("core.alternateRefsCommand", "{canary}"),
    ("diff.external", "{canary}"),
    ("diff.evil.command", "{canary}"),
    ("diff.evil.textconv", "{canary}"),
    ("filter.evil.clean", "{canary}"),
    ("filter.evil.smudge", "{canary}"),
    ("filter.evil.required", "true"),
    ("filter.worse.process", "{canary}"),
    ("merge.evil.driver", "{canary}"),
    ("gpg.program", "{canary}"),
    ("credential.helper", "!{canary}"),
    ("uploadpack.packObjectsHook", "{canary}"),
    ("alias.status", "!{canary}"),
    ("alias.diff-tree", "!{canary}"),
)


def test_a_hostile_work_tree_runs_nothing(work: Any, tmp_path: Path) -> None:
    """Neither hooks nor anything that a configuration or an attribute names is ever run."""
    canary, seen = tmp_path / "canary", tmp_path / "seen"
    canary.write_text(f"#!/bin/sh\necho $0 $@ >> {seen}\ncat\n", encoding="utf-8")
    canary.chmod(0o755)
    work.write(plain_txt="1\n", more_dat="1\n")
    work.commit()
    work.write(_gitattributes="*.txt filter=evil diff=evil merge=evil\n*.dat filter=worse\n")
    for hooks in (work.path / ".git/hooks", work.path / "hooks"):
        hooks.mkdir(exist_ok=True)
        for name in ("post-index-change", "pre-commit", "post-checkout", "fsmonitor-watchman"):
            (hooks / name).write_bytes(canary.read_bytes())
            (hooks / name).chmod(0o755)
    for key, value in HOSTILE:
        work.git("config", key, value.format(canary=canary))
    work.write(plain_txt="2\n", more_dat="2\n")
    code, remark = work.capture()
    assert remark == ""
    assert {b"plain.txt", b"more.dat"} <= set(code.patch.replace(b"\n", b" a/").split(b" a/"))
    found = restored(code, tmp_path / "out", source=str(work.path))
    assert found["plain.txt"][1] == b"2\n"
    assert restored(code, tmp_path / "far", source=f"file://{work.path}") == found
    assert not seen.exists()
    # The canary sings where git is let: else this test could not fail.
    subprocess.run(["git", "status"], cwd=work.path, capture_output=True, check=False)
    assert seen.exists()


def test_a_filter_that_cannot_be_switched_off_is_refused(work: Any, tmp_path: Path) -> None:
    """A filter with a name that git's command line cannot express makes git do nothing at all."""
    work.git("config", "filter.a=b.clean", f"touch {tmp_path / 'seen'}")
    work.write(_gitattributes="* filter=a=b\n", train_py="changed")
    code, remark = work.capture()
    assert code is None
    assert remark == "the code is not known: the git filter 'a=b' cannot be switched off"
    assert not (tmp_path / "seen").exists()


def test_a_work_tree_that_points_elsewhere_is_refused(work: Any, tmp_path: Path) -> None:
    """A configuration cannot make git take another folder, with its secrets, for the work tree."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("key", encoding="utf-8")
    work.git("config", "core.worktree", str(tmp_path / "secret"))
    code, remark = work.capture()
    assert code is None
    assert "for the work tree of" in remark


@pytest.mark.parametrize("source", ["ext::sh -c touch% seen", "-oProxyCommand=touch seen", "fd::7"])
def test_a_hostile_address_is_not_asked(work: Any, tmp_path: Path, source: str) -> None:
    """An address that would run a program is refused, given or recorded."""
    code = work.capture().code
    with pytest.raises(NotFoundError, match="neither a folder nor an address"):
        restored(code, tmp_path / "out", source=source)
    recorded = Code(commit=code.commit, tree=code.tree, remote=source)
    with pytest.raises(NotFoundError, match="neither a folder nor an address"):
        restored(recorded, tmp_path / "out2")
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ada:secret@example.com/a.git", "https://example.com/a.git"),
        ("https://token@example.com/a.git?key=secret#x", "https://example.com/a.git"),
        ("ssh://git:secret@example.com:22/a.git", "ssh://git@example.com:22/a.git"),
        ("git@example.com:team/a.git", "git@example.com:team/a.git"),
        ("../a.git", "../a.git"),
        ("https://[::1", ""),
    ],
)
def test_addresses_are_kept_without_credentials(url: str, kept: str) -> None:
    """What could be a secret in an address is not kept; the user of ssh is."""
    assert without_credentials(url) == kept


def test_the_remote_is_that_of_the_branch(work: Any) -> None:
    """The branch's own remote is recorded, else origin, else the only one."""
    work.git("remote", "add", "only", "https://ada:pw@example.com/only.git")
    assert work.capture().code.remote == "https://example.com/only.git"
    work.git("remote", "add", "origin", "https://example.com/origin.git")
    assert work.capture().code.remote == "https://example.com/origin.git"
    work.git("config", "branch.main.remote", "only")
    assert work.capture().code.remote == "https://example.com/only.git"


def test_variables_of_git_lead_nowhere(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's own variables, as a hook sets them, do not make it look at another place."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    code, remark = work.capture()
    assert (code.branch, remark) == ("main", "")
