"""What a file says of a version: JSON, YAML or TOML, bounded before it is read.

Keys that a version has fields for become those; all others are metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mstore.errors import InvalidInputError

MAX_FILE = 1 << 20
MAX_YAML = 256 << 10
"""Bytes of YAML, which takes long to read."""

_TEXTS = ("task", "message", "author")
_TABLES = {
    "params": "params",
    "parameters": "params",
    "metrics": "metrics",
    "metadata": "metadata",
    "seeds": "seeds",
}
_SHOWN = 80


def read_description(path: Path) -> dict[str, Any]:
    """The arguments of ``Store.put`` that a file gives; its ending says how it is written.

    ``task``, ``message``, ``author``, ``tags``, ``datasets``, ``params`` (or ``parameters``),
    ``metrics``, ``seeds`` and ``metadata`` are known. InvalidInputError names a field of the wrong
    type, and says where a file breaks off.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise InvalidInputError(f"'{path}' has more than {MAX_FILE} bytes")
    read = {".toml": _read_toml, ".yaml": read_yaml, ".yml": read_yaml}.get(path.suffix, _read_json)
    try:
        found = read(content)
    except (ValueError, RecursionError) as error:
        form = read.__name__.rpartition("_")[2].upper()
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"'{path}' is not {form}: {reason}") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"'{path}' holds no table of names and values")
    return _arguments(found, str(path))


def _read_json(content: bytes) -> object:
    return json.loads(content)


def _read_toml(content: bytes) -> object:
    import tomllib  # noqa: PLC0415 - only when such a file is given

    return _plain(tomllib.loads(content.decode()))


def read_yaml(content: bytes) -> object:
    """Plain values only; ValueError says what is wrong.

    An alias, which can stand for any amount of text, is refused.
    """
    import yaml  # noqa: PLC0415 - only when such a file is given

    if len(content) > MAX_YAML:
        raise ValueError(f"it has more than {MAX_YAML} bytes")
    try:
        events = yaml.parse(content, Loader=yaml.SafeLoader)
        alias = next((event for event in events if isinstance(event, yaml.AliasEvent)), None)
        found = None if alias else _plain(yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if alias is not None:
        raise ValueError(f"the alias '*{alias.anchor}' is refused: write out what it stands for")
    return found


def _plain(value: object) -> object:
    """A value as JSON has it: dates and times are text."""
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool) or not isinstance(key, int | float):
        message = f"a name that is no text: {key!r}"
        raise ValueError(message)  # noqa: TRY004 - it is the file that is wrong
    return str(key)


def _arguments(found: Mapping[str, Any], label: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for key, value in found.items():
        if key in _TEXTS:
            arguments[key] = _of(str, key, value, label)
        elif key in _TABLES:
            arguments.setdefault(_TABLES[key], {}).update(_of(dict, key, value, label))
        elif key == "tags":
            arguments[key] = _names(key, value, label)
        elif key == "datasets":
            arguments[key] = _datasets(value, label)
        else:
            metadata[key] = value
    if metadata:
        arguments["metadata"] = {**metadata, **arguments.get("metadata", {})}
    return arguments


def _of(wanted: type, key: str, value: object, label: str) -> Any:  # noqa: ANN401 - as the file has it
    if not isinstance(value, wanted):
        noun = "a text" if wanted is str else "a table of names and values"
        shown = repr(value)[:_SHOWN]
        raise InvalidInputError(f"field '{key}' in '{label}' is {shown}, not {noun}")
    return value


def _names(key: str, value: object, label: str) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        shown = repr(value)[:_SHOWN]
        raise InvalidInputError(f"field '{key}' in '{label}' is {shown}, not a list of texts")
    return words


def _datasets(value: object, label: str) -> dict[str, Path | None]:
    """Names, or names with the paths of those that are at hand."""
    if not isinstance(value, dict):
        return dict.fromkeys(_names("datasets", value, label))
    return {
        name: None if path is None else _path(name, path, label) for name, path in value.items()
    }


def _path(name: str, value: object, label: str) -> Path:
    path: str = _of(str, f"datasets.{name}", value, label)
    return Path(path).expanduser()
