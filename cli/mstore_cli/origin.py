"""How a version was made, for people: its code, its environment and its training logs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mstore_cli import render

if TYPE_CHECKING:
    from mstore.objects import Environment
    from mstore.ops.describe import Shown
    from mstore.ops.records import CodeRow, LogSummary

_COMMIT = 7
"""Digits of a commit in one line, as git shows them."""
_SERIES = 6
"""Series of a log that are named in one line."""


def captured(shown: "Shown") -> Iterator[render.Part]:
    """Give one line each, for what was captured."""
    if shown.code is not None:
        yield _line("code", f"{_commit(shown.code)[:_COMMIT]} ({_state(shown.code)})")
    if shown.environment is not None:
        yield _line("environment", _environment(shown.environment))
    for log in shown.logs:
        yield _line("log", _log(log))


def details(shown: "Shown", *, code: bool, environment: bool) -> Iterator[render.Part]:
    """Give all that is known of the code, of the environment, or of both."""
    if code:
        yield from _code_details(shown.code)
    if environment:
        yield from _environment_details(shown.environment)


def _code_details(code: "CodeRow | None") -> Iterator[render.Part]:
    if code is None:
        yield "no code was captured"
        return
    yield f"commit {_commit(code)} ({_state(code)})"
    fields = ("remote", "folder", "tree")
    yield from (_line(name, getattr(code, name)) for name in fields if getattr(code, name))


def _environment_details(environment: "Environment | None") -> Iterator[render.Part]:
    if environment is None:
        yield "no environment was captured"
        return
    yield _line("python", environment.python)
    yield _line("platform", environment.platform)
    for name, value in sorted(environment.hardware.items()):
        yield _line(name, value if isinstance(value, str) else render.compact(value))
    if environment.command:
        yield _line("command", " ".join(environment.command))
    for name, seed in sorted(environment.seeds.items()):
        yield _line("seed", f"{name} = {seed}")
    yield from (f"  {name} {version}" for name, version in sorted(environment.packages.items()))


def _commit(code: "CodeRow") -> str:
    return code.commit or "nothing committed"


def _state(code: "CodeRow") -> str:
    dirty = f"patch {render.size(code.patch_bytes)}" if code.patch_bytes else "no patch"
    words = [code.branch or "no branch", *(["dirty", code.omitted or dirty] if code.dirty else [])]
    return ", ".join(words)


def _environment(environment: "Environment") -> str:
    hardware = environment.hardware
    gpus = hardware.get("gpus")
    words = [
        environment.python,
        f"{hardware['cores']} cores of {hardware['cpu']}" if "cpu" in hardware else "",
        ", ".join(map(str, gpus)) if isinstance(gpus, list) else "",
        render.count(len(environment.packages), "package") if environment.packages else "",
        ", ".join(f"seed {name}={seed}" for name, seed in sorted(environment.seeds.items())),
    ]
    return ", ".join(word for word in words if word)


def _log(log: "LogSummary") -> str:
    names = [series.name for series in log.series]
    more = f" and {len(names) - _SERIES} more" if len(names) > _SERIES else ""
    return f"{log.source}: {', '.join(names[:_SERIES])}{more}"


def _line(name: str, value: str) -> str:
    return f"{name:<16}{value}"
