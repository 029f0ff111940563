"""What a version knows of how it was made, as the command line takes it down and shows it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mstore as library

FIXTURES = Path(__file__).parent.parent / "unit" / "capture" / "fixtures"


def git(*words: str) -> str:
    """What git says in the working directory."""
    return subprocess.run(["git", *words], capture_output=True, check=True, text=True).stdout


@pytest.fixture
def project(mstore: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in a work tree with one commit and a changed file, beside a model and a store."""
    monkeypatch.setenv("MSTORE_CAPTURE", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    git("init", "-q", "-b", "main")
    Path("train.py").write_text("print('train')\n", encoding="utf-8")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", "https://ada:secret-9417@example.com/lenet.git")
    mstore("init")
    mstore.write_model("lenet.safetensors", 1)
    return mstore


def test_the_code_of_a_dirty_tree_comes_back(project: Any) -> None:
    """A version put from a dirty work tree says its commit and patch, and gives the tree back."""
    Path("train.py").write_text("print('tuned')\n", encoding="utf-8")
    Path("new.py").write_text("print('new')\n", encoding="utf-8")
    project("put", "lenet.safetensors")
    commit = git("rev-parse", "HEAD").strip()
    shown = project.lines("show", "lenet")
    assert f"code            {commit[:7]} (main, dirty, patch " in "\n".join(shown)
    first, *rest = project.lines("desc", "lenet@1", "--code")
    assert first.startswith(f"commit {commit} (main, dirty, patch ")
    assert "remote          https://example.com/lenet.git" in rest
    code = project.json("show", "lenet")["code"]
    assert (code["commit"], code["branch"], code["dirty"]) == (commit, "main", True)
    lines = project.lines("checkout-code", "lenet@1", "out")
    assert lines[0].startswith(f"out: commit {commit[:12]} and its patch, tree ")
    found = {path.name: path.read_text(encoding="utf-8") for path in Path("out").iterdir()}
    assert found == {"train.py": "print('tuned')\n", "new.py": "print('new')\n"}


def test_a_clean_tree_is_a_commit(project: Any) -> None:
    """A clean work tree has no patch; the model and the store do not make it dirty."""
    project("put", "lenet.safetensors")
    shown = project.json("show", "lenet")["code"]
    assert (shown["dirty"], shown["patch_bytes"], shown["omitted"]) == (False, 0, "")
    assert shown["tree"] == git("rev-parse", "HEAD:").strip()
    done = project.json("checkout-code", "lenet", "out")
    assert (done["patched"], done["tree"]) == (False, shown["tree"])


def test_what_stands_there_is_not_replaced(project: Any) -> None:
    """checkout-code replaces a folder with --force only, and leaves nothing where it fails."""
    project("put", "lenet.safetensors")
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine", encoding="utf-8")
    project("checkout-code", "lenet", "out", code=4)
    project("checkout-code", "lenet", "out", "--from", "missing", "--force", code=3)
    assert Path("out/mine.txt").read_text(encoding="utf-8") == "mine"
    project("checkout-code", "lenet", "out", "--force")
    assert [path.name for path in Path("out").iterdir()] == ["train.py"]
    assert not list(Path().glob(".mstore-*"))


def test_a_version_without_code_says_so(mstore: Any) -> None:
    """Where no code was captured, checkout-code says so and show leaves it out."""
    mstore("init")
    mstore("put", mstore.write_model("lenet.safetensors", 1))
    result = mstore("checkout-code", "lenet", "out", code=3)
    assert "'lenet@1' says nothing of its code" in result.stderr
    shown = mstore.json("show", "lenet")
    assert (shown["code"], shown["environment"], shown["logs"]) == (None, None, [])
    assert mstore.lines("show", "lenet", "--code") == ["no code was captured"]
    assert mstore.lines("show", "lenet", "--environment") == ["no environment was captured"]


def test_outside_of_git_only_the_machine_is_taken_down(
    mstore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that is no work tree there is no code, and nothing is said of that."""
    monkeypatch.setenv("MSTORE_CAPTURE", "1")
    mstore("init")
    path = mstore.write_model("lenet.safetensors", 1)
    put = mstore.json("put", path, "--seed", "numpy=3", "--seed", "torch=4")
    assert put["remarks"] == []
    shown = mstore.json("show", "lenet")
    assert shown["code"] is None
    assert shown["environment"]["seeds"] == {"numpy": 3, "torch": 4}
    assert shown["environment"]["packages"]["msgspec"]
    assert any(
        line.startswith("environment     CPython ") for line in mstore.lines("show", "lenet")
    )
    lines = mstore.lines("show", "lenet", "--environment")
    assert lines[0].startswith("python          CPython ")
    assert "seed            numpy = 3" in lines


def test_capture_can_be_switched_off(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --no-capture, or $MSTORE_CAPTURE=0, only what is said is kept."""
    project("put", "lenet.safetensors", "--no-capture", "--seed", "torch=1")
    shown = project.json("show", "lenet")
    assert shown["code"] is None
    assert (shown["environment"]["seeds"], shown["environment"]["packages"]) == ({"torch": 1}, {})
    monkeypatch.setenv("MSTORE_CAPTURE", "0")
    project("put", "lenet.safetensors", "--always")
    assert project.json("show", "lenet")["environment"] is None


def test_secrets_are_not_kept(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials of the remote nor environment variables come into the store."""
    monkeypatch.setenv("HF_TOKEN", "secret-9418")
    monkeypatch.setenv("MODEL_PASSWORD", "secret-9419")
    project("put", "lenet.safetensors")
    shown = project("show", "lenet", "--json").stdout + project("show", "lenet").stdout
    assert "secret-941" not in shown
    for path in Path(".mstore").rglob("*"):
        assert not path.is_file() or b"secret-941" not in path.read_bytes()


def test_what_is_too_large_is_said(project: Any) -> None:
    """A patch that is too large is left out; put says so, and so does checkout-code."""
    with Path("noise").open("wb") as file:
        file.truncate(93 << 20)
    lines = project.lines("put", "lenet.safetensors")
    reason = "the changed files have 93 MiB, at most 16 are read"
    assert lines[-1] == f"note: {reason}"
    assert project.json("show", "lenet")["code"]["omitted"] == reason
    result = project("checkout-code", "lenet", "out", code=3)
    assert f"cannot be given back: {reason}" in result.stderr
    assert "git checkout" in result.stderr


def test_records_are_shared_and_travel(project: Any) -> None:
    """Versions of one state share their records, and a clone and a stripped store keep them."""
    project("put", "lenet.safetensors", "--log", FIXTURES / "torch.tfevents")
    first = project.json("show", "lenet")
    project("put", project.write_model("lenet.safetensors", 2))
    second = project.json("show", "lenet")
    assert first["version"]["code"] == second["version"]["code"] is not None
    project("clone", ".mstore", "copy")
    assert project.json("show", "lenet@1", "--store", "copy")["code"] == first["code"]
    project("strip", "--keep", "lenet@2", "--to", "slim")
    assert project.json("show", "lenet@1", "--store", "slim")["logs"] == first["logs"]
    assert project("fsck", "--full").exit_code == 0


def test_checkpoints_take_the_code_down_once(project: Any) -> None:
    """Steps of a run have the code that the run was started with, and the seeds."""
    Path("lenet.safetensors").unlink()
    with library.open(".mstore") as store:
        store.checkpoint({"w": np.zeros(3)}, "run", 1, seeds={"numpy": 5})
        Path("train.py").write_text("print('later')\n", encoding="utf-8")
        store.checkpoint({"w": np.ones(3)}, "run", 2, seeds={"numpy": 5})
    first, second = (project.json("show", f"run@{number}") for number in (1, 2))
    assert first["code"] == second["code"]
    assert first["code"]["dirty"] is False
    assert second["environment"]["seeds"]["numpy"] == 5


@pytest.mark.parametrize("name", ["torch.tfevents", "caffe.log"])
def test_logs_are_kept_as_series(mstore: Any, name: str) -> None:
    """A training log becomes series that show names."""
    mstore("init")
    path = mstore.write_model("lenet.safetensors", 1)
    mstore("put", path, "--log", FIXTURES / name)
    (log,) = mstore.json("show", "lenet")["logs"]
    series = {row["name"]: row for row in log["series"]}
    assert (series["lr"]["numbers"], series["lr"]["last_step"]) in {(20, 19), (3, 200)}
    assert any(line.startswith("log  ") and " lr" in line for line in mstore.lines("show", "lenet"))
    assert mstore.json("put", path, "--log", FIXTURES / name)["unchanged"] is True


def test_a_cut_log_is_said(mstore: Any) -> None:
    """Of a log that was cut, put keeps what is whole and says where it was cut."""
    mstore("init")
    Path("log.csv").write_text("step,loss\n1,2.5\n2,1.", encoding="utf-8")
    path = mstore.write_model("lenet.safetensors", 1)
    put = mstore.json("put", path, "--log", "log.csv")
    assert put["remarks"] == ["log 'log.csv': it is cut off in line 3"]
    assert mstore.json("show", "lenet")["logs"][0]["series"][0]["numbers"] == 1


def test_what_is_no_log_stores_nothing(mstore: Any) -> None:
    """A file that is no training log is refused, and nothing is stored."""
    mstore("init")
    path = mstore.write_model("lenet.safetensors", 1)
    result = mstore("put", path, "--log", path, code=2)
    assert "is not a training log that is known" in result.stderr
    mstore("put", path, "--log", "missing.csv", code=3)
    mstore("put", path, "--seed", "torch=1.5", code=2)
    assert mstore.json("list")["models"] == []


META = {
    "meta.json": json.dumps(
        {
            "task": "digits",
            "tags": ["best"],
            "datasets": {"train": "data", "imagenet": None},
            "params": {"lr": 0.1},
            "metrics": {"val/accuracy": "90%", "loss": "nan"},
            "message": "from a file",
            "author": "Ada",
            "seeds": {"torch": 7},
            "framework": {"name": "torch"},
        }
    ),
    "meta.yaml": """
task: digits
tags: [best]
datasets: {train: data, imagenet: null}
params: {lr: 0.1}
metrics: {val/accuracy: 90%, loss: .nan}
message: from a file
author: Ada
seeds: {torch: 7}
framework: {name: torch}
""",
    "meta.toml": """
task = "digits"
tags = ["best"]
message = "from a file"
author = "Ada"
framework = {name = "torch"}
params.lr = 0.1
metrics = {"val/accuracy" = "90%", loss = nan}
seeds.torch = 7
datasets = {train = "data", imagenet = "data"}
""",
}


@pytest.mark.parametrize("name", META)
def test_a_file_describes_a_version(mstore: Any, name: str) -> None:
    """Known keys of a JSON, YAML or TOML file are the version's own fields, others metadata."""
    mstore("init")
    Path("data").mkdir()
    Path("data/a.csv").write_text("1\n", encoding="utf-8")
    Path(name).write_text(META[name], encoding="utf-8")
    path = mstore.write_model("lenet.safetensors", 1)
    mstore("put", path, "--meta", name, "--param", "lr=0.2", "--dataset", "mnist")
    shown = mstore.json("show", "best")
    said = shown["version"]
    assert (said["task"], said["message"], said["author"]) == ("digits", "from a file", "Ada")
    assert said["parameters"] == {"lr": 0.2}
    assert said["metrics"] == {"val/accuracy": 0.9, "loss": "NaN"}
    assert said["metadata"] == {"framework": {"name": "torch"}}
    assert said["datasets"] == ["train", "imagenet", "mnist"]
    assert "train" in said["dataset_ids"]
    assert shown["environment"]["seeds"] == {"torch": 7}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("bad.yaml", "accuracy: high\n", "metadata 'accuracy' is 'high'"),
        ("bad.yaml", "metrics: {accuracy: high}\n", "metric 'accuracy' is 'high'"),
        ("bad.yaml", "metrics: 3\n", "field 'metrics' in 'bad.yaml' is 3, not a table"),
        ("bad.yaml", "task: [a]\n", "field 'task' in 'bad.yaml' is ['a'], not a text"),
        ("bad.yaml", "tags: {a: b}\n", "field 'tags' in 'bad.yaml' is {'a': 'b'}, not a list"),
        ("bad.yaml", "datasets: {a: 3}\n", "field 'datasets.a' in 'bad.yaml' is 3, not a text"),
        ("bad.yaml", "a: &x [1]\nb: *x\n", "the alias '*x' is refused"),
        ("bad.yaml", "a: !!python/object/apply:os.system [ls]\n", "is not YAML"),
        ("bad.yaml", "a: [\n", "is not YAML"),
        ("bad.yaml", "? [a]\n: b\n", "is not YAML"),
        ("bad.yaml", "- a\n", "holds no table of names and values"),
        ("bad.yaml", "[" * 5000, "is not YAML"),
        ("bad.yaml", "a: " + "x" * (300 << 10), "it has more than 262144 bytes"),
        ("bad.toml", "a = \n", "is not TOML"),
        ("bad.json", "{", "is not JSON"),
        ("bad.json", "[" * 100_000, "is not JSON"),
        ("bad.json", " " * (2 << 20), "has more than 1048576 bytes"),
        ("bad.json", '{"lr": {"a": 1}, "epochs": "many"}', "metadata 'epochs' is 'many'"),
    ],
)
def test_a_wrong_file_stores_nothing(mstore: Any, name: str, text: str, reason: str) -> None:
    """A file that is broken, or whose values are not of their type, is refused by the field."""
    mstore("init")
    Path(name).write_text(text, encoding="utf-8")
    path = mstore.write_model("lenet.safetensors", 1)
    assert reason in mstore("put", path, "--meta", name, code=2).stderr
    assert mstore.json("list")["models"] == []


def test_metrics_have_units(mstore: Any) -> None:
    """Values with units are kept in base units; one of another kind is refused by its field."""
    mstore("init")
    path = mstore.write_model("lenet.safetensors", 1)
    words = ["--metric", "memory=100MB", "--metric", "latency=20 ms", "--metric", "acc=90%"]
    mstore("put", path, *words)
    assert mstore.json("show", "lenet")["version"]["metrics"] == {
        "memory": 1e8,
        "latency": 0.02,
        "acc": 0.9,
    }
    for wrong in ("memory=20 ms", "accuracy=91.3", "latency=-1", "acc=high"):
        mstore("put", path, "--metric", wrong, "--always", code=2)
    assert (
        "memory: 'kg' is not a unit" in mstore("put", path, "--metric", "memory=5kg", code=2).stderr
    )
    mstore("note", "lenet", "--metric", "memory=20 ms", code=2)
    mstore("note", "lenet", "--metric", "memory=1GB")
    assert len(mstore.json("log", "lenet")["versions"]) == 1


def test_a_team_has_a_schema(mstore: Any) -> None:
    """A schema that is set holds for every put, travels as a model, and is not listed."""
    mstore("init")
    path = mstore.write_model("lenet.safetensors", 1)
    text = '[fields.stage]\ntype = "choice"\nchoices = ["draft"]\nrequired = true\n'
    Path("fields.toml").write_text(text, encoding="utf-8")
    assert mstore.lines("schema", "set", "fields.toml")[1].split()[:4] == [
        "stage",
        "one",
        "of",
        "draft",
    ]
    shown = mstore.json("schema", "show")["fields"]
    assert (shown[0]["name"], shown[0]["built_in"], shown[1]["built_in"]) == ("stage", False, True)
    assert "field 'stage' is missing" in mstore("put", path, code=2).stderr
    mstore("put", path, "--param", "stage=draft")
    assert [row["name"] for row in mstore.json("list")["models"]] == ["lenet"]
    Path("fields.toml").write_text("[fields.stage]\ntype = 'colour'\n", encoding="utf-8")
    mstore("schema", "set", "fields.toml", code=2)
    assert mstore.json("schema", "show")["fields"][0] == shown[0]
    mstore("clone", ".mstore", "copy")
    mstore("strip", "--keep", "lenet@1", "--to", "slim")
    for place in ("copy", "slim"):
        assert mstore.json("schema", "show", "--store", place)["fields"] == shown
