"""Overviews for people: lists, curves and comparisons, in a pipe and on terminals."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_terminal import COLOUR, on_terminal

from mstore_cli.drawing import Line, draw, spark

HOSTILE = "red\x1b[31m\u202e"


@pytest.fixture
def trained(mstore: Any) -> Any:
    """The command beside a store with a model of three versions that got better."""
    mstore("init")
    for number, (accuracy, loss) in enumerate(((0.5, 2.0), (0.9, 0.4), (0.8, 0.6)), 1):
        path = mstore.write_model("lenet.safetensors", number)
        words = ["--metric", f"val/accuracy={accuracy}", "--metric", f"val/loss={loss}"]
        words += ["--metric", f"train/loss={loss / 2}", "--param", f"lr={0.1 / number}"]
        mstore("put", path, "--param", "batch=8", *words)
    return mstore


def test_list_shows_what_matters(trained: Any) -> None:
    """A list has the parameters, size, parent and best metric of the newest version."""
    headers, row = trained.lines("list")
    for header in ("PARAMS", "SIZE", "PARENT", "METRIC"):
        assert header in headers
    assert "2.37 k" in row
    assert "derived lenet@2" in row
    assert "val/accuracy 0.8" in row


def test_list_of_a_model_has_a_row_for_each_version(trained: Any) -> None:
    """With --name every version has a row, the best is marked, a parameter may be a column."""
    headers, *rows = trained.lines("list", "--name", "lenet", "--column", "lr", "--stored")
    assert [row.split()[0] for row in rows] == ["lenet@3", "lenet@2", "lenet@1"]
    assert [row.split()[0] for row in rows if "0.9 *" in row] == ["lenet@2"]
    assert "STORED" in headers
    at = headers.index("LR")
    assert [row[: at + 2].split()[-1] for row in rows] == ["0.03333", "0.05", "0.1"]


@pytest.mark.parametrize("command", ["list", "log"])
def test_lists_are_sorted(trained: Any, command: str) -> None:
    """List and log are sorted by a metric, both ways; an unknown column is an error."""
    words = ("list", "--name", "lenet") if command == "list" else ("log", "lenet")
    up = trained.lines(*words, "--sort", "val/accuracy")[1:]
    down = trained.lines(*words, "--sort", "val/accuracy", "--reverse")[1:]
    assert [row.split()[0] for row in up] == ["lenet@1", "lenet@3", "lenet@2"]
    assert [row.split()[0] for row in down] == ["lenet@2", "lenet@3", "lenet@1"]
    failed = trained(*words, "--sort", "f1", code=2)
    assert "no row has 'f1' to sort by" in failed.stderr
    assert "val/accuracy" in failed.stderr


def test_a_sorted_graph_is_refused(trained: Any) -> None:
    """A graph has an order of its own."""
    trained("log", "lenet", "--graph", "--sort", "time", code=2)


def test_curves_are_drawn_with_their_best_step(trained: Any) -> None:
    """Train and val are drawn over each other; the table says where each is best."""
    lines = trained.lines("curves", "lenet", "--metric", "loss")
    assert lines[0] == "loss by version"
    picture = lines[1:14]
    assert sum("|" in line for line in picture) == 12
    assert "b" in "".join(picture)
    assert any("\u2801" <= character <= "\u28ff" for character in "".join(picture))
    rows = [line.split() for line in lines[15:]]
    assert rows == [
        ["a", "lenet", "train/loss", "0.2", "2", "0.3", "3"],
        ["b", "lenet", "val/loss", "0.4", "2", "0.6", "3"],
    ]


def test_curves_without_braille_are_drawn_with_letters(trained: Any) -> None:
    """Where stdout knows ASCII only, a curve is drawn with its letter."""
    del trained
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    line = [sys.executable, "-m", "mstore_cli", "curves", "lenet", "--metric", "val/accuracy"]
    done = subprocess.run(line, env=environment, capture_output=True, check=True)
    text = done.stdout.decode("ascii")
    assert text.count("a") > 20
    assert "A" in text


@pytest.mark.parametrize("width", [60, 100, 200])
@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--name", "lenet", "--stored"),
        ("log", "lenet"),
        ("curves", "lenet"),
        ("compare", "lenet@1", "lenet@2", "lenet@3"),
        ("show", "lenet", "--histograms"),
    ],
    ids=" ".join,
)
def test_overviews_fit_the_terminal(trained: Any, words: tuple[str, ...], width: int) -> None:
    """Tables and curves are no wider than the terminal; what is left out is named."""
    del trained
    text = COLOUR.sub("", on_terminal(*words, COLUMNS=str(width))[0])
    hashes = re.compile(r"[0-9a-f]{64}")
    lines = [line for line in text.splitlines() if not hashes.search(line)]
    assert max(map(len, lines)) <= width
    if words[0] in ("list", "log"):
        assert ("too narrow for" in text) == (width < 200)


@pytest.mark.parametrize("settings", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_curves_without_colour(trained: Any, settings: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal get no colours, and the same curves."""
    coloured, _ = on_terminal("curves", "lenet", COLUMNS="80")
    plain, _ = on_terminal("curves", "lenet", COLUMNS="80", **settings)
    piped = trained("curves", "lenet").stdout
    assert "\x1b[36m" in coloured
    assert "\x1b[3" not in plain
    assert [line.rstrip() for line in COLOUR.sub("", coloured).splitlines()] == [
        line.rstrip() for line in COLOUR.sub("", plain).splitlines()
    ]
    assert piped.splitlines() == [line.rstrip() for line in COLOUR.sub("", plain).splitlines()]


def test_compare_marks_the_best_of_each_row(trained: Any) -> None:
    """The best of each metric is marked, differences stand in a table, the rest in one line."""
    text = trained("compare", "lenet@1", "lenet@2", "lenet@3").stdout
    assert re.search(r"^val/accuracy +0\.5 +\* 0\.9 +0\.8$", text, re.MULTILINE)
    assert re.search(r"^val/loss +2 +\* 0\.4 +0\.6$", text, re.MULTILINE)
    assert re.search(r"^lr +0\.1 +0\.05 +0\.0333", text, re.MULTILINE)
    assert "the same: batch = 8" in text


def test_compare_on_a_data_set(trained: Any) -> None:
    """With --on only what was measured on a data set counts; an unknown one names the known."""
    for number, value in ((1, 0.7), (2, 0.6)):
        words = ("--dataset", "cats", "--metric", f"accuracy={value}")
        trained("note", f"lenet@{number}", *words)
    text = trained("compare", "lenet@1", "lenet@2", "--on", "cats").stdout
    assert re.search(r"^accuracy +cats +\* 0\.7 +0\.6$", text, re.MULTILINE)
    assert "val/loss" not in text
    failed = trained("compare", "lenet@1", "--on", "dogs", code=3)
    assert "there is: cats" in failed.stderr


def test_show_has_layers_that_add_up(trained: Any) -> None:
    """The last line of the layers is the number of all parameters."""
    text = trained("show", "lenet").stdout
    assert re.search(r"^parameters +2,368$", text, re.MULTILINE)
    assert re.search(r"^body +1 +2,048 +8\.0 KiB +86\.5 %$", text, re.MULTILINE)
    assert re.search(r"^total +2 +2,368 ", text, re.MULTILINE)


def test_show_draws_how_weights_are_spread(trained: Any) -> None:
    """With --histograms each tensor has its figures and a row of blocks."""
    text = trained("show", "lenet", "--histograms").stdout
    assert re.search(r"^body +F32 +64x32 .* 0 %  [ ▁▂▃▄▅▆▇█]{15,20}$", text, re.MULTILINE)


def test_overviews_cannot_steer_the_terminal(trained: Any) -> None:
    """Hostile metrics, parameters and messages are escaped in every overview."""
    words = ["--metric", f"{HOSTILE}=1", "--param", f"{HOSTILE}={HOSTILE}", "-m", HOSTILE]
    for seed in (7, 8):
        trained(
            "put", trained.write_model("evil.safetensors", seed), *words, "--tag", f"evil{seed}"
        )
    for line in (
        ("list", "--column", HOSTILE),
        ("log", "evil"),
        ("show", "evil"),
        ("curves", "evil"),
        ("compare", "evil@1", "evil@2"),
    ):
        text = trained(*line).stdout
        assert "\x1b" not in text
        assert "\u202e" not in text
        terminal, _ = on_terminal(*line, COLUMNS="300")
        assert "\x1b[31m\u202e" not in terminal
        assert "\u202e" not in terminal


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--name", "lenet"),
        ("show", "lenet"),
        ("curves", "lenet"),
        ("compare", "lenet@1", "lenet@2"),
        ("diff", "lenet@1", "lenet@2"),
        ("lineage", "lenet@2"),
        ("lineage", "--infer"),
        ("list", "--graph"),
    ],
    ids=" ".join,
)
def test_a_page_is_written_whole_or_not_at_all(trained: Any, words: tuple[str, ...]) -> None:
    """--html writes one page, says where, and leaves what stands there unless --force is given."""
    assert trained.lines(*words, "--html", "out.html")[-1].endswith("out.html")
    page = Path("out.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    Path("out.html").write_text("mine", encoding="utf-8")
    assert "exists" in trained(*words, "--html", "out.html", code=4).stderr
    assert Path("out.html").read_text(encoding="utf-8") == "mine"
    trained(*words, "--html", "out.html", "--force")
    assert Path("out.html").read_text(encoding="utf-8") == page


def test_a_page_of_a_stripped_version_has_no_histograms(trained: Any) -> None:
    """A version without its bytes still has a page; asking for its histograms is an error."""
    trained("strip", "--keep", "lenet@3", "--yes")
    trained("gc", "--now")
    trained("gc", "--now")
    trained("show", "lenet@1", "--html", "out.html")
    page = Path("out.html").read_text(encoding="utf-8")
    assert 'class="spread"' not in page
    assert "stripped" in page
    trained("show", "lenet@1", "--histograms", code=3)


def test_json_of_overviews(trained: Any) -> None:
    """What overviews say as JSON fits their schemas and agrees with each other."""
    rows = trained.json("list", "--name", "lenet", "--stored", "--sort", "val/loss")["models"]
    assert [row["number"] for row in rows] == [2, 3, 1]
    assert all(row["stored_bytes"] > 0 for row in rows)
    curves = trained.json("curves", "lenet", "--html", "a.html")
    assert Path(curves["html"]).is_file()
    best = {curve["metric"]: curve["steps"][curve["best"]] for curve in curves["curves"]}
    assert best == {"val/accuracy": 2, "val/loss": 2, "train/loss": 2}
    compared = trained.json("compare", "lenet@1", "lenet@2")
    assert [version["label"] for version in compared["versions"]] == ["lenet@1", "lenet@2"]
    shown = trained.json("show", "lenet", "--histograms")
    assert sum(layer["parameter_count"] for layer in shown["layers"]) == shown["parameter_count"]
    assert {spread["elements"] for spread in shown["spreads"].values()} == {2048, 320}


def test_curves_that_do_not_change_are_drawn() -> None:
    """Equal values, one point and no finite value are drawn too, or said."""
    point = Line("a", [(1.0, 2.0)], (1.0, 2.0))
    flat = Line("b", [(1.0, 2.0), (5.0, 2.0)], None)
    drawn = list(draw([point, flat], 40, 5, braille=True))
    assert len(drawn) == 6
    nothing = Line("a", [(1.0, float("nan"))], None)
    assert list(draw([nothing], 40, 5, braille=True)) == [[("no finite value", "")]]


def test_a_histogram_in_blocks() -> None:
    """The highest bin is a full block, an empty one a space, nothing is nothing."""
    assert spark([0, 1, 8, 0], 4) == " ▁█"
    assert spark([], 4) == ""
    assert spark([5], 3) == "█"
