"""What mstore does, shown on a small series of really trained checkpoints.

``make demo`` runs it. It uses the ``mstore`` command, and the library where a program would, as
anyone could; it needs no tensor framework. ``examples/train.py`` made the checkpoints. An
argument names the folder to work in, which is emptied first.
"""

import hashlib
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import mstore

ROOT = Path(__file__).parent.parent
CHECKPOINTS = Path(__file__).parent / "checkpoints"
PLACE = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "demo").absolute()
STORE = PLACE / "store"
SLIM = PLACE / "slim"
MSTORE = Path(sys.executable).with_name("mstore")
EPOCHS = (1, 2, 4, 8)


def say(text: str) -> None:
    """Tell the story, between the commands."""
    print("\n" + textwrap.fill(text, 94))


def run(*words: str | Path, store: Path = STORE, fails: int = 0) -> None:
    """Show a command as it would be typed, and what it answers; ``fails`` is its exit code."""
    line = shlex.join(short(word) for word in words)
    print(f"\n  $ mstore {line}")
    done = mstore_command(*words, store=store)
    for answer in (done.stdout + done.stderr).splitlines():
        print(f"  {answer}")
    if done.returncode != fails:
        sys.exit(f"mstore {line} gave exit code {done.returncode}, not {fails}")


def ask(*words: str | Path, store: Path = STORE) -> dict[str, Any]:
    """What a command answers with ``--json``."""
    done = mstore_command("--json", *words, store=store)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def mstore_command(*words: str | Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Run ``mstore`` on a store, which is named by the environment."""
    environment = {**os.environ, "MSTORE_STORE": str(store)}
    command = [MSTORE, *words]
    return subprocess.run(command, capture_output=True, check=False, env=environment, text=True)


def short(word: str | Path) -> str:
    """A path as seen from the project's folder."""
    path = Path(word)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(word)


def size(amount: int) -> str:
    """Bytes as a person reads them."""
    return f"{amount / 1024:,.1f} KiB"


def disk_bytes(folder: Path) -> int:
    """What the files of a folder amount to; the cache can be deleted, so it does not count."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if "cache" not in path.parts)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, made without mstore."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put_words(folder: Path, name: str) -> list[str | Path]:
    """The command that stores a checkpoint with the metrics its training wrote."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metric = f"val/accuracy={metrics['val/accuracy']:.3f}"
    return ["put", folder, "--name", name, "--metric", metric]


def store_series() -> None:
    """Store four epochs as four versions of one model."""
    say(
        "1. A training run saved a checkpoint at epochs 1, 2, 4 and 8: weights, config and"
        " metrics. Each becomes the next version of one model; nobody chooses file names."
    )
    run("init", STORE)
    for epoch in EPOCHS:
        words = put_words(CHECKPOINTS / "digits" / f"epoch-{epoch}", "digits")
        run(*words, "-m", f"epoch {epoch}")
    run("log", "digits")
    say("Storing the last one again makes no version:")
    run("put", CHECKPOINTS / "digits" / "epoch-8", "--name", "digits")


def store_relatives() -> None:
    """Store what shares weights with the series, and count what was new."""
    say(
        "2. Others came of the last epoch: a fine-tune whose backbone was frozen, the same"
        " numbers under other tensor names, and the same numbers in two shards. Equal weights"
        " are one object, whatever their name or file, so only what is new takes space:"
    )
    parent = ["--parent", "digits@4"]
    answers = [
        ask("put", CHECKPOINTS / "parity", "--name", "parity", *parent, "--relation", "fine-tuned"),
        ask("put", CHECKPOINTS / "renamed", "--name", "digits-renamed", *parent),
        ask("put", CHECKPOINTS / "sharded", "--name", "digits-sharded", *parent),
    ]
    print(f"\n  {'version':<20}{'size':>12}{'new':>12}{'shared':>12}")
    for answer in answers:
        whole, new = answer["size_bytes"], answer["new_bytes"]
        version = f"{answer['name']}@{answer['number']}"
        print(f"  {version:<20}{size(whole):>12}{size(new):>12}{size(whole - new):>12}")
    run("list")
    given, kept = disk_bytes(CHECKPOINTS), disk_bytes(STORE)
    say(f"The files given are {size(given)}; the store, with everything it knows, {size(kept)}.")


def load_by_hash() -> None:
    """Load a model by its hash and prove the files identical."""
    version = ask("show", "parity")["id"]
    say(
        "3. A hash is enough to load a model. In Python, without unpacking anything, and"
        " verified while it is read:"
    )
    weights = mstore.open(STORE).load(f"blake3:{version}")
    print(f"\n  >>> weights = mstore.open({short(STORE)!r}).load('blake3:{version[:12]}…')")
    for name, array in list(weights.items())[:4]:
        print(f"  {name:<14} {array.dtype}  {list(array.shape)}")
    say("And as files, each compared by SHA-256 with the one that training wrote:")
    run("get", "parity", PLACE / "parity")
    for name in ("model.safetensors", "config.json", "metrics.json"):
        before, after = file_hash(CHECKPOINTS / "parity" / name), file_hash(PLACE / "parity" / name)
        print(f"  {before[:16]}…  {after[:16]}…  {name}")
        if before != after:
            sys.exit(f"{name} came back different")
    print("  identical")


def resave(source: Path, target: Path, *, nudge: bool = False) -> None:
    """Write a safetensors file again, as another program might: other metadata, other spacing.

    ``nudge`` also flips the lowest bit of the file's last number.
    """
    content = source.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"saved_by": "somebody else"}
    text = json.dumps(header, indent=1).encode()
    numbers = bytearray(content[8 + length :])
    if nudge:
        numbers[-4] ^= 1
    target.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


def identify_strays() -> None:
    """Recognise files that nobody remembers."""
    say(
        "4. Somebody sends a file by mail: re-saved, with other metadata, so that no checksum of"
        " the file helps. Its weights say what it is:"
    )
    resave(CHECKPOINTS / "digits/epoch-4/model.safetensors", PLACE / "stray.safetensors")
    run("identify", PLACE / "stray.safetensors")
    say("In another one, a single bit of a single weight differs:")
    resave(
        CHECKPOINTS / "digits/epoch-4/model.safetensors", PLACE / "nudged.safetensors", nudge=True
    )
    run("identify", PLACE / "nudged.safetensors", fails=3)


def strip_for_deployment() -> None:
    """Make the slim store that a device would get."""
    say(
        "5. A device needs one model only. A stripped store has that model's weights and the"
        " description of every other version:"
    )
    run("strip", "--keep", "parity", "--to", SLIM)
    print(f"\n  whole store {size(disk_bytes(STORE)):>12}")
    print(f"  slim store  {size(disk_bytes(SLIM)):>12}")
    say("It still knows every version, still recognises files, and says what it lacks:")
    run("identify", PLACE / "stray.safetensors", store=SLIM)
    run("get", "digits@3", PLACE / "digits-3", store=SLIM, fails=3)
    run("get", "parity", PLACE / "parity-on-the-device", store=SLIM)


def check_everything() -> None:
    """Read every stored byte."""
    say("6. Every byte of both stores, read and held against its hash:")
    run("fsck", "--full")
    run("fsck", "--full", store=SLIM)


def what_next() -> None:
    """Say what to try by hand."""
    say("What to try next (the store stays there until the next run):")
    command = short(MSTORE)
    print(
        textwrap.indent(
            textwrap.dedent(f"""
                export MSTORE_STORE={short(STORE)}
                {command} show parity
                {command} tensors digits
                {command} cat digits:config.json
                {command} du digits parity
                {command} delete digits@1 --dry-run
                {command} --help
            """),
            "  ",
        )
    )


def main() -> None:
    """Run the demo from an empty folder."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    print("mstore: git for neural networks")
    store_series()
    store_relatives()
    load_by_hash()
    identify_strays()
    strip_for_deployment()
    check_everything()
    what_next()


if __name__ == "__main__":
    main()
