"""What MLflow logs, kept in a store: ``mstore:///path/to/store/PLACE`` as its artifact location.

The store is the nearest folder upwards that is one, or has one in ``.mstore``. ``PLACE`` up to a
part "artifacts" names the model ``mlflow/PLACE``, what follows is a path in it. Each call that logs
makes a version with the files of the one before; files that are equal take no space twice.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from mstore.discovery import store_directory
from mstore.errors import ConflictError, InvalidInputError, NotFoundError
from mstore.extras import needs
from mstore.format.names import check_tree_names
from mstore.format.slots import check_ref_name
from mstore.ops.amend import amend
from mstore.ops.sources import NamedFile, SourceTree, scan_paths
from mstore.ops.walk import walk_files
from mstore.store import Store, open_store

with needs("mlflow"):
    from mlflow.entities import FileInfo
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_ROOT: Final = "artifacts"
"""The part of a location below which MLflow keeps the files of a run or of a logged model."""
_ATTEMPTS: Final = 20


class Place(NamedTuple):
    """A model, and a path in it; ``inside`` is empty for its top."""

    model: str
    inside: tuple[str, ...]


class MstoreArtifactRepository(ArtifactRepository):  # type: ignore[misc] # MLflow's types are not read
    """The door through which MLflow reads and writes what is logged.

    MLflow calls it by these names; nobody else needs to.
    """

    def __init__(self, artifact_uri: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - MLflow's own
        super().__init__(artifact_uri, *args, **kwargs)
        self._store, self._base = _locate(artifact_uri)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file in the folder ``artifact_path``."""
        self._log(scan_paths([Path(local_file)]), artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store what is in a folder, in the folder ``artifact_path``."""
        self._log(scan_paths([Path(local_dir)]), artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """What stands in a folder, with paths below the location; none for a file."""
        place = self._place(path)
        prefix = f"{path.strip('/')}/" if path else ""
        sizes: dict[str, int | None] = {}
        for parts, size in self._files(place.model):
            below = parts[len(place.inside) :]
            if parts[: len(place.inside)] == place.inside and below:
                sizes[below[0]] = size if len(below) == 1 else None
        return [FileInfo(prefix + name, size is None, size) for name, size in sorted(sizes.items())]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        place = self._place(remote_file_path)
        revision = f"{place.model}:{'/'.join(place.inside)}"
        self._store.get(revision, local_path, force=True)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Leave a file or a folder out of the newest version; without a path, delete the model."""
        place = self._place(artifact_path)
        if place.inside:
            _persist(lambda: amend(self._store.parts, place.model, [], without=place.inside))
        else:
            self._store.delete(place.model)

    def _log(self, source: SourceTree, folder: str | None) -> None:
        place = self._place(folder)
        files = [_moved(file, place.inside) for file in source.files]
        folders = [(*place.inside, *path) for path in source.folders]
        _persist(lambda: amend(self._store.parts, place.model, files, folders))

    def _files(self, model: str) -> Iterator[tuple[tuple[str, ...], int]]:
        try:
            version = self._store.resolve(model).version
        except NotFoundError:
            # Nothing was logged yet.
            return
        odb = self._store.parts.odb
        for found in walk_files(odb, odb.version(version).tree):
            yield tuple(found.path.split("/")), found.file.size

    def _place(self, path: str | None) -> Place:
        return _split((*self._base, *PurePosixPath(path or "").parts))


def _locate(uri: str) -> tuple[Store, tuple[str, ...]]:
    """The store of a location, and the parts of the path below it."""
    path = Path(unquote(urlsplit(uri).path))
    for folder in (path, *path.parents):
        if (store_directory(folder) / "config").is_file():
            return open_store(store_directory(folder)), path.relative_to(folder).parts
    raise MlflowException(
        f"no store at '{path}' or above it: make one with 'mstore --store DIR init'"
    )


def _split(parts: tuple[str, ...]) -> Place:
    """The model of a location, and the path in it."""
    at = parts.index(_ROOT) if _ROOT in parts else len(parts)
    inside = parts[at + 1 :]
    for name in inside:
        check_tree_names([name])
    return Place("/".join(["mlflow", *map(_component, parts[:at])]), inside)


def _component(part: str) -> str:
    """A part of a location as a part of a name: ids of runs look like hashes."""
    try:
        check_ref_name(part)
    except InvalidInputError:
        part = f"run-{part}"
        check_ref_name(part)
    return part


def _moved(file: NamedFile, folder: tuple[str, ...]) -> NamedFile:
    return file._replace(parts=(*folder, *file.parts))


def _persist(change: Callable[[], object]) -> None:
    """Try again while others store versions of the same run; each attempt is on top of theirs."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            change()
        except ConflictError:
            if not left:
                raise
        else:
            return
