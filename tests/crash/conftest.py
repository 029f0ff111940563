"""How far the tests of this folder go: ``python -m pytest tests/crash --depth 3``."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take ``--depth``; where it is not known, MSTORE_CRASH_DEPTH says the same."""
    text = "commands in a row whose crashes are all tried (1 to 3)"
    parser.addoption("--depth", type=int, default=None, help=text)


@pytest.fixture
def depth(request: pytest.FixtureRequest) -> int:
    """How many commands follow one another."""
    given = request.config.getoption("--depth", None)
    return int(given or os.environ.get("MSTORE_CRASH_DEPTH", "2"))
