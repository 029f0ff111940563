"""Names of files in a tree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import InvalidInputError
from mstore.format.names import MAX_NAME_SIZE, check_file_name, check_tree_names, fold_name


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        ".gitattributes",
        "README",
        "a",
        "with space.txt",
        "2024-01-01T12:00:00.log",
        "naïve.txt",
        "模型.bin",
        "console.txt",
        "com10",
        "x" * MAX_NAME_SIZE,
        "model-00001-of-00002.safetensors",
        "~tilde #hash 'quote'",
    ],
)
def test_ordinary_names_pass(name: str) -> None:
    """What folders on Linux commonly hold is accepted."""
    check_file_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "not a name"),
        (".", "not a name"),
        ("..", "not a name"),
        ("a/b", "separator"),
        ("/etc/passwd", "separator"),
        ("a\\b", "separator"),
        ("nul\0byte", "control"),
        ("line\nbreak", "control"),
        ("del\x7f", "control"),
        ("c1\x85", "control"),
        ("x" * (MAX_NAME_SIZE + 1), "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("surrogate\udcff", "UTF-8"),
        ("e\u0301", "normalisation"),
        ("zero\u200cwidth", "invisible"),
        ("left\u202eright", "invisible"),
        ("bom\ufeff", "invisible"),
        ("CON", "device"),
        ("aux.txt", "device"),
        ("nul .txt", "device"),
        ("lpt1.tar.gz", "device"),
        ("COM¹", "device"),
        ("conin$", "device"),
        ("dot.", "ends with"),
        ("space ", "ends with"),
        ("...", "ends with"),
    ],
)
def test_dangerous_names_are_refused(name: str, reason: str) -> None:
    """Each rule of the specification refuses what it is there for, and says which it is."""
    with pytest.raises(InvalidInputError, match=reason):
        check_file_name(name)


@given(st.text(max_size=40))
def test_any_text_is_judged(name: str) -> None:
    """Every text either passes or raises InvalidInputError; what passes is one component."""
    try:
        check_file_name(name)
    except InvalidInputError:
        return
    assert "/" not in name
    assert name not in ("", ".", "..")
    assert name == name.encode().decode()


@pytest.mark.parametrize(
    "twins", [("a", "A"), ("straße", "STRASSE"), ("É.txt", "é.txt"), ("x", "x"), ("\u017f", "s")]
)
def test_twins_are_refused(twins: tuple[str, str]) -> None:
    """Two names that are one where case does not count cannot stand in one tree."""
    with pytest.raises(InvalidInputError, match="are the same where case does not count"):
        check_tree_names(twins)


def test_different_names_pass() -> None:
    """Names that differ in more than case stand together, in any order."""
    check_tree_names(["b", "a", "é", "e"])


@given(st.text(max_size=20))
def test_folding_ignores_case(name: str) -> None:
    """Upper and lower case of ASCII text fold together, and folding twice changes nothing."""
    assert fold_name(fold_name(name)) == fold_name(name)
    if name.isascii():
        assert fold_name(name.upper()) == fold_name(name.lower())
