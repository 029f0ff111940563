"""What frameworks say of a training, as numbers and as values that a version can keep."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Final, SupportsFloat

from mstore.objects import Value

MAX_TEXT: Final = 1000
"""Characters of a parameter that is no number; longer ones are cut."""
MAX_LEVELS: Final = 8


def numbers(said: Mapping[str, object]) -> dict[str, float]:
    """Those of some results that are numbers, also where a framework wraps them."""
    return {
        str(name): found for name, value in said.items() if (found := _number(value)) is not None
    }


def _number(value: object) -> float | None:
    if isinstance(value, str | bytes | bool) or not isinstance(value, SupportsFloat):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        # An array of several numbers is no result.
        return None


def plain(value: object, level: int = 0) -> Value:
    """A parameter as JSON: what is neither is said in words."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | PurePath):
        return str(value)[:MAX_TEXT]
    if isinstance(value, Mapping) and level < MAX_LEVELS:
        return {str(key): plain(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and level < MAX_LEVELS:
        return [plain(item, level + 1) for item in value]
    number = _number(value)
    return str(value)[:MAX_TEXT] if number is None else number
