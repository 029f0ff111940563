"""What MLflow has tracked, read through its own client: each run is a version.

The model is named like the experiment, runs stand in the order in which they began. A run has its
parameters, the last value of each metric and the whole series, its tags, and the files that it
logged; logged models stand in ``models/``. Registered versions and aliases become tags.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mstore.backends.scratch import scratch_folder
from mstore.errors import InvalidInputError, UnsupportedError
from mstore.importers.guesses import ref_name
from mstore.importers.putting import DISPUTED
from mstore.importers.report import ImportedVersion, ImportReport
from mstore.objects import Log, Series, Value
from mstore.ops.put import Description, put
from mstore.ops.schemas import checked
from mstore.ops.sources import NamedFile, SourceTree, scan_paths
from mstore.store import Store

Parts = tuple[str, ...]

MARK: Final = "mlflow"
"""The key of a version's metadata that says which run it was."""
_PAGE: Final = 1_000
_MAX_POINTS: Final = 1_000_000
"""Points of one series that are kept."""
_THOUSAND: Final = 1_000
_OWN: Final = "mlflow."
_FOLDERS: Final = "MLFLOW_ALLOW_FILE_STORE"


def import_runs(
    store: Store, place: Path, prefix: str = "", *, author: str = "", dry_run: bool = False
) -> ImportReport:
    """Store every run that is not there yet; names of models begin with ``prefix``.

    InvalidInputError when MLflow cannot read the place, UnsupportedError when it is not there.
    """
    client = _client(place)
    report = ImportReport("mlflow", place, dry_run, [], [])
    for model, run in _runs(client, f"{ref_name(prefix)}/" if prefix else ""):
        known = _known(store, model)
        number = known.get(run.info.run_id)
        counts = len(run.data.metrics), len(run.data.params)
        if dry_run or number is not None:
            report.versions.append(
                ImportedVersion(
                    model, number, None, *counts, state="new" if number is None else "there"
                )
            )
            continue
        with ExitStack() as stack:
            description = _described(store, client, run, author, report.remarks)
            tree = _files(client, run, stack, report.remarks)
            found = put(store.parts, tree, model, description, always=True)
        row = ImportedVersion(model, found.number, found.version, *counts, "new")
        report.versions.append(row)
    if not dry_run:
        _tag(store, client, report, author)
    return report


def _client(place: Path) -> Any:  # noqa: ANN401 - MLflow's client
    try:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an optional package
        from mlflow.tracking import MlflowClient  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UnsupportedError(
            "framework 'mlflow' is not installed", hint="run: pip install 'mstore[mlflow]'"
        ) from error
    scheme = "file" if place.is_dir() else "sqlite"
    address = f"{scheme}:///{place.resolve()}"
    try:
        with _folders_allowed():
            client = MlflowClient(address, address)
            # Both are made when they are first asked.
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
    except MlflowException as error:
        raise InvalidInputError(f"MLflow cannot read '{place}': {error}") from error
    return client


@contextmanager
def _folders_allowed() -> Iterator[None]:
    """Have MLflow open a folder of runs, which it refuses since it no longer writes to them."""
    environment = os.environ  # noqa: TID251 - it can be told so in no other way
    before = environment.get(_FOLDERS)
    environment[_FOLDERS] = "true"
    try:
        yield
    finally:
        del environment[_FOLDERS]
        if before is not None:
            environment[_FOLDERS] = before


def _runs(client: Any, prefix: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - MLflow's own
    """Every run that was not deleted, with the name of its model, the earliest first."""
    for experiment in _pages(client.search_experiments):
        found = _pages(
            lambda **page: client.search_runs(
                [experiment.experiment_id],  # noqa: B023 - called before the next experiment
                order_by=["attributes.start_time ASC"],
                **page,
            )
        )
        for run in found:
            yield f"{prefix}{ref_name(experiment.name)}", run


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _known(store: Store, model: str) -> dict[str, int]:
    """The numbers of the versions that were runs, by the id of the run."""
    if model not in {row.name for row in store.models()}:
        return {}
    rows = [(row.number, row.version.metadata.get(MARK)) for row in store.log(model) if row.version]
    return {str(mark["run"]): number for number, mark in rows if isinstance(mark, dict)}


def _described(store: Store, client: Any, run: Any, author: str, remarks: list[str]) -> Description:  # noqa: ANN401 - MLflow's own
    tags = run.data.tags
    series = tuple(_series(client, run.info.run_id, name) for name in sorted(run.data.metrics))
    log = Log("mlflow", series)
    given = {name: value for name, value in tags.items() if not name.startswith(_OWN)}
    said = Description(
        message=tags.get(f"{_OWN}note.content", run.info.run_name or ""),
        author=tags.get(f"{_OWN}user", author),
        parents=(),
        parameters={name: _scalar(text) for name, text in run.data.params.items()},
        metrics=run.data.metrics,
        metadata={
            MARK: {
                "run": run.info.run_id,
                "name": run.info.run_name or "",
                "status": run.info.status,
                "commit": tags.get(f"{_OWN}source.git.commit", ""),
                "tags": given,
            }
        },
        logs=(log,) if series else (),
    )
    return _believed(store, said, remarks)


def _believed(store: Store, said: Description, remarks: list[str]) -> Description:
    """The description in base units; values that the schema refuses are metadata."""
    try:
        return checked(store.parts, said)
    except InvalidInputError as error:
        remarks.append(f"values are kept as metadata '{DISPUTED}': {error}")
        values: dict[str, Value] = {"metrics": dict(said.metrics), "params": dict(said.parameters)}
        return Description(
            message=said.message,
            author=said.author,
            parents=(),
            metadata={**said.metadata, DISPUTED: values},
            logs=said.logs,
        )


def _series(client: Any, run: str, name: str) -> Series:  # noqa: ANN401 - MLflow's own
    points = client.get_metric_history(run, name)[:_MAX_POINTS]
    points.sort(key=lambda point: (point.step, point.timestamp))
    count = len(points)
    return Series(
        name,
        struct.pack(f"<{count}q", *(point.step for point in points)),
        struct.pack(f"<{count}d", *(point.value for point in points)),
        struct.pack(f"<{count}q", *(point.timestamp * _THOUSAND for point in points)),
    )


def _scalar(text: str) -> Any:  # noqa: ANN401 - JSON has it so
    """A parameter, which MLflow keeps as text, as the number or the truth value that it was."""
    if text in {"True", "False"}:
        return text == "True"
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


def _files(client: Any, run: Any, stack: ExitStack, remarks: list[str]) -> SourceTree:  # noqa: ANN401 - MLflow's own
    """What a run logged, and below ``models/`` the models, where they are or copied for a while."""
    name = run.info.run_id
    fetches: list[tuple[Parts, Callable[..., str], tuple[str, ...]]] = []
    if client.list_artifacts(name):
        fetches.append(((), client.download_artifacts, (name, "")))
    for output in run.outputs.model_outputs if run.outputs else []:
        model = client.get_logged_model(output.model_id)
        fetches.append((("models", model.name), _download, (model.artifact_location,)))
    files: list[NamedFile] = []
    folders: list[Parts] = []
    for top, fetch, words in fetches:
        try:
            found = _fetched(fetch, stack, *words)
        except InvalidInputError as error:
            remarks.append(f"run '{name}': {error}")
            continue
        files.extend(file._replace(parts=(*top, *file.parts)) for file in found.files)
        folders.extend((*top, *path) for path in found.folders)
    return SourceTree(files, folders, single=False, name="run")


def _fetched(fetch: Callable[..., str], stack: ExitStack, *words: str) -> SourceTree:
    """The files that MLflow gives for some words; InvalidInputError when it cannot."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an optional package

    place = stack.enter_context(scratch_folder())
    try:
        return scan_paths([Path(fetch(*words, dst_path=str(place)))])
    except (MlflowException, OSError) as error:
        raise InvalidInputError(f"files cannot be read: {error}") from error


def _download(address: str, dst_path: str) -> str:
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - an optional package

    found: str = download_artifacts(artifact_uri=address, dst_path=dst_path)
    return found


def _tag(store: Store, client: Any, report: ImportReport, author: str) -> None:  # noqa: ANN401 - MLflow's own
    """Let registered versions, and aliases of them, be tags of the versions that their runs are."""
    runs: dict[str, str] = {}
    for model in {row.model for row in report.versions}:
        runs |= {run: f"{model}@{number}" for run, number in _known(store, model).items()}
    for registered in _pages(client.search_registered_models):
        named = {f"v{found.version}": found for found in registered.latest_versions or []}
        for found in _pages(
            lambda name=registered.name, **page: client.search_model_versions(
                f"name = '{name}'", **page
            )
        ):
            named[f"v{found.version}"] = found
        for alias, number in (registered.aliases or {}).items():
            named[alias] = named[f"v{number}"]
        for word, found in named.items():
            if found.run_id in runs:
                store.tag(runs[found.run_id], ref_name(f"{registered.name}/{word}"), author=author)
