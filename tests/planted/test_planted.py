"""The suite can fail: each of these bugs, planted in the real code, is caught by its check."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.exploring import scratch_folder
from tests.planted.bugs import BUGS, Bug
from tests.planted.checkers import CHECKERS, Checker

from mstore.errors import MstoreError

LEAST_BUGS = 50


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_the_store_passes(scratch: Path, checker: Checker) -> None:
    """Without a bug no check finds anything."""
    assert checker(scratch) == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(scratch: Path, monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    """With the bug its check finds something wrong."""
    with monkeypatch.context() as patch:
        bug.plant(patch)
        try:
            found = bug.caught_by(scratch)
        except MstoreError as error:
            found = [str(error)]
    assert found != []


def test_there_are_enough_bugs() -> None:
    """Many different bugs are tried, and each check has one that it catches."""
    assert len(BUGS) >= LEAST_BUGS
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert {bug.caught_by for bug in BUGS} == set(CHECKERS)
