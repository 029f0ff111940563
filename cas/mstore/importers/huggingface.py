"""A model folder of Hugging Face with what its card and its configuration say.

The card is README.md; its front matter is read as plain YAML, bounded. What has no field of its own
in a version is metadata. ``base_model`` becomes the parent when the store has it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mstore.errors import InvalidInputError, NotFoundError
from mstore.importers.guesses import ref_name
from mstore.importers.putting import put_said
from mstore.importers.report import ImportedVersion, ImportReport
from mstore.objects import Relation
from mstore.ops.description_file import read_yaml
from mstore.store import Store

MAX_CARD: Final = 4 << 20
MAX_CONFIG: Final = 4 << 20
_RELATIONS: Final[Mapping[str, Relation]] = {
    "finetune": "fine-tuned",
    "merge": "merged",
    "quantized": "quantised",
}
_MODELS: Final = (".safetensors", ".bin", ".gguf", ".pt", ".onnx", ".h5", ".msgpack")
_LISTED: Final = 64
"""Values of one list that are kept."""


def is_model_folder(place: Path) -> bool:
    """Whether a folder has a file of weights, and a configuration or a card beside it."""
    if not place.is_dir():
        return False
    names = {path.name for path in place.iterdir()}
    says = {"config.json", "adapter_config.json", "README.md"} & names
    return bool(says) and any(name.endswith(_MODELS) for name in names)


def import_folder(
    store: Store, folder: Path, name: str | None = None, *, author: str = "", dry_run: bool = False
) -> ImportReport:
    """Store a folder as the next version of ``name``, else of the folder's own name.

    InvalidInputError for a card or a configuration that cannot be read.
    """
    model = name or ref_name(folder.resolve().name)
    card = _card(folder)
    said = _said(card, _config(folder))
    bases = _texts(card.get("base_model"))
    parents = [known for base in bases if (known := _known(store, base)) is not None]
    row = ImportedVersion(model, None, None, len(said["metrics"]), len(said["params"]), "new")
    remarks = [
        f"base model '{base}' is not in the store: it is kept as metadata"
        for base in bases
        if _known(store, base) is None
    ]
    if dry_run:
        return ImportReport("huggingface", folder, dry_run, [row], remarks)
    relation = _RELATIONS.get(str(card.get("base_model_relation")), "derived")
    if bases and "base_model_relation" not in card:
        # What the hub takes it for when the card does not say.
        relation = "fine-tuned"
    log = folder / "trainer_state.json"
    put = put_said(
        store, folder, model, said, parents=parents or None, relation=relation, author=author,
        logs=[log] if log.is_file() else [], follow=True,
    )  # fmt: skip
    remarks += [put.remark] if put.remark else []
    found = put.result
    done = row._replace(
        number=found.number, version=found.version, state="there" if found.unchanged else "new"
    )
    return ImportReport("huggingface", folder, dry_run, [done], remarks)


def _card(folder: Path) -> dict[str, Any]:
    """The front matter of the card; empty where there is none."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    text = _bounded(path, MAX_CARD).decode("utf-8", errors="replace")
    found = re.match(r"\ufeff?---\r?\n(.*?)^---\s*$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return {}
    try:
        card = read_yaml(found[1].encode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"card '{path}' is not YAML: {reason}") from error
    return card if isinstance(card, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(_bounded(path, MAX_CONFIG))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"'{path}' is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InvalidInputError(f"'{path}' has more than {limit} bytes")
    return content


def _said(card: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    task = card.get("pipeline_tag")
    own = {"pipeline_tag", "datasets", "model-index"}
    metadata = {str(key): value for key, value in card.items() if key not in own}
    return {
        "task": task if isinstance(task, str) else "",
        "datasets": _texts(card.get("datasets")),
        "metrics": dict(_results(card.get("model-index"))),
        "params": {
            name: value
            for name, value in config.items()
            if isinstance(value, bool | int | float | str) and not name.startswith("_")
        },
        "metadata": {"card": metadata} if metadata else {},
    }


def _results(index: object) -> Iterator[tuple[str, float]]:
    """The results of a model index as ``DATASET/METRIC``, or with their split between."""
    for result in (r for model in _tables(index) for r in _tables(model.get("results"))):
        dataset = result.get("dataset")
        named = dataset if isinstance(dataset, dict) else {}
        place = [str(named[key]) for key in ("name", "split") if named.get(key)]
        for metric in _tables(result.get("metrics")):
            value = metric.get("value")
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield "/".join([*place, str(metric.get("type", "value"))]), float(value)


def _tables(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str) and word][:_LISTED]


def _known(store: Store, base: str) -> str | None:
    """The model of the store that a name of the hub means, with or without its owner."""
    for name in (base, ref_name(base), ref_name(base.rpartition("/")[2])):
        try:
            store.resolve(name)
        except (NotFoundError, InvalidInputError):
            continue
        return name
    return None
