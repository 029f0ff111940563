"""Histories as drawings."""

from mstore_cli.graph import Node, draw


def drawing(*lines: str) -> list[str]:
    """Draw nodes given as ``child parent parent``, newest first."""
    nodes = []
    for line in lines:
        name, *parents = line.split()
        nodes.append(Node(name.encode(), tuple(parent.encode() for parent in parents), name))
    return list(draw(nodes))


def test_a_line_is_straight() -> None:
    """Versions one after another stand in one column."""
    assert drawing("c b", "b a", "a") == ["* c", "* b", "* a"]


def test_a_merge_opens_and_closes_a_column() -> None:
    """Two parents are two columns until they meet again."""
    drawn = drawing("d b c", "c a", "b a", "a")
    assert drawn == ["* d", "|\\", "| * c", "* | b", "|/", "* a"]


def test_branches_meet_in_the_left_column() -> None:
    """Two children of one version stand side by side until it comes."""
    assert drawing("c a", "b a", "a") == ["* c", "| * b", "|/", "* a"]


def test_unrelated_versions_share_the_column() -> None:
    """A version without parents leaves its column to the next."""
    assert drawing("b", "a") == ["* b", "* a"]


def test_a_line_passes_behind_a_column() -> None:
    """A meeting of columns that are not neighbours is drawn behind those between."""
    drawn = drawing("d a", "c b", "e a", "b", "a")
    assert drawn == ["* d", "| * c", "| | * e", "|_|/", "| * b", "* a"]
