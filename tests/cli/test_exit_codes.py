"""Exit codes and what is said on the way out."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import mstore.errors
from mstore_cli import failures


def error_classes() -> list[type[mstore.errors.MstoreError]]:
    """The classes of mstore's error tree."""
    root = mstore.errors.MstoreError
    return [root, *root.__subclasses__()]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_class_has_its_code(error: type[mstore.errors.MstoreError]) -> None:
    """Each class has a code, which its docstring says too, and a hint where it has none itself."""
    code = failures.EXIT_CODES[error.__name__]
    assert failures.exit_code(error("failed")) == code
    assert failures.HINTS[error.__name__] == failures.describe(error("failed"))[2]
    told = (error.__doc__ or "").partition("exit code ")[2]
    assert not told or told.startswith(f"{code})")


def test_wrong_words_give_2(mstore: Any) -> None:
    """A wrong command line, and a revision that cannot be one, give 2 and a hint."""
    mstore("init")
    for words in (["pul"], ["get", "--forse", "x"], ["show", "no revision"], ["show"]):
        result = mstore(*words, code=2)
        assert result.stderr.startswith("mstore: ")
        assert "\nhint: " in result.stderr
        assert result.stdout == ""


def test_a_misspelt_command_names_the_nearest(mstore: Any) -> None:
    """The hint for a misspelt command is the command that was meant."""
    assert "hint: did you mean 'identify'?" in mstore("identfy", code=2).stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--param", "lr"),
        ("--param", "=1"),
        ("--metric", "acc=high"),
        ("--meta", "lenet.safetensors"),
    ],
)
def test_a_bad_option_of_put_names_the_option(stocked: Any, option: str, value: str) -> None:
    """A pair or a file that cannot be read gives 2, names its option, and stores nothing."""
    result = stocked("put", "lenet.safetensors", "--always", option, value, code=2)
    assert f"'{option}'" in result.stderr
    assert stocked.lines("list")[1].startswith("lenet@3 ")


def test_a_key_given_twice_gives_2(stocked: Any) -> None:
    """One parameter has one value."""
    words = ("--param", "lr=1", "--param", "lr=2")
    assert "'lr' is given twice" in stocked("put", "lenet.safetensors", *words, code=2).stderr


def test_what_is_not_there_gives_3(stocked: Any) -> None:
    """An unknown revision, file or store gives 3."""
    stocked("show", "nothing", code=3)
    stocked("show", "lenet@9", code=3)
    stocked("cat", "lenet:nothing", code=3)
    assert "look at the path" in stocked("put", "nothing.safetensors", code=3).stderr
    stocked("list", "--store", "nowhere", code=3)


def test_a_name_among_the_paths_is_told_where_it_goes(stocked: Any) -> None:
    """``put PATH NAME`` gives 3, says that the name is an option, and stores nothing."""
    result = stocked("put", "lenet.safetensors", "other", code=3)
    assert "no file or folder 'other'" in result.stderr
    assert "--name other" in result.stderr
    assert stocked.lines("list")[1].startswith("lenet@3 ")


def test_what_stands_in_the_way_gives_4(stocked: Any) -> None:
    """A file that would be overwritten and a name that is taken give 4; --force overwrites."""
    assert "--force" in stocked("get", "prod", "lenet.safetensors", code=4).stderr
    stocked("get", "prod", "lenet.safetensors", "--force")
    stocked("tag", "lenet@1", "lenet", code=4)


def test_a_malformed_file_gives_5_and_stores_nothing(mstore: Any) -> None:
    """A safetensors file with overlapping tensors is refused, and named."""
    mstore("init")
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
    header += b'"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}'
    Path("bad.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    result = mstore("put", "bad.safetensors", code=5)
    assert "bad.safetensors" in result.stderr
    assert mstore.json("list")["models"] == []


def test_a_flipped_bit_gives_5(stocked: Any) -> None:
    """A tensor whose stored bytes changed is not given back."""
    pack = max(Path(".mstore/objects").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    stocked("get", "lenet@1", "back", code=5)
    assert not Path("back").exists()
    assert "hurts lenet@1" in stocked("fsck", "--full", code=5).stdout
    assert stocked.json("fsck", "--full", code=5)["clean"] is False


def test_a_newer_format_gives_6(stocked: Any) -> None:
    """A store of a format that this build does not know is left alone."""
    config = Path(".mstore/config")
    text = config.read_text(encoding="utf-8")
    config.chmod(0o600)
    config.write_text(text.replace('"format":1', '"format":2'), encoding="utf-8")
    stocked("list", code=6)


def test_a_full_place_gives_7(stocked: Any) -> None:
    """When stdout's disk is full, that is said, without a traceback."""
    with Path("/dev/full").open("wb") as full:
        run = stocked.start("cat", "lenet:lenet.safetensors", stdout=full)
        _, said = run.communicate()
    assert run.returncode == 7
    assert said.startswith(b"mstore: no space left on device")
    assert b"Traceback" not in said


def test_a_reader_that_leaves_is_no_error(stocked: Any) -> None:
    """When the reader of a pipe leaves, mstore ends silently."""
    model = stocked.write_model("big.safetensors", 3, rows=40_000)
    stocked("put", model)
    for words in (["cat", "big:big.safetensors"], ["--help"], ["list"]):
        reading, writing = os.pipe()
        os.close(reading)
        run = stocked.start(*words, stdout=writing)
        os.close(writing)
        _, said = run.communicate()
        assert (run.returncode, said) == (1, b"")


def open_when_read(fifo: str, run: subprocess.Popen[bytes]) -> int:
    """Open a FIFO once the program reads it."""
    while run.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    raise AssertionError(run.communicate())


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_an_interruption_gives_130(stocked: Any, flags: list[str]) -> None:
    """Control-C while mstore waits ends it with one line and no traceback."""
    # A job in the background ignores SIGINT, and its children would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.mkfifo("meta.json")
    run = stocked.start("put", "lenet.safetensors", "--meta", "meta.json", *flags)
    writing = open_when_read("meta.json", run)
    run.send_signal(signal.SIGINT)
    out, said = run.communicate(timeout=60)
    os.close(writing)
    assert run.returncode == 130
    assert b"interrupted" in (out if flags else said)
    assert b"Traceback" not in said + out
