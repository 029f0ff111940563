"""The fuzz targets on their corpus, on what hypothesis makes of it, and on random bytes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

FUZZ = Path(__file__).parent.parent.parent / "fuzz"
CORPUS = FUZZ / "corpus"


def load_targets() -> dict[str, Callable[[bytes], None]]:
    """The table in ``fuzz/targets.py``, which is no package."""
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TARGETS


TARGETS = load_targets()
SEEDS = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """Every seed and every past find passes its target."""
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed.read_bytes())


def test_every_corpus_has_its_target() -> None:
    """No folder of the corpus is left over from a target that is gone."""
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes(name: str) -> None:
    """Random bytes pass every target."""

    @given(st.binary(max_size=512))
    def check(content: bytes) -> None:
        TARGETS[name](content)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name: str) -> None:
    """A seed with a piece replaced by other bytes passes its target."""
    contents = st.sampled_from([seed.read_bytes() for seed in SEEDS[name]])

    @given(contents, st.integers(0, 1 << 16), st.integers(0, 4), st.binary(max_size=8))
    def check(content: bytes, place: int, length: int, piece: bytes) -> None:
        start = place % (len(content) + 1)
        TARGETS[name](content[:start] + piece + content[start + length :])

    check()
