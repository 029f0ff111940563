"""What the names that people give to checkpoints say: which run, and where in it.

``runs/exp1/checkpoint-500`` is step 500 of ``exp1``, ``lenet_epoch_3.pt`` epoch 3 of ``lenet``,
``model_v2_final.pt`` the second version, and the last, of whatever its folder is named.
"""

import re
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from mstore.errors import InvalidInputError
from mstore.format.slots import check_ref_name

_WORDS: Final = {
    "step": "step",
    "steps": "step",
    "iter": "step",
    "iters": "step",
    "iteration": "step",
    "checkpoint": "step",
    "ckpt": "step",
    "epoch": "epoch",
    "epochs": "epoch",
    "ep": "epoch",
    "v": "version",
    "ver": "version",
    "version": "version",
}
_NUMBERED = re.compile(
    rf"(?<![a-z])(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    r"[-_=. ]?(?P<number>\d{1,12})(?!\d)",
    re.IGNORECASE,
)
SHARD = re.compile(r"-\d{5}-of-\d{5}$")
"""The end of the stem of a file that is one of several of one checkpoint."""
_LAST_NUMBER = re.compile(r"[-_ ](?P<number>\d{1,12})$")
_STANDING = re.compile(r"(?<![a-z])(final|best|last|latest)(?![a-z])", re.IGNORECASE)
_EMPTY_NAMES: Final = frozenset(
    {"", "checkpoint", "ckpt", "model", "models", "net", "network", "pytorch_model", "state",
     "state_dict", "weights"}
)  # fmt: skip
"""File names that say nothing of which model it is."""
_EMPTY_FOLDERS: Final = frozenset(
    {"checkpoints", "ckpt", "ckpts", "models", "out", "output", "outputs", "results", "runs",
     "saved", "weights"}
)  # fmt: skip
"""Folder names that say nothing of which model is in them."""
_RANK: Final = {"step": 0, "epoch": 1, "version": 2}
"""Which of several numbers counts: of ``v2_step_100`` the step."""


class Guess(NamedTuple):
    """What a path says: the run's ``name``; ``kind`` of ``number`` is "" where there is none.

    ``word`` is what else was said of it, such as "best".
    """

    name: str
    kind: str
    number: int | None
    word: str


def guess(path: PurePosixPath, top: str) -> Guess:
    """Guess from the path of a checkpoint below the folder ``top``."""
    rest, kind, number = _number(_stem(path.name))
    found = _STANDING.search(rest)
    word = "" if found is None else found[0].lower()
    own = re.sub(r"[-_=. ]+", "-", _STANDING.sub("", rest)).strip("-")
    folders = [part for part in path.parts[:-1] if part.lower() not in _EMPTY_FOLDERS]
    if own.lower() not in _EMPTY_NAMES and own != (folders[-1] if folders else ""):
        folders.append(own)
    return Guess(ref_name("/".join(folders) or top), kind, number, word)


def ref_name(text: str) -> str:
    """A name of a model that is as much like ``text`` as the rules for names allow."""
    parts = [_component(part) for part in text.split("/")]
    return "/".join(part for part in parts if part)[:200].strip("/-.") or "model"


def _component(text: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    if not cleaned:
        return ""
    try:
        check_ref_name(cleaned)
    except InvalidInputError:
        # It looks like a hash, or names a device.
        return "m-" + re.sub(r"\.+", "-", cleaned)
    return cleaned


def _stem(name: str) -> str:
    return name.partition(".")[0] if name.count(".") == 1 else name.rpartition(".")[0] or name


def _number(stem: str) -> tuple[str, str, int | None]:
    """A name without its numbers; of them the one that counts."""
    stem = SHARD.sub("", stem)
    found = [(_WORDS[m["word"].lower()], int(m["number"])) for m in _NUMBERED.finditer(stem)]
    rest = _NUMBERED.sub("", stem)
    if found:
        return rest, *min(found, key=lambda pair: _RANK[pair[0]])
    last = _LAST_NUMBER.search(rest)
    return (
        (rest, "", None) if last is None else (rest[: last.start()], "number", int(last["number"]))
    )
