"""The rules of CONTRIBUTING.md that a machine can hold the code against."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cas", "cli")
PROGRAMS = ("bench", "docs", "examples", "fuzz")
MODULE_LINES = 500
FUNCTION_LINES = 40

BANNED_WORDS = frozenset(
    {
        "artifact",
        "blob",
        "handler",
        "helper",
        "helpers",
        "info",
        "manager",
        "process",
        "repository",
        "snapshot",
        "util",
        "utils",
    }
)
BANNED_NAMES = frozenset({"data"})
NAMED_BY_OTHERS = {Path("cas/mstore/integrations/mlflow.py"): frozenset({"artifact", "repository"})}
"""Words that a module may use: MLflow calls it by names, and with arguments, that have them."""

DOOR = Path("cas/mstore/backends/fsio.py")
WRITING_CALLS = frozenset(
    {
        "os.chmod",
        "os.copy_file_range",
        "os.fchmod",
        "os.fdatasync",
        "os.fsync",
        "os.ftruncate",
        "os.link",
        "os.makedirs",
        "os.mkdir",
        "os.mkfifo",
        "os.mknod",
        "os.posix_fallocate",
        "os.pwrite",
        "os.pwritev",
        "os.remove",
        "os.removedirs",
        "os.rename",
        "os.renames",
        "os.replace",
        "os.rmdir",
        "os.sendfile",
        "os.symlink",
        "os.truncate",
        "os.unlink",
        "os.utime",
        "os.write",
        "os.writev",
    }
)
WRITING_MODULES = frozenset({"shutil", "tempfile"})
WRITING_METHODS = frozenset(
    {
        "hardlink_to",
        "mkdir",
        "rmdir",
        "symlink_to",
        "touch",
        "unlink",
        "write_bytes",
        "write_text",
    }
)
WRITING_FLAGS = re.compile(r"\bO_(?:APPEND|CREAT|RDWR|TMPFILE|TRUNC|WRONLY)\b")
MOVING_METHODS = frozenset({"rename", "replace"})
"""Of a path when they are given one argument; others have methods of these names too."""


def sources(*folders: str) -> list[Path]:
    """Every Python file below the folders, relative to the project; none in hidden folders."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    kept = (path.relative_to(ROOT) for path in found)
    return sorted(path for path in kept if not any(part[0] == "." for part in path.parts))


def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    text = node.body[0] if ast.get_docstring(node) is not None else None
    words = (text.end_lineno or 0) - text.lineno + 1 if text else 0
    return (node.end_lineno or 0) - node.lineno + 1 - words


def given_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def words(name: str) -> set[str]:
    """The words of an identifier: of ``PackWriter`` and of ``pack_writer``, pack and writer."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def is_banned(name: str, allowed: frozenset[str] = frozenset()) -> bool:
    """Whether a name says nothing, or means another system's thing."""
    return name in BANNED_NAMES or not (BANNED_WORDS - allowed).isdisjoint(words(name))


def opens_for_writing(call: ast.Call) -> bool:
    """Whether ``open(…, mode)`` or ``path.open(mode)`` is called with a mode that may write."""
    place = 1 if isinstance(call.func, ast.Name) else 0
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[place:][:1]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    return any(isinstance(text, str) and set(text) & set("wax+") for text in texts)


def writes_to_disk(call: ast.Call) -> bool:
    """Whether a call changes the disk by itself; ``fs.unlink`` goes through the door."""
    called = ast.unparse(call.func)
    owner, _, method = called.rpartition(".")
    if called == "os.open":
        return bool(WRITING_FLAGS.search(ast.unparse(call))) and "os.devnull" not in ast.unparse(
            call
        )
    if called in WRITING_CALLS or called.partition(".")[0] in WRITING_MODULES:
        return True
    if method == "open":
        return opens_for_writing(call)
    if owner.endswith("fs"):
        return False
    if method in MOVING_METHODS:
        return bool(owner) and len(call.args) == 1 and not call.keywords
    return bool(owner) and method in WRITING_METHODS


@pytest.mark.parametrize("path", sources(*PACKAGES, *PROGRAMS), ids=str)
def test_module_is_short(path: Path) -> None:
    """A module has at most 500 lines."""
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MODULE_LINES


@pytest.mark.parametrize("path", sources(*PACKAGES, *PROGRAMS), ids=str)
def test_functions_are_short(path: Path) -> None:
    """A function has at most 40 lines, its docstring not counted."""
    sizes = ((node, code_lines(node)) for node in functions(parse(path)))
    long = [f"{path}:{node.lineno} {node.name}" for node, size in sizes if size > FUNCTION_LINES]
    assert long == []


@pytest.mark.parametrize("path", sources(*PACKAGES, *PROGRAMS, "tests"), ids=str)
def test_names_say_something(path: Path) -> None:
    """No identifier and no module has a word that is vague or another system's."""
    allowed = NAMED_BY_OTHERS.get(path, frozenset())
    named = given_names(parse(path))
    vague = [f"{path}:{line} {name}" for line, name in named if is_banned(name, allowed)]
    assert vague == []
    assert not is_banned(path.stem)


@pytest.mark.parametrize("path", [path for path in sources(*PACKAGES) if path != DOOR], ids=str)
def test_only_one_module_writes_to_the_disk(path: Path) -> None:
    """Nothing but ``backends/fsio.py`` creates, changes or removes a file."""
    calls = (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))
    found = [
        f"{path}:{call.lineno} {ast.unparse(call.func)}" for call in calls if writes_to_disk(call)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "open('x', mode='r+b')",
        "path.open('ab')",
        "os.open('x', os.O_RDWR)",
        "os.rename('a', 'b')",
        "shutil.rmtree('a')",
        "Path('a').replace(other)",
        "path.write_bytes(b'')",
    ],
)
def test_a_write_is_recognised(source: str) -> None:
    """The rule above sees each way to write that Python has."""
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert writes_to_disk(call)


@pytest.mark.parametrize(
    "source",
    ["open('x')", "os.open('x', os.O_RDONLY)", "name.replace('a', 'b')", "self._fs.unlink(path)"],
)
def test_a_read_is_no_write(source: str) -> None:
    """The rule above lets through what does not write, and what goes through the door."""
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert not writes_to_disk(call)


def test_the_library_is_light() -> None:
    """``import mstore`` loads no tensor framework and nothing of the terminal."""
    heavy = {"click", "numpy", "platformdirs", "rich", "safetensors", "sqlite3", "torch"}
    program = "import sys, mstore; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, cwd=ROOT
    )
    assert heavy.isdisjoint(done.stdout.split())


def test_every_lint_exception_has_its_reason() -> None:
    """Each rule that is switched off in pyproject.toml says why on its line."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lint = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.pydocstyle]")]
    rules = [line for line in lint.splitlines() if re.match(r'\s+"[A-Z]+[0-9]+",', line)]
    assert rules
    assert [line for line in rules if not re.search(r"# \S.{4,}", line)] == []


@pytest.mark.parametrize("path", sources(*PACKAGES, *PROGRAMS, "tests"), ids=str)
def test_every_exception_in_the_code_has_its_reason(path: Path) -> None:
    """Each ``noqa`` and ``type: ignore`` names its rule and says why."""
    text = (ROOT / path).read_text(encoding="utf-8")
    marks = re.findall(r"# (?:noqa|type: ignore)\b(?!`).*", text)
    reason = re.compile(r"# (?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])\s+\S.*")
    assert [mark for mark in marks if not reason.fullmatch(mark)] == []


def outline(page: str) -> list[str]:
    """The headings and options of a page, in order: what does not depend on click's wording."""
    return re.findall(r"^#+ .+|^  -.*?(?=  |$)", page, re.MULTILINE)


def test_the_reference_shows_every_command() -> None:
    """docs/commands.md has the commands and options that docs/commands.py finds."""
    page = runpy.run_path(str(ROOT / "docs/commands.py"))["page"]()
    assert outline((ROOT / "docs/commands.md").read_text(encoding="utf-8")) == outline(page)
