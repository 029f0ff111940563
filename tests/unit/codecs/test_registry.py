"""The table of codecs, and codecs that other packages bring."""

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mstore import codecs
from mstore.codecs import by_name, codec, names, raw, split_float
from mstore.errors import UnsupportedError

GUIDE = Path(__file__).parent.parent.parent.parent / "CONTRIBUTING.md"
ENTRY_POINTS = "[mstore.codecs]\ntwins = zlib_codec\n"
METADATA = "Metadata-Version: 2.1\nName: zlib-codec\nVersion: 1.0\n"
SUITE = '''
import zlib_codec
from mstore.testing.codecs import CodecTests


class TestZlib(CodecTests):
    """The codec of a plugin."""

    codec = zlib_codec
'''


def example() -> str:
    """The plugin that CONTRIBUTING.md shows: what is indented below its file name."""
    text = GUIDE.read_text(encoding="utf-8").partition("`zlib_codec.py`:\n\n")[2]
    lines = itertools.takewhile(lambda line: not line or line[0] == " ", text.splitlines())
    return textwrap.dedent("\n".join(lines))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with an installed package that brings one codec."""
    (tmp_path / "zlib_codec.py").write_text(example())
    described = tmp_path / "zlib_codec-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(METADATA)
    (described / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def test_the_table_gives_a_codec_by_its_code_and_name() -> None:
    """Codecs are found by the code of a pack row and by the name in SPEC."""
    assert codec(0) is by_name("raw") is raw
    assert codec(2) is by_name("split-float") is split_float
    assert names()[:6] == ["raw", "zstd", "split-float", "pco", "delta-pco", "sparse"]


@pytest.mark.parametrize("code", [7, 127, 128, 255])
def test_an_unknown_codec_is_unsupported(code: int) -> None:
    """A code that this build does not know is named in the error, with what to do."""
    with pytest.raises(UnsupportedError, match=f"codec '{code}'") as caught:
        codec(code)
    assert ("install" if code >= 128 else "upgrade") in str(caught.value.hint)


def test_an_unknown_name_is_unsupported() -> None:
    """A name that this build does not know is answered with those that it knows."""
    with pytest.raises(UnsupportedError, match=r"'nosuch'.*split-float"):
        by_name("nosuch")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec whose package is not installed says which one it needs."""
    for module in ("_pcodec", "pco"):
        monkeypatch.delitem(sys.modules, f"mstore.codecs.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "pcodec", None)
    with pytest.raises(UnsupportedError, match="codec 'pco' needs the package 'pcodec'") as caught:
        codecs._load("pco")
    assert caught.value.hint == "pip install pcodec"


def test_a_plugin_is_found(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec of a package that names it as an entry point encodes and is read by its code."""
    monkeypatch.delitem(sys.modules, "zlib_codec", raising=False)
    with pytest.raises(UnsupportedError):
        codec(200)
    monkeypatch.syspath_prepend(plugin)
    found = by_name("zlib")
    stored = found.encode(bytes(600))
    assert stored is not None
    assert codec(200) is found
    assert codecs.decode(200, stored, 600) == bytes(600)
    assert names()[-1] == "zlib"
    codec.cache_clear()


def test_a_plugin_may_not_take_a_code_of_ours(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package whose codec has a reserved code is passed over."""
    text = (plugin / "zlib_codec.py").read_text()
    (plugin / "zlib_codec.py").write_text(text.replace("CODE = 200", "CODE = 100"))
    monkeypatch.delitem(sys.modules, "zlib_codec", raising=False)
    monkeypatch.syspath_prepend(plugin)
    assert "zlib" not in names()
    with pytest.raises(UnsupportedError):
        codec(100)


def test_a_plugin_passes_the_suite_by_inheriting_it(plugin: Path) -> None:
    """Three lines of a plugin's tests hold its codec to all that ours are held to."""
    (plugin / "test_zlib.py").write_text(SUITE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_zlib.py"],
        cwd=plugin, env={"PYTHONPATH": ":".join([str(plugin), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def test_opening_the_table_loads_no_arrays() -> None:
    """Neither the library nor its table of codecs loads NumPy or pcodec before they are needed."""
    program = (
        "import sys, mstore, mstore.codecs; mstore.codecs.codec(1);"
        "print({'numpy', 'pcodec'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "set()"
