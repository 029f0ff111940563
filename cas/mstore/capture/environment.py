"""What a version was made with beside its source: Python, packages, machine, command, seeds.

Nothing is imported to find out, and no environment variable is ever looked at. What does not change
while a program runs is found once.
"""

import functools
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mstore.errors import InvalidInputError
from mstore.objects import Environment, Value

MAX_PACKAGES = 5_000
MAX_WORDS = 1_000
MAX_COMMAND = 64 << 10
"""Characters of a command line that are kept."""
HIDDEN = "***"
"""What stands for a value that could be a secret."""

_MAX_TEXT = 1 << 20
_MAX_SEED = (1 << 64) - 1
_MIN_SEED = -(1 << 63)
_GPUS = Path("/proc/driver/nvidia/gpus")
_MAX_GPUS = 64
_SECRET = re.compile(
    r"(?:^|[-_.])(?:pass(?:word|wd|phrase)?|pwd|secrets?|token|(?:api|access|private|secret|auth)"
    r"[-_]?keys?|credentials?|auth|authorization|bearer|cookie|dsn|sas)(?:$|[-_.])",
    re.IGNORECASE,
)
"""The name of an option, a variable or a field whose value nobody else should see."""
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TOKEN = re.compile(
    r"^(?:gh[oprsu]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|hf_\w{16,}|sk-[\w-]{16,}|"
    r"xox[abprs]-[\w-]{8,}|AKIA\w{12,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)$",
    re.ASCII,
)
"""A word that is a secret whatever stands before it: what well-known services hand out."""
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s@]{1,1000}@", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,9}[\w+/=.~-]+", re.IGNORECASE)
_PAIR = re.compile(r"([\w.-]{1,64})([\"']?\s{0,9}[=:](?!//)\s{0,9}[\"']?)([^&\s\"',;})]+)")
"""A name and its value somewhere in a word: in the query of an address, in JSON, in a program.

What is repeated is bounded, so that a long word takes a time in proportion to its length.
"""


def capture_environment(
    command: Sequence[str] | None = None, seeds: Mapping[str, int] | None = None
) -> Environment:
    """What this program runs on and with; ``command`` is its own command line if not given.

    Values that look like secrets are left out of the command line. ``seeds`` are what the caller
    says of them, with that of torch when it is imported. InvalidInputError names a seed that is no
    whole number of 64 bits.
    """
    return Environment(
        python=_python(),
        platform=platform.platform(),
        packages=packages(),
        hardware=hardware(),
        command=redacted(_own_command() if command is None else command),
        seeds={**_torch_seed(), **checked_seeds(seeds or {})},
    )


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _own_command() -> list[str]:
    return list(getattr(sys, "orig_argv", None) or sys.argv)


@functools.cache
def _packages(places: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for place in places:
        for name, version in _distributions(place):
            # As for an import, the first place that has it counts.
            found.setdefault(name, version)
            if len(found) >= MAX_PACKAGES:
                return found
    return found


def packages() -> dict[str, str]:
    """The version of every installed package by its normal name; found once for each path.

    Only the names of folders are read: 0.8 ms for 56 packages, where ``importlib.metadata`` takes
    47 ms (docs/decisions/0014-capture.md).
    """
    return dict(_packages(tuple(dict.fromkeys(place or "." for place in sys.path))))


def _distributions(place: str) -> Iterator[tuple[str, str]]:
    """The packages that are installed in one folder of ``sys.path``."""
    with suppress(OSError):
        for name in sorted(os.listdir(place)):  # noqa: PTH208 - names are wanted, not paths
            stem, dot, ending = name.rpartition(".")
            if dot and ending in {"dist-info", "egg-info"}:
                found, _, version = stem.partition("-")
                if found and version:
                    kept = _valid(re.sub(r"[-_.]+", "-", found).lower())
                    yield kept, _valid(version.split("-py")[0])


@functools.cache
def _machine() -> dict[str, Value]:
    found: dict[str, Value] = {
        "architecture": platform.machine(),
        "cores": _cores(),
        "cpu": _cpu(),
    }
    memory = _memory()
    if memory:
        found["memory_bytes"] = memory
    return found


def hardware() -> dict[str, Value]:
    """What the machine has: ``cpu``, ``cores`` this program may use, ``memory_bytes``, ``gpus``."""
    found = dict(_machine())
    gpus: list[Value] = [*_gpus()]
    if gpus:
        found["gpus"] = gpus
    return found


def _cores() -> int:
    with suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model", "cpu model"}:
            return value.strip()
    return platform.processor()


def _memory() -> int:
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def _lines(path: Path) -> Iterator[str]:
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        yield from file.read(_MAX_TEXT).splitlines()


def _gpus() -> list[str]:
    """The names of the graphics processors: of the driver, else those that torch computes on."""
    return _driver_gpus(_GPUS) or _torch_gpus()


def _driver_gpus(folder: Path) -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        for place in sorted(folder.iterdir())[:_MAX_GPUS]:
            for line in _lines(place / "information"):
                key, _, value = line.partition(":")
                if key.strip() == "Model":
                    found.append(value.strip())
    return found


def _torch_gpus() -> list[str]:
    """Asked only once torch computes on them: to ask earlier would break what forks later."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    return [str(cuda.get_device_name(at)) for at in range(min(cuda.device_count(), _MAX_GPUS))]


def _torch_seed() -> dict[str, int]:
    """The seed that torch's generator was last given; drawn by chance where nobody gave one."""
    initial_seed = getattr(sys.modules.get("torch"), "initial_seed", None)
    return {} if initial_seed is None else {"torch": int(initial_seed())}


def checked_seeds(seeds: Mapping[str, int]) -> dict[str, int]:
    """The seeds themselves; InvalidInputError names one that is no whole number of 64 bits."""
    for name, seed in seeds.items():
        if type(seed) is not int or not _MIN_SEED <= seed <= _MAX_SEED:
            raise InvalidInputError(f"seed '{name}' is {seed!r}, not a whole number of 64 bits")
    return dict(seeds)


def redacted(words: Iterable[str]) -> tuple[str, ...]:
    """A command line with ``***`` for the values of options that look like secrets.

    So are passwords in addresses, and words that well-known services hand out as tokens. What is
    too long is cut.
    """
    kept: list[str] = []
    hides, room = False, MAX_COMMAND
    for word in words:
        if len(kept) >= MAX_WORDS or len(word) > room:
            kept.append("...")
            break
        hidden = hides and not word.startswith("--")
        shown = HIDDEN if hidden else _without_secrets(word)
        hides = not hidden and _asks_for_secret(word)
        room -= len(word)
        kept.append(_valid(shown))
    return tuple(kept)


def _asks_for_secret(word: str) -> bool:
    """Whether the word is an option such as ``--token``, whose value is the next word."""
    return word.startswith("-") and "=" not in word and _is_secret(word.lstrip("-"))


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(_CAPITAL.sub("-", name)))


def _without_secrets(word: str) -> str:
    name, equals, _ = word.partition("=")
    if equals and name and _is_secret(name.lstrip("-")):
        return f"{name}={HIDDEN}"
    if _TOKEN.fullmatch(word):
        return HIDDEN
    word = _IN_ADDRESS.sub(rf"\1{HIDDEN}@", word)
    word = _SCHEME.sub(rf"\1 {HIDDEN}", word)
    return _PAIR.sub(_hidden_pair, word)


def _hidden_pair(found: re.Match[str]) -> str:
    name, equals, value = found.groups()
    hidden = _is_secret(name.lstrip("-")) or _TOKEN.fullmatch(value)
    return f"{name}{equals}{HIDDEN}" if hidden else found[0]


def _valid(text: str) -> str:
    """The text as UTF-8 can say it: bytes of the command line that are none become ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
