"""Times and values as text."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mstore.report.numbers import number

if TYPE_CHECKING:
    from mstore.objects import Value


def shown_time(microseconds: int) -> str:
    """A time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(microseconds / 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"


def shown_value(value: "Value") -> str:
    """A parameter or a metadata value as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)
