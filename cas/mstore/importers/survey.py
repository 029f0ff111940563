"""What stands in a folder that nobody managed: checkpoints, logs, sheets, settings, the rest.

Told by names alone; nothing is opened. Links are not followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from msgspec import Struct, field

from mstore.errors import InvalidInputError, NotFoundError
from mstore.importers.guesses import SHARD, Guess, guess

MAX_FILES: Final = 100_000

_MODELS: Final = frozenset(
    {".bin", ".caffemodel", ".ckpt", ".gguf", ".h5", ".hdf5", ".joblib", ".keras", ".msgpack",
     ".npy", ".npz", ".onnx", ".pb", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".skops",
     ".tflite"}
)  # fmt: skip
_LOGS: Final = frozenset({".csv", ".jsonl", ".log", ".txt"})
_SETTINGS: Final = frozenset(
    {"args", "config", "hparams", "hyperparameters", "options", "params", "settings"}
)
_SETTING_FORMS: Final = frozenset({".json", ".toml", ".yaml", ".yml"})
_RESULTS: Final = frozenset(
    {"all_results.json", "eval_results.json", "metrics.json", "results.json", "scores.json"}
)
_OTHER_SHEETS: Final = frozenset({".numbers", ".ods", ".xls", ".xlsx"})
_TRAINING_ONLY: Final = ("optim", "scheduler", "rng_state", "scaler", "training_args")
_STATE: Final = "trainer_state.json"
"""The log that the trainer of Hugging Face keeps, also in each checkpoint."""
_NUMBERED_FOLDER: Final = ("step", "epoch")


class Found(NamedTuple):
    """A checkpoint: one file, or a folder that is one; ``modified`` is seconds since 1970."""

    path: PurePosixPath
    guess: Guess
    modified: float
    size: int


class Survey(Struct, frozen=True):
    """What stands below ``top``, each path relative to it."""

    top: Path
    checkpoints: list[Found] = field(default_factory=list)
    logs: list[PurePosixPath] = field(default_factory=list)
    sheets: list[PurePosixPath] = field(default_factory=list)
    settings: list[PurePosixPath] = field(default_factory=list)
    results: list[PurePosixPath] = field(default_factory=list)
    left: list[PurePosixPath] = field(default_factory=list)
    unsure: list[tuple[PurePosixPath, str]] = field(default_factory=list)


class _Files(NamedTuple):
    folder: PurePosixPath
    names: list[str]


def survey(top: Path) -> Survey:
    """Look at a folder; NotFoundError, and InvalidInputError where it holds too many files."""
    if not top.is_dir():
        raise NotFoundError(f"no folder '{top}'", hint="name the folder to adopt")
    found = Survey(top)
    whole: set[PurePosixPath] = set()
    for folder, names in _walk(top, found):
        if folder.parents and any(parent in whole for parent in (folder, *folder.parents)):
            continue
        if _is_one(folder, names):
            whole.add(folder)
            _add_checkpoint(found, folder, [folder / name for name in names])
            found.logs.extend(folder / name for name in names if name == _STATE)
            found.results.extend(folder / name for name in names if name in _RESULTS)
            continue
        for name in names:
            _sort(found, folder / name)
    return found


def _walk(top: Path, found: Survey) -> Iterator[_Files]:
    count = 0
    for folder, folders, names in os.walk(top, onerror=_raise):
        at = PurePosixPath(Path(folder).relative_to(top).as_posix())
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__pycache__")
        links = [name for name in [*folders, *names] if (Path(folder) / name).is_symlink()]
        found.unsure.extend((at / name, "left out: it is a symbolic link") for name in links)
        shown = [name for name in names if name[0] != "." and name not in links]
        kept = sorted(name for name in shown if (Path(folder) / name).is_file())
        # Opening a pipe would wait for its other end.
        strange = sorted(set(shown) - set(kept))
        found.unsure.extend((at / name, "left out: it is no regular file") for name in strange)
        count += len(kept)
        if count > MAX_FILES:
            raise InvalidInputError(
                f"'{top}' holds more than {MAX_FILES} files", hint="adopt its folders one by one"
            )
        yield _Files(at, kept)


def _raise(error: OSError) -> None:
    raise InvalidInputError(f"'{error.filename}' cannot be read: {error.strerror}") from error


def _is_one(folder: PurePosixPath, names: list[str]) -> bool:
    """Whether a folder is one checkpoint, not a place where checkpoints are."""
    models = [name for name in names if _is_model(name)]
    if not models or folder == PurePosixPath():
        return False
    numbered = [name for name in models if guess(PurePosixPath(name), "").number is not None]
    if guess(PurePosixPath(folder.name), "").kind in _NUMBERED_FOLDER and not numbered:
        return True
    shards = any(SHARD.search(PurePosixPath(name).stem) for name in models)
    return ("config.json" in names or shards) and not numbered


def _is_model(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in _MODELS and not name.lower().startswith(_TRAINING_ONLY)


def _sort(found: Survey, path: PurePosixPath) -> None:
    suffix, stem = path.suffix.lower(), path.stem.lower()
    if suffix in _MODELS and not _is_model(path.name):
        found.unsure.append((path, "left out: by its name it is needed for training only"))
    elif suffix in _MODELS:
        _add_checkpoint(found, path, [path])
    elif suffix in _SETTING_FORMS and stem in _SETTINGS:
        found.settings.append(path)
    elif path.name in _RESULTS:
        found.results.append(path)
    elif suffix in _OTHER_SHEETS:
        found.unsure.append((path, "left out: save the sheet as CSV to have it read"))
    elif suffix == ".csv":
        found.sheets.append(path)
    elif suffix in _LOGS or "tfevents" in path.name or path.name == _STATE:
        found.logs.append(path)
    else:
        found.left.append(path)


def _add_checkpoint(found: Survey, path: PurePosixPath, files: list[PurePosixPath]) -> None:
    stats = [(found.top / file).stat() for file in files]
    size = sum(stat.st_size for stat in stats)
    if size == 0:
        found.unsure.append((path, "left out: it is empty"))
        return
    modified = max(stat.st_mtime for stat in stats)
    said = guess(path, found.top.resolve().name)
    found.checkpoints.append(Found(path, said, modified, size))
