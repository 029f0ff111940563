"""Logs of caffe, as glog writes them: loss, learning rate and the outputs of the nets.

``loss`` is the solver's, averaged over its last iterations; ``lr`` the learning rate; what a net
puts out is ``train/NAME`` or ``test/NAME``, and ``test1/NAME`` of a second test net. The lines name
no year and no zone, so no times are kept.
"""

import re
from typing import BinaryIO

from mstore.capture.logs.gathered import Gathered, whole_lines

_SHOWN = re.compile(
    rb"\bIteration \d{1,18}\b.{0,200}\b(?:loss|lr) = |\bT(?:rain|est) net output #\d{1,9}: "
)
_ITERATION = re.compile(r"\bIteration (\d{1,18})\b(.*)")
_TESTING = re.compile(r"Testing net \(#(\d{1,6})\)")
_SOLVER = re.compile(r"\b(loss|lr) = (\S+)")
_OUTPUT = re.compile(r"\b(Train|Test) net output #\d{1,9}: (\S{1,256}) = (\S+)")


def looks_like_caffe(head: bytes) -> bool:
    """Whether some line says what a solver says."""
    return _SHOWN.search(head) is not None


def read_caffe(file: BinaryIO, gathered: Gathered) -> None:
    """Gather what every whole line says; what is no number is left out."""
    iteration, test_net = 0, ""
    for number, line, is_whole in whole_lines(file, gathered):
        if not is_whole:
            gathered.note(f"it is cut off in line {number}")
            return
        found = _ITERATION.search(line)
        if found is not None:
            iteration = int(found[1])
            tested = _TESTING.search(found[2])
            if tested is not None:
                test_net = tested[1].lstrip("0")
            for name, value in _SOLVER.findall(found[2]):
                _add(gathered, name, iteration, value)
            continue
        output = _OUTPUT.search(line)
        if output is not None:
            net = "train" if output[1] == "Train" else f"test{test_net}"
            _add(gathered, f"{net}/{output[2]}", iteration, output[3])


def _add(gathered: Gathered, name: str, iteration: int, text: str) -> None:
    try:
        value = float(text.rstrip(",;"))
    except ValueError:
        return
    gathered.add(name, iteration, value)
