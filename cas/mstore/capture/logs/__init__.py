"""Training logs as series of numbers: what a training wrote down while it ran.

Which program wrote a file is told by its content. What was cut off gives all that is whole, and a
remark says where it was cut. Nothing but numbers is read: no text, image or graph.
"""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mstore.capture.logs.caffe import looks_like_caffe, read_caffe
from mstore.capture.logs.gathered import Gathered
from mstore.capture.logs.lines import looks_like_csv, read_csv, read_json_lines
from mstore.capture.logs.tensorboard import looks_like_events, read_events
from mstore.capture.logs.trainer_state import looks_like_trainer_state, read_trainer_state
from mstore.errors import InvalidInputError, NotFoundError
from mstore.objects import Log

__all__ = ["ParsedLog", "parse_log", "read_log"]

_HEAD = 64 << 10
"""Bytes by which a log is recognised."""
_KNOWN = "TensorBoard event files, trainer_state.json, CSV with a header, JSON lines and caffe"

Read = Callable[[BinaryIO, Gathered], None]


class ParsedLog(NamedTuple):
    """A log, and what was left out of it."""

    log: Log
    remark: str = ""


def parse_log(path: Path) -> ParsedLog:
    """The series of a log file, in the order in which they first occur.

    InvalidInputError for what is no training log, has no number in it or too many series;
    NotFoundError when there is no such file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInputError(f"log '{path}' is not a file")
        with path.open("rb") as file:
            return read_log(file, str(path))
    except FileNotFoundError as error:
        raise NotFoundError(f"no log '{path}'", hint="look at the path") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidInputError(f"log '{path}' cannot be read: {reason}") from error


def read_log(file: BinaryIO, label: str) -> ParsedLog:
    """The series of an open log; ``label`` names it in messages. Errors as ``parse_log``."""
    head = file.read(_HEAD)
    file.seek(0)
    found = _recognised(head)
    if found is None:
        raise InvalidInputError(
            f"'{label}' is not a training log that is known", hint=f"known are {_KNOWN}"
        )
    source, read = found
    gathered = Gathered(label)
    read(file, gathered)
    log = Log(source, gathered.series())
    if not log.series:
        reason = f": {gathered.remark}" if gathered.remark else ""
        raise InvalidInputError(f"log '{label}' has no number in it{reason}")
    return ParsedLog(log, f"log '{label}': {gathered.remark}" if gathered.remark else "")


def _recognised(head: bytes) -> tuple[str, Read] | None:
    if looks_like_events(head):
        return "tensorboard", read_events
    if looks_like_trainer_state(head):
        return "trainer_state", read_trainer_state
    if re.match(rb"\s*\{", head):
        return "jsonl", read_json_lines
    if looks_like_caffe(head):
        return "caffe", read_caffe
    if looks_like_csv(head):
        return "csv", read_csv
    return None
