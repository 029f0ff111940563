"""What was said of a version, and how it was made, read by a program written from SPEC.md."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from mstore.adapters import tensors
from mstore.objects import Code, Environment, Log, Series
from mstore.ops.put import Description, put
from mstore.ops.sources import scan_arrays
from mstore.store import Store

PROGRAM = Path(__file__).with_name("remarks.py")


def test_notes_and_logs_are_read_from_the_specification(store: Store) -> None:
    """The program prints the notes that stand, and the series of a log, as they were stored."""
    log = Log("jsonl", (Series("loss", struct.pack("<2q", 1, 2), struct.pack("<2d", 0.5, 0.25)),))
    description = Description(
        code=Code("0" * 40), environment=Environment(python="3.11"), logs=(log,)
    )
    tree = scan_arrays(tensors({"w": np.ones(3, np.float32)}), "model")
    put(store.parts, tree, "lenet", description)
    wrong = store.note("lenet", "wrong", author="Ada").id
    store.note("lenet", "right", metrics={"acc": 0.5})
    store.retract("lenet", str(wrong))
    command = [sys.executable, str(PROGRAM), store.path, "lenet@1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert [note[2:] for note in found["notes"]] == [["right", {"acc": 0.5}]]
    assert found["series"] == [{"loss": [[1, 0.5], [2, 0.25]]}]
