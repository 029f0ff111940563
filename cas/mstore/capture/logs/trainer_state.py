"""``trainer_state.json`` of Hugging Face's Trainer: the rows of its ``log_history``."""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from mstore.capture.logs.gathered import Gathered
from mstore.capture.logs.lines import add_row, json_numbers

MAX_FILE = 64 << 20
"""Bytes of a file that is read; the trainer writes about 150 for each row."""

_HISTORY = re.compile(r'"log_history"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_FIELDS = (b'"log_history"', b'"global_step"', b'"best_model_checkpoint"')


def looks_like_trainer_state(head: bytes) -> bool:
    """Whether it starts as an object with fields that the trainer writes."""
    return re.match(rb"\s*\{", head) is not None and sum(name in head for name in _FIELDS) > 1


def read_trainer_state(file: BinaryIO, gathered: Gathered) -> None:
    """Gather the numbers of every whole row."""
    content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        gathered.note(f"what follows its first {MAX_FILE} bytes is left out")
    text = content[:MAX_FILE].decode("utf-8", "replace")
    for number, row in enumerate(_rows(text, gathered)):
        if isinstance(row, dict):
            add_row(gathered, json_numbers(row), number)


def _rows(text: str, gathered: Gathered) -> Iterator[object]:
    found = _HISTORY.search(text)
    if found is None:
        gathered.note("it is cut off before its log_history")
        return
    decode = json.JSONDecoder().raw_decode
    place = _skip(text, found.end())
    while not text.startswith("]", place):
        try:
            row, place = decode(text, place)
        except (ValueError, RecursionError):
            gathered.note(f"it is cut off or damaged at character {place}")
            return
        yield row
        place = _skip(text, place)


def _skip(text: str, place: int) -> int:
    found = _BETWEEN.match(text, place)
    return place if found is None else found.end()
