"""Running git on a work tree that nobody vouches for: nothing of its own is executed.

1. No hook, file system monitor, external diff, text conversion, pager or editor is run.
2. Filters, which are programs that a configuration names, are switched off one by one; a filter
   whose name cannot be written on git's command line makes ``quiet_git`` refuse.
3. Git takes no optional lock, asks for no password, and reads no further than its time and its
   number of bytes allow.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from mstore.discovery import git_environment

SECONDS = 10
"""How long all git commands of one capture may take together."""
MAX_OUTPUT = 16 << 20
"""Bytes of an answer that are kept unless a caller says otherwise."""

_STEP = 1 << 16
_PIPE = 4096
"""Bytes that a pipe which takes any takes at once (POSIX: PIPE_BUF is 4096 on Linux)."""
_MAX_COMPLAINT = 4096
_MAX_FILTERS = 64

_SETTINGS = (
    "core.compression=1",
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.looseCompression=0",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "core.safecrlf=false",
    f"diff.orderFile={os.devnull}",
    "gc.auto=0",
    "init.templateDir=",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
)
_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_ASKPASS": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS": "",
}
_CONVERSIONS = frozenset(
    {"core.autocrlf", "core.eol", "core.filemode", "core.ignorecase", "core.symlinks"}
)
"""Settings that say how a file of a work tree becomes bytes of a commit."""


class GitError(Exception):
    """Git failed, took too long or is not there; the message says why. Never leaves ``capture``."""


class Answer(NamedTuple):
    """What a git command wrote; ``size`` is all of it in bytes, ``content`` what was kept."""

    content: bytes
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept."""
        return self.size == len(self.content)

    @property
    def text(self) -> str:
        """The answer as one line of text."""
        return os.fsdecode(self.content).rstrip("\n")


class Git(NamedTuple):
    """Git in one folder: its settings, its variables, and when it has to be done."""

    folder: Path
    settings: tuple[str, ...]
    environment: Mapping[str, str]
    deadline: float

    def run(self, *words: str, given: bytes = b"", limit: int = MAX_OUTPUT) -> Answer:
        """What ``git WORDS`` wrote, at most ``limit`` bytes of it kept; GitError when it failed."""
        options = (word for setting in self.settings for word in ("-c", setting))
        line = ["git", "--no-pager", *options, *words]
        try:
            child = subprocess.Popen(  # noqa: S603 - no shell, and git's own words only
                line,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise GitError("git is not installed") from error
        except OSError as error:
            raise GitError(
                f"git cannot be run: {(error.strerror or str(error)).lower()}"
            ) from error
        with child:
            try:
                answer, complaint = _exchange(child, words[0], given, limit, self.deadline)
            except BaseException:
                _stop(child)
                raise
        if child.returncode:
            raise GitError(f"git {words[0]} failed: {_reason(complaint, child.returncode)}")
        return answer

    def at(self, folder: Path, **variables: str) -> Self:
        """The same in another folder, with more variables."""
        return self._replace(folder=folder, environment={**self.environment, **variables})


def quiet_git(folder: Path, *, seconds: float = SECONDS) -> tuple[Git, dict[str, str]]:
    """Git in ``folder`` with everything switched off that could run, and its configuration.

    GitError where git is missing, or a filter cannot be switched off.
    """
    variables = {**git_environment(), **_VARIABLES}
    git = Git(folder, _SETTINGS, variables, time.monotonic() + seconds)
    found = parse_config(git.run("config", "-z", "--list").content)
    return git._replace(settings=(*_SETTINGS, *_filters_off(found), *_conversions(found))), found


def parse_config(content: bytes) -> dict[str, str]:
    """What ``git config -z --list`` wrote; of several values the last counts, as for git."""
    pairs = (item.partition(b"\n") for item in content.split(b"\0") if item)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def _filters_off(config: Mapping[str, str]) -> list[str]:
    names = sorted({key[len("filter.") : key.rindex(".")] for key in config if _is_filter(key)})
    if len(names) > _MAX_FILTERS:
        raise GitError(f"git has {len(names)} filters, at most {_MAX_FILTERS} are switched off")
    for name in names:
        if "=" in name or "\n" in name:
            raise GitError(f"the git filter {name!r} cannot be switched off")
    parts = ("clean=", "smudge=", "process=", "required=false")
    return [f"filter.{name}.{part}" for name in names for part in parts]


def _is_filter(key: str) -> bool:
    return key.startswith("filter.") and key.count(".") > 1


def _conversions(config: Mapping[str, str]) -> list[str]:
    return [f"{key}={config[key]}" for key in sorted(_CONVERSIONS & config.keys())]


def _exchange(
    child: subprocess.Popen[bytes], verb: str, given: bytes, limit: int, deadline: float
) -> tuple[Answer, bytes]:
    """Write ``given`` and read what is answered, and complained of, until the program ends."""
    kept, complaint = bytearray(), bytearray()
    size, rest = 0, memoryview(given)
    with selectors.DefaultSelector() as waiting:
        for stream in (child.stdout, child.stderr):
            assert stream is not None
            waiting.register(stream, selectors.EVENT_READ)
        if child.stdin is not None:
            waiting.register(child.stdin, selectors.EVENT_WRITE)
        while waiting.get_map():
            ready = waiting.select(max(0, deadline - time.monotonic()))
            if not ready:
                raise GitError(f"git {verb} took too long")
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    rest = _feed(child, rest)
                    is_done = not rest
                else:
                    piece = os.read(key.fd, _STEP)
                    is_done = not piece
                    if key.fileobj is child.stdout:
                        size += len(piece)
                        kept += piece[: max(0, limit - len(kept))]
                    else:
                        complaint += piece[: max(0, _MAX_COMPLAINT - len(complaint))]
                if is_done:
                    waiting.unregister(key.fileobj)
    return Answer(bytes(kept), size), bytes(complaint)


def _feed(child: subprocess.Popen[bytes], rest: memoryview) -> memoryview:
    """Write a little; what is left, nothing once the program reads no more."""
    assert child.stdin is not None
    try:
        rest = rest[child.stdin.write(rest[:_PIPE]) or 0 :]
    except BrokenPipeError:
        rest = memoryview(b"")
    if not rest:
        with suppress(BrokenPipeError):
            child.stdin.close()
    return rest


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End git and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _reason(complaint: bytes, code: int) -> str:
    """The first line of what git complained of."""
    lines = [line for line in os.fsdecode(complaint).splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal: ", "error: "))]
    chosen = (fatal or lines or [f"exit code {code}"])[0]
    return chosen.removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
