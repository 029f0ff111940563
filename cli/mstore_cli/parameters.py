"""The kinds of words a command takes: models, revisions and ``key=value`` pairs.

Models and revisions complete from the store at hand.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mstore import Store

Scalar = None | bool | int | float | str


class ModelName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """The name of a model."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 (click's signature)
        incomplete: str,
    ) -> "list[CompletionItem]":
        """Complete from the store; one that is not there or not readable completes nothing."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (only while completing)

        from mstore.errors import MstoreError  # noqa: PLC0415 (as above)

        try:
            store = _store(ctx)
            names = [] if store is None else sorted(self.names(store, incomplete))
        except (MstoreError, OSError):
            names = []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    def names(self, store: "Store", incomplete: str) -> Iterable[str]:  # noqa: ARG002 (click)
        """Give the names that may be meant."""
        return [row.name for row in store.models()]


class Revision(ModelName):
    """A revision: a model, NAME@N, NAME~N, a tag or a hash."""

    name = "rev"

    def names(self, store: "Store", incomplete: str) -> Iterable[str]:
        """Give models and tags; after ``@`` the numbers of that model."""
        model, at, _ = incomplete.partition("@")
        if at:
            return [f"{model}@{row.number}" for row in store.log(model)]
        return [*(row.name for row in store.models()), *store.tags()]


class TagName(ModelName):
    """The name of a tag."""

    name = "tag"

    def names(self, store: "Store", incomplete: str) -> Iterable[str]:  # noqa: ARG002 (click)
        """Give the tags of the store."""
        return list(store.tags())


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """``key=value``; the value is a JSON scalar, or else text."""

    name = "k=v"

    def convert(
        self,
        value: Any,  # noqa: ANN401 (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, Any]:
        """Split at the first ``=``."""
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"'{value}' is not of the form key=value", param, ctx)
        try:
            return key, self.parse(text)
        except ValueError as error:
            self.fail(f"{key}: {error}", param, ctx)

    def parse(self, text: str) -> Scalar:
        """Read the value; ValueError says what is wrong with it."""
        return parse_scalar(text)


class Metric(Pair):
    """``key=number``, or a number with a unit."""

    def parse(self, text: str) -> float | str:
        """Read the number; ``nan`` and ``inf`` are numbers too. The store reads units."""
        with suppress(ValueError):
            return float(text)
        from mstore.units import parse_quantity  # noqa: PLC0415 (only when it has a unit)

        parse_quantity(text)
        return text


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A number with a unit, such as ``200ms`` or ``1GHz``; given in the base unit of its kind."""

    def __init__(self, kind: str) -> None:
        self.name = kind
        self._kind = kind

    def convert(
        self,
        value: Any,  # noqa: ANN401 (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Read the number; a unit of another kind is refused, and so is none."""
        from mstore.errors import InvalidInputError  # noqa: PLC0415 (only when one is given)
        from mstore.units import parse_quantity  # noqa: PLC0415 (as above)

        if isinstance(value, float):
            return value
        try:
            quantity = parse_quantity(value)
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)
        if quantity.kind != self._kind or not quantity.value > 0:
            self.fail(f"'{value}' is not a number of {self._kind}", param, ctx)
        return quantity.value


class Seed(Pair):
    """``key=whole number``."""

    def parse(self, text: str) -> int:
        """Read the number."""
        with suppress(ValueError):
            return int(text)
        message = f"'{text}' is not a whole number"
        raise ValueError(message)


class Levels(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Numbers of bits with commas between them."""

    name = "bits"

    def convert(
        self,
        value: Any,  # noqa: ANN401 (click's signature)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, ...]:
        """Read the numbers; the store says whether they make sense."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not of the form 8,16", param, ctx)


def parse_scalar(text: str) -> Scalar:
    """Read a JSON scalar: ``0.1``, ``3``, ``true``, ``null``, ``"3"``; anything else is text."""
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def collect(
    _: click.Context, param: click.Parameter, pairs: Iterable[tuple[str, Any]]
) -> dict[str, Any]:
    """Turn the pairs of a repeated option into a dict; each key once."""
    collected: dict[str, Any] = {}
    for key, value in pairs:
        if key in collected:
            message = f"'{key}' is given twice"
            raise click.BadParameter(message, param=param)
        collected[key] = value
    return collected


def read_metadata(
    _: click.Context, param: click.Parameter, path: Path | None
) -> dict[str, Any] | None:
    """Read the JSON object in the file."""
    if path is None:
        return None
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        message = f"'{path}' is not JSON: {error}"
        raise click.BadParameter(message, param=param) from error
    if not isinstance(value, dict):
        message = f"'{path}' holds no JSON object"
        raise click.BadParameter(message, param=param)
    return value


def _store(ctx: click.Context) -> "Store | None":
    from mstore_cli.place import open_existing  # noqa: PLC0415 (only while completing)

    above = ctx.parent.params if ctx.parent else {}
    given: Path | None = ctx.params.get("store") or above.get("store")
    return open_existing(given)
