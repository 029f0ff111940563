"""Runs of MLflow whose files stand in a store, tracked in SQLite."""

import os
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tests.frameworks.guide import run_blocks

import mstore
from mstore.importers.places import import_place
from mstore.integrations.mlflow import MstoreArtifactRepository
from mstore.store import Store

# Remarks of MLflow and of what it imports about what changes soon.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def experiment(store: Store, tmp_path: Path) -> Iterator[str]:
    """An experiment whose runs log into the store."""
    address = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    made = MlflowClient().create_experiment("digits", f"mstore://{store.path}/digits")
    yield made
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of files, one of them in a folder."""
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "notes.txt").write_text("hello")
    (folder / "deep" / "numbers.bin").write_bytes(os.urandom(100_000))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def listed(client: MlflowClient, run: str, path: str | None = None) -> dict[str, int | None]:
    """The paths that MLflow lists, with their sizes."""
    return {row.path: row.file_size for row in client.list_artifacts(run, path)}


def test_files_come_back(store: Store, experiment: str, files: Path, tmp_path: Path) -> None:
    """What a run logs is listed, and downloaded byte for byte; each call makes a version."""
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifact(str(files / "notes.txt"))
        mlflow.log_artifacts(str(files), "all")
        mlflow.log_text("later", "all/more/later.txt")
    client, name = MlflowClient(), run.info.run_id
    assert listed(client, name) == {"all": None, "notes.txt": 5}
    assert listed(client, name, "all") == {
        "all/deep": None, "all/more": None, "all/notes.txt": 5,
    }  # fmt: skip
    assert listed(client, name, "notes.txt") == {}
    given = content(files)
    whole = Path(client.download_artifacts(name, "", str(tmp_path)))
    assert content(whole / "all") == {**given, "more/later.txt": b"later"}
    one = mlflow.artifacts.download_artifacts(f"runs:/{name}/all/deep/numbers.bin")
    assert Path(one).read_bytes() == given["deep/numbers.bin"]
    by_address = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/all/deep")
    assert content(Path(by_address)) == {"numbers.bin": given["deep/numbers.bin"]}
    model = f"mlflow/digits/run-{name}"
    assert [row.number for row in store.log(model)] == [3, 2, 1]


def test_equal_files_take_no_space_twice(store: Store, experiment: str, files: Path) -> None:
    """The same files, logged by another run, add less than a tenth of their bytes."""

    def log() -> None:
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_artifacts(str(files))

    def used() -> int:
        objects = Path(store.path).rglob("*.pack")
        return sum(path.stat().st_size for path in objects)

    log()
    once = used()
    log()
    assert once > 100_000
    assert used() - once < 10_000


def test_a_logged_model_loads_from_the_registry(store: Store, experiment: str) -> None:
    """Registered versions of a logged model answer as the model does, and share its bytes."""
    mlflow.set_experiment(experiment_id=experiment)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 2))
    given = torch.ones(1, 64)
    with mlflow.start_run():
        for _ in range(2):
            logged = mlflow.pytorch.log_model(
                model, name="model", serialization_format="pickle", pip_requirements=[],
                registered_model_name="digits",
            )  # fmt: skip
    for number in (1, 2):
        loaded = mlflow.pytorch.load_model(f"models:/digits/{number}")
        assert torch.equal(loaded(given), model(given))
    assert torch.equal(mlflow.pytorch.load_model(logged.model_uri)(given), model(given))
    assert len([row for row in store.models() if row.name.startswith("mlflow/digits/models/")]) == 2


def test_files_are_deleted(store: Store, experiment: str, files: Path) -> None:
    """A deleted folder is in older versions only; without a path the model is deleted."""
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(str(files))
    place = MstoreArtifactRepository(run.info.artifact_uri)
    model = f"mlflow/digits/run-{run.info.run_id}"
    place.delete_artifacts("deep")
    assert listed(MlflowClient(), run.info.run_id) == {"notes.txt": 5}
    assert {file.path for file in store.show(f"{model}@1").files} == {
        "deep/numbers.bin", "notes.txt",
    }  # fmt: skip
    place.delete_artifacts()
    assert place.list_artifacts() == []
    assert store.models() == []


def test_several_log_at_once(store: Store, experiment: str, tmp_path: Path) -> None:
    """Files that threads log to one run at the same time are all there."""
    with mlflow.start_run(experiment_id=experiment) as run:
        place = run.info.artifact_uri

    def log(number: int) -> None:
        path = tmp_path / f"{number}.txt"
        path.write_text(str(number))
        MstoreArtifactRepository(place).log_artifact(str(path))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(log, range(8)))
    found = listed(MlflowClient(), run.info.run_id)
    assert found == {f"{number}.txt": 1 for number in range(8)}
    assert len(store.log(f"mlflow/digits/run-{run.info.run_id}")) == 8


def test_what_is_built_upon_survives_gc(store: Store, experiment: str, files: Path) -> None:
    """Files of a version that was deleted and condemned live on in what is built upon them."""
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(str(files))
        place = MstoreArtifactRepository(run.info.artifact_uri)
        place.log_artifact(str(files / "notes.txt"), "again")
    store.delete(f"mlflow/digits/run-{run.info.run_id}@1")
    store.gc(now=True)
    again = mstore.open(store.path)
    assert again.fsck().findings == []
    assert listed(MlflowClient(), run.info.run_id, "again") == {"again/notes.txt": 5}


def test_a_location_without_a_store(tmp_path: Path) -> None:
    """A location with no store at it or above it says what to do, and paths cannot escape."""
    with pytest.raises(MlflowException, match="init"):
        MstoreArtifactRepository(f"mstore://{tmp_path}/nothing")


@pytest.mark.parametrize("path", ["../up", "a/../../up", "a\\b", "nul"])
def test_paths_stay_inside(store: Store, files: Path, path: str) -> None:
    """A path that leaves its folder is refused, and nothing is stored."""
    place = MstoreArtifactRepository(f"mstore://{store.path}/digits/x/artifacts")
    with pytest.raises(mstore.InvalidInputError):
        place.log_artifact(str(files / "notes.txt"), path)
    assert store.models() == []


@pytest.fixture
def tracked(tmp_path: Path, files: Path) -> Iterator[Path]:
    """A tracking store with two runs, one of them with a registered model."""
    place = tmp_path / "tracked.db"
    mlflow.set_tracking_uri(f"sqlite:///{place}")
    mlflow.set_registry_uri(f"sqlite:///{place}")
    mlflow.set_experiment(
        experiment_id=MlflowClient().create_experiment("digits", str(tmp_path / "kept"))
    )
    with mlflow.start_run(run_name="first"):
        mlflow.log_params({"lr": 0.1, "layers": 2, "shuffle": True, "optimizer": "sgd"})
        for step in range(3):
            mlflow.log_metric("val/loss", 1 / (step + 1), step=step)
        mlflow.log_artifacts(str(files), "given")
        mlflow.set_tag("team", "vision")
        mlflow.pytorch.log_model(
            torch.nn.Linear(2, 2), name="net", serialization_format="pickle", pip_requirements=[],
            registered_model_name="digits-net",
        )  # fmt: skip
    with mlflow.start_run(run_name="second"):
        mlflow.log_metric("accuracy", 98.5)
    MlflowClient().set_registered_model_alias("digits-net", "champion", "1")
    yield place
    while mlflow.active_run() is not None:
        mlflow.end_run()


def test_runs_become_versions(store: Store, tracked: Path, files: Path, tmp_path: Path) -> None:
    """Parameters, last values, whole series, tags, files and registered names come along."""
    report = import_place(store, tracked, author="Tester")
    assert [(row.model, row.number, row.state) for row in report.versions] == [
        ("digits", 1, "new"), ("digits", 2, "new"),
    ]  # fmt: skip
    first = store.parts.odb.version(store.resolve("digits@1").version)
    assert first.parameters == {"lr": 0.1, "layers": 2, "shuffle": True, "optimizer": "sgd"}
    assert first.metrics == {"val/loss": pytest.approx(1 / 3)}
    assert first.message == "first"
    assert first.metadata["mlflow"]["tags"] == {"team": "vision"}
    log = store.parts.odb.record(first.logs[0])
    (series,) = log.series
    assert struct.unpack("<3q", series.steps) == (0, 1, 2)
    assert struct.unpack("<3d", series.values) == (1, 1 / 2, 1 / 3)
    store.get("digits@1", tmp_path / "back")
    assert content(tmp_path / "back" / "given") == content(files)
    assert (tmp_path / "back" / "models" / "net" / "MLmodel").is_file()
    tags = store.tags()
    assert tags == dict.fromkeys(
        ["digits-net/v1", "digits-net/champion"], report.versions[0].version
    )


def test_values_that_the_schema_refuses_are_kept_aside(store: Store, tracked: Path) -> None:
    """An accuracy of 98.5 is no share: the run is imported, and the remark says so."""
    report = import_place(store, tracked, "team")
    assert any("'disputed'" in remark for remark in report.remarks)
    second = store.parts.odb.version(store.resolve("team/digits@2").version)
    assert second.metadata["disputed"]["metrics"] == {"accuracy": 98.5}


def test_runs_are_imported_once(store: Store, tracked: Path) -> None:
    """A second import finds all of it; a run that came since is one version more."""
    assert [row.number for row in import_place(store, tracked, dry_run=True).versions] == [None] * 2
    assert store.models() == []
    import_place(store, tracked)
    with mlflow.start_run(run_name="third"):
        mlflow.log_param("lr", 0.2)
    rows = import_place(store, tracked).versions
    assert [(row.number, row.state) for row in rows] == [(1, "there"), (2, "there"), (3, "new")]


def test_a_folder_of_runs_is_imported(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracking store that is a folder of files (``mlruns``) gives its runs as a database does."""
    place = tmp_path / "mlruns"
    # Without this MLflow no longer logs into a folder; importing has to do without.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(place.as_uri())
    mlflow.set_experiment("letters")
    with mlflow.start_run(run_name="only"):
        mlflow.log_param("lr", 0.5)
        mlflow.log_metric("val/loss", 0.25, step=7)
        mlflow.log_text("hello", "notes.txt")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    report = import_place(store, place)
    assert [(row.model, row.number) for row in report.versions] == [("letters", 1)]
    version = store.parts.odb.version(store.resolve("letters@1").version)
    assert (version.parameters, version.metrics) == ({"lr": 0.5}, {"val/loss": 0.25})
    store.get("letters@1", tmp_path / "back")
    assert (tmp_path / "back" / "notes.txt").read_text() == "hello"


def test_files_that_are_gone_are_said(store: Store, tracked: Path, tmp_path: Path) -> None:
    """A logged model whose files were lost leaves a remark, and the run is imported."""
    shutil.rmtree(tmp_path / "kept" / "models")
    report = import_place(store, tracked)
    assert any("cannot be read" in remark for remark in report.remarks)
    assert len(report.versions) == 2


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/integrations.md shows of it works as printed."""
    run_blocks("mlflow", tmp_path)
