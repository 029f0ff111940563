"""The guide shows every command."""

import re
from pathlib import Path

import pytest

from mstore_cli.main import COMMANDS

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_guide_shows_the_command(name: str) -> None:
    """Some page of the guide runs the command; that every page runs is tested with README."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in GUIDE.glob("*.md"))
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", pages, re.DOTALL | re.MULTILINE))
    assert re.search(rf"mstore (?:--\w+ \w+ |--json )?{name}\b", blocks)
