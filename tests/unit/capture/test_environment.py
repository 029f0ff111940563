"""What a version was made with: found without importing anything, and without secrets."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from mstore.capture import environment
from mstore.capture.environment import capture_environment, redacted
from mstore.errors import InvalidInputError


def test_it_says_what_it_ran_on() -> None:
    """Python, platform, processor, cores and memory are known on this machine."""
    found = capture_environment(["train"])
    assert found.python == f"CPython {sys.version.split()[0]}"
    assert found.platform.startswith(("Linux", "macOS"))
    assert found.hardware["cpu"]
    assert int(str(found.hardware["cores"])) >= 1
    assert int(str(found.hardware["memory_bytes"])) > 1 << 20
    assert found.command == ("train",)


def test_packages_are_those_that_importlib_finds() -> None:
    """Names and versions of all packages are those of the standard library's slow reader."""
    theirs: dict[str, str] = {}
    for found in metadata.distributions():
        name = str(found.metadata["Name"]).lower().replace("_", "-").replace(".", "-")
        theirs.setdefault(name, found.version)
    assert environment.packages() == theirs


def test_nothing_is_imported() -> None:
    """Finding everything loads no framework, and nothing of the packages that it names."""
    program = (
        "import sys; from mstore.capture.environment import capture_environment as find;"
        "found = find(); assert 'numpy' in found.packages; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert {"numpy", "torch", "importlib.metadata"}.isdisjoint(done.stdout.decode().split())


def test_the_seed_of_torch_is_known_once_it_is_there() -> None:
    """Torch's seed is recorded when torch is imported, beside the seeds that are said."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(17)
    assert capture_environment([], {"numpy": 3}).seeds == {"torch": 17, "numpy": 3}
    assert capture_environment([], {"torch": 4}).seeds == {"torch": 4}


@pytest.mark.parametrize("seed", [1.5, "3", True, None, 1 << 64, -(1 << 63) - 1])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    """A seed that is no whole number of 64 bits is refused by its name."""
    with pytest.raises(InvalidInputError, match="seed 'numpy' is"):
        capture_environment([], {"numpy": seed})


def test_the_drivers_processors_are_named(tmp_path: Path) -> None:
    """Graphics processors are read from what the driver writes of them."""
    for at, model in enumerate(("NVIDIA H200", "NVIDIA A100")):
        (tmp_path / f"0000:0{at}:00.0").mkdir()
        text = f"Model: \t\t {model}\nIRQ:   \t\t 5\n"
        (tmp_path / f"0000:0{at}:00.0/information").write_text(text, encoding="utf-8")
    assert environment._driver_gpus(tmp_path) == ["NVIDIA H200", "NVIDIA A100"]
    assert environment._driver_gpus(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("--token abc --lr 0.1", "--token *** --lr 0.1"),
        ("--password=p=w --lr=0.1", "--password=*** --lr=0.1"),
        ("-api_key k", "-api_key ***"),
        ("--authToken t --secretAccessKey=s", "--authToken *** --secretAccessKey=***"),
        ("WANDB_API_KEY=k HF_TOKEN=t train", "WANDB_API_KEY=*** HF_TOKEN=*** train"),
        ("logger.api_key=k model.layers=3", "logger.api_key=*** model.layers=3"),
        ("postgres://ada:pw@db/runs", "postgres://***@db/runs"),
        ("https://h/x?token=t&step=3", "https://h/x?token=***&step=3"),
        ('{"api_key":"k","lr":0.1}', '{"api_key":"***","lr":0.1}'),
        ("hf_abcdefghijklmnopqrst", "***"),
        ("--hub=hf_abcdefghijklmnopqrst", "--hub=***"),
        ("--use-auth-token --lr 0.1", "--use-auth-token --lr 0.1"),
        (
            "--max-tokens 100 --author ada --keyboard k",
            "--max-tokens 100 --author ada --keyboard k",
        ),
    ],
)
def test_secrets_are_left_out(given: str, kept: str) -> None:
    """The values of options, variables and fields that look like secrets are not kept."""
    assert redacted(given.split()) == tuple(kept.split())


def test_a_secret_may_have_spaces() -> None:
    """All of a secret's words go, not the first alone."""
    assert redacted(["--password", "two words"]) == ("--password", "***")
    assert redacted(["--password=two words"]) == ("--password=***",)
    assert redacted(["-H", "Authorization: Bearer abc"])[1].endswith("***")
    assert "abc" not in redacted(["-H", "Authorization: Bearer abc"])[1]
    assert redacted(["-c", "login(password='a b', n=3)"])[1] != "login(password='a b', n=3)"


def test_a_long_command_is_cut() -> None:
    """A command line of any length is kept up to its limits, and the cut is seen."""
    assert redacted(["x"] * 5_000)[-1] == "..."
    assert len(redacted(["x"] * 5_000)) == environment.MAX_WORDS + 1
    assert redacted(["a", "x" * (1 << 20)]) == ("a", "...")
    assert redacted(["caf\udce9"]) == ("caf?",)


def test_variables_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment variables comes into what is kept, whatever they are called."""
    monkeypatch.setenv("MODEL_NAME", "canary-8571")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-8572")
    assert "canary-857" not in repr(capture_environment())
