"""``mstore adopt``: a folder that nobody managed becomes models, and the doubts are listed."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

FIRST = 1_700_000_000


def write(path: str, content: str | bytes | int, *, age: int = 0) -> Path:
    """Write text, bytes, or the weights that a number gives; ``age`` is the time in minutes."""
    place = Path("old") / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, int):
        weights = np.random.default_rng(content).standard_normal((16, 8)).astype(np.float32)
        save_file({"body": weights}, place)
    else:
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(place, (FIRST + 60 * age, FIRST + 60 * age))
    return place


def write_folder() -> Path:
    """Write 30 files as years of work leave them."""
    for step in (500, 1000, 1500):
        folder = f"runs/bert-base/checkpoint-{step}"
        write(f"{folder}/model.safetensors", step)
        write(f"{folder}/config.json", '{"hidden": 8}')
    states = [{"step": step, "loss": 3.0 - step / 1000} for step in (500, 1000, 1500)]
    write(
        "runs/bert-base/trainer_state.json",
        json.dumps({"global_step": 1500, "log_history": states}),
    )
    for epoch in (1, 2, 10):
        write(f"lenet/lenet_epoch_{epoch}.safetensors", epoch, age=100 - epoch)
    write("lenet/train.csv", "step,loss\n1,0.9\n2,0.5\n10,0.1\n")
    write("lenet/hparams.yaml", "lr: 0.1\nbatch: 64\n")
    write("alex/model_v1.safetensors", 21)
    write("alex/model_v2.safetensors", 22)
    write("alex/model_final.safetensors", 23, age=9)
    for number in (1, 2):
        write(f"cats/cats-{number:03}.safetensors", 30 + number)
        write(f"cats/dogs-{number:03}.safetensors", 40 + number)
    write("cats/log.csv", "step,loss\n1,0.9\n2,0.5\n")
    write("big/model-00001-of-00002.safetensors", 51)
    write("big/model-00002-of-00002.safetensors", 52)
    rows = "file;lr;val/accuracy;notes\nlenet_epoch_10.safetensors;0.05;98.5%;the best\n"
    write("results.csv", f"{rows}alex/model_v2.safetensors;0.01;0.875;\nlost.pt;0.1;0.5;\n")
    write("train.py", "print('train')\n")
    write("eval.sh", "python eval.py\n")
    write("README.md", "old work\n")
    write("notes.txt", "ask somebody\n")
    write("big/metrics.json", '{"accuracy": 0.5, "name": "big"}')
    write("plots/accuracy.png", b"\x89PNG")
    write("lenet/solver.prototxt", "base_lr: 0.1\n")
    return Path("old")


@pytest.fixture
def old(mstore: Any) -> Any:
    """A store beside such a folder."""
    mstore("init")
    files = [path for path in write_folder().rglob("*") if path.is_file()]
    assert len(files) == 30
    return mstore


def listing(folder: str) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_folder_becomes_models(old: Any) -> None:
    """Thirty files are six models with their versions in order, and three things are unsure."""
    before = listing("old")
    lines = old.lines("adopt", "old")
    assert lines[0] == "adopted 6 models, 3 unsure"
    assert listing("old") == before
    models = {row["name"]: row["number"] for row in old.json("list")["models"]}
    assert models == {
        "bert-base": 3,
        "lenet": 3,
        "alex": 3,
        "cats": 2,
        "cats/dogs": 2,
        "big": 1,
    }
    text = "\n".join(lines)
    assert "alex/model_final.safetensors: no step is in its name ('final')" in text
    assert "cats/log.csv: left out: which run it is of is not clear" in text
    assert "results.csv: row 4: 'lost.pt' is no checkpoint here" in text
    assert (
        "no models: README.md, eval.sh, train.py, lenet/solver.prototxt, plots/accuracy.png" in text
    )


def test_what_was_known_is_kept(old: Any) -> None:
    """Sheets, logs and settings give metrics, parameters and messages; steps are steps."""
    old("adopt", "old")
    lenet = old.json("show", "lenet@3")
    assert lenet["version"]["metrics"] == {"val/accuracy": 0.985}
    assert lenet["version"]["parameters"] == {"lr": 0.05, "batch": 64}
    assert lenet["version"]["message"] == "the best"
    assert lenet["version"]["metadata"]["epoch"] == 10
    assert [parent["relation"] for parent in lenet["version"]["parents"]] == ["trained"]
    assert len(lenet["version"]["logs"]) == 1
    bert = old.json("show", "bert-base@2")
    assert bert["version"]["metrics"] == {"loss": 2.0}
    assert bert["version"]["metadata"]["step"] == 1000
    assert old.json("show", "alex@3")["version"]["metadata"]["word"] == "final"
    assert old.json("show", "big")["version"]["metrics"] == {"accuracy": 0.5}
    assert old.json("show", "alex@2")["version"]["metrics"] == {"val/accuracy": 0.875}
    old("get", "bert-base@1", "back")
    folder = "old/runs/bert-base/checkpoint-500"
    assert [p.read_bytes() for p in sorted(Path("back").iterdir())] == [
        p.read_bytes() for p in sorted(Path(folder).iterdir())
    ]


def test_adopting_again_makes_nothing(old: Any) -> None:
    """What was taken is there; a checkpoint that came since is one version more."""
    first = old.json("adopt", "old")
    names = old.json("list")
    again = old.json("adopt", "old")
    assert old.json("list") == names
    assert {row["state"] for row in first["versions"]} == {"new"}
    assert {row["state"] for row in again["versions"]} == {"there"}
    assert again["stored_bytes"] == 0
    assert old.lines("adopt", "old")[1] == "14 of 14 versions there already"
    write("lenet/lenet_epoch_11.safetensors", 11)
    rows = old.json("adopt", "old")["versions"]
    assert [row["path"] for row in rows if row["state"] == "new"] == [
        "lenet/lenet_epoch_11.safetensors"
    ]
    assert old.json("show", "lenet")["names"] == ["lenet@4"]


def test_a_dry_run_only_says(old: Any) -> None:
    """The plan is that of the adoption, and nothing is stored."""
    assert old.lines("adopt", "old", "--dry-run")[0] == "would adopt 6 models, 3 unsure"
    planned = old.json("adopt", "old", "--dry-run", "--name", "team")
    assert old.json("list")["models"] == []
    done = old.json("adopt", "old", "--name", "team")
    assert [row["model"] for row in planned["versions"]] == [r["model"] for r in done["versions"]]
    assert all(row["model"].startswith("team/") for row in done["versions"])


def test_a_model_of_somebody_else_is_left_alone(old: Any) -> None:
    """A name that came otherwise gets no versions; the doubt says what to do."""
    old("put", "old/big/model-00001-of-00002.safetensors", "--name", "lenet")
    lines = old.lines("adopt", "old")
    assert lines[0] == "adopted 5 models, 6 unsure"
    assert sum("there is another model 'lenet'; adopt with --name" in line for line in lines) == 3
    assert old.json("show", "lenet")["names"] == ["lenet@1"]


def test_what_cannot_be_taken_is_said(mstore: Any) -> None:
    """Broken, empty, linked and foreign files are named with the reason, the rest is adopted."""
    mstore("init")
    write("good_step_1.safetensors", 1)
    write("good_step_2.safetensors", b"\xff" * 100)
    write("empty.pt", b"")
    write("optimizer.pt", b"x")
    write("results.xlsx", b"PK")
    Path("old/good_step_3.safetensors").symlink_to("good_step_1.safetensors")
    os.mkfifo("old/pipe.csv")
    report = mstore.json("adopt", "old")
    reasons = {row["path"]: row["reason"] for row in report["unsure"]}
    assert report["models"] == 1
    assert "it is empty" in reasons["empty.pt"]
    assert "for training only" in reasons["optimizer.pt"]
    assert "CSV" in reasons["results.xlsx"]
    assert "no regular file" in reasons["pipe.csv"]
    assert "symbolic link" in reasons["good_step_3.safetensors"]
    assert [row["state"] for row in report["versions"]] == ["new", "failed"]
    assert "good_step_2.safetensors" in reasons


def test_a_value_that_the_schema_refuses_is_kept_aside(mstore: Any) -> None:
    """A percentage without its sign is no share: it stays in the metadata, and this is said."""
    mstore("init")
    write("vgg_step_1.safetensors", 1)
    write("sheet.csv", "file,accuracy\nvgg_step_1,98.5\n")
    (doubt,) = mstore.json("adopt", "old")["unsure"]
    assert "'disputed'" in doubt["reason"]
    version = mstore.json("show", "vgg@1")["version"]
    assert version["metrics"] == {}
    assert version["metadata"]["disputed"] == {"metrics": {"accuracy": 98.5}}


def test_hostile_names_are_inert(mstore: Any) -> None:
    """Names that no model may have become plain ones; a file that cannot be stored is named."""
    mstore("init")
    write("\x1b[31mred_step_1.safetensors", 1)
    write("con/model.safetensors", 2)
    write("deadbeefdeadbeef/a b_step_1.safetensors", 3)
    text = mstore("adopt", "old").stdout
    assert "\x1b" not in text
    assert "red_step_1.safetensors: left out: file name" in text
    names = [row["name"] for row in mstore.json("list")["models"]]
    assert names == ["m-con", "m-deadbeefdeadbeef/a-b"]


def test_a_folder_that_is_not_there(mstore: Any) -> None:
    """A wrong path is not found; an empty folder gives nothing."""
    mstore("init")
    mstore("adopt", "nowhere", code=3)
    Path("empty").mkdir()
    assert mstore.lines("adopt", "empty") == ["adopted 0 models, 0 unsure"]
