"""What a person sees on a terminal: real runs in a pseudo-terminal."""

import os
import pty
import re
import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest

from mstore_cli.progress import progress

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(*words: str, typed: bytes = b"", **settings: str) -> tuple[str, int]:
    """Run ``mstore`` in a terminal; everything that it wrote there, and its exit code."""
    terminal, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **settings}
    line = [sys.executable, "-m", "mstore_cli", *words]
    run = subprocess.Popen(line, stdin=inner, stdout=inner, stderr=inner, env=environment)
    os.close(inner)
    os.write(terminal, typed)
    written = b"".join(iter(partial(read_terminal, terminal), b""))
    os.close(terminal)
    return written.decode().replace("\r\n", "\n"), run.wait()


def read_terminal(terminal: int) -> bytes:
    """The next bytes; none when the program has left, which Linux reports as EIO."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_table_has_colour(stocked: Any) -> None:
    """On a terminal the headers of a table stand out; NO_COLOR and a pipe leave plain text."""
    coloured, _ = on_terminal("list", COLUMNS="200")
    plain, _ = on_terminal("list", COLUMNS="200", NO_COLOR="1", TERM="dumb")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    last = COLOUR.sub("", coloured).splitlines()[-1]
    assert last.split() == stocked.lines("list")[-1].split()


def test_a_terminal_is_not_shown_empty_columns(stocked: Any) -> None:
    """A column without a value is shown to programs alone, and is not said to be too wide."""
    text, _ = on_terminal("list", COLUMNS="200", NO_COLOR="1")
    headers, row = (line.split() for line in text.splitlines())
    piped_headers, piped_row = stocked.lines("list")
    assert set(piped_headers.split()) - set(headers) >= {"STATE"}
    assert row == piped_row.split()


def test_a_table_fits_the_terminal(stocked: Any) -> None:
    """A table is no wider than COLUMNS."""
    stocked("put", "lenet.safetensors", "--always", "-m", "a long message " * 20)
    text, _ = on_terminal("list", COLUMNS="60")
    assert max(map(len, COLOUR.sub("", text).splitlines())) <= 60


def test_cat_refuses_a_terminal(stocked: Any) -> None:
    """Raw bytes go to a terminal only with --force."""
    del stocked
    text, code = on_terminal("cat", "lenet:lenet.safetensors")
    assert code == 2
    assert "--force" in text
    assert on_terminal("cat", "lenet:lenet.safetensors#head[0:0]", "--force") == ("", 0)


@pytest.mark.parametrize(
    ("answer", "state", "code"), [(b"n\n", "kept", 130), (b"y\n", "stripped", 0)]
)
def test_strip_asks_on_a_terminal(stocked: Any, answer: bytes, state: str, code: int) -> None:
    """A strip in place says what would go, and does it after a yes only."""
    text, given = on_terminal("strip", "--keep", "prod", typed=answer)
    assert "Strip the payload of 2 versions" in text
    assert given == code
    assert stocked.json("show", "lenet@2")["state"] == state


def test_a_bar_splits_new_from_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, long work shows how many bytes were new and how many stored already."""
    shown, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "150")
    with os.fdopen(terminal, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress("put", delay=0) as report:
            assert report is not None
            report(1 << 20, 4 << 20, 1 << 19)
            time.sleep(0.15)
            report(4 << 20, 4 << 20, 1 << 20)
    text = b"".join(iter(partial(read_terminal, shown), b"")).decode()
    os.close(shown)
    assert "1.0 MiB new, 3.0 MiB already stored" in text


def test_quick_work_shows_no_bar(stocked: Any) -> None:
    """A put of a small file writes its two lines and nothing else."""
    del stocked
    text, _ = on_terminal("put", "lenet.safetensors", "--always")
    assert len(text.splitlines()) == 2


def test_there_is_no_bar_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, a verb gets nothing to report to."""
    with progress("put") as report:
        assert report is None
    assert capsys.readouterr().err == ""
