"""What fields of a version mean: their type, unit and range; pure.

Some are built in; a team adds its own in a TOML file, one table for each field, whose name may be a
pattern such as ``*/accuracy``. Of several fields that fit a name the team's count first, then the
earlier. Values are kept in the base unit of their type, so that they compare.
"""

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, SupportsFloat, get_args

from msgspec import Struct, structs

from mstore.errors import InvalidInputError
from mstore.objects import Value
from mstore.units import UnitKind, find_unit, format_quantity, parse_quantity

FieldType = Literal[
    "number",
    "integer",
    "text",
    "boolean",
    "choice",
    "fraction",
    "bytes",
    "seconds",
    "hertz",
    "operations",
    "operations/s",
    "watts",
    "joules",
]
Direction = Literal["", "higher", "lower"]

SCHEMA_MODEL: Final = "mstore/schema"
"""The name that a store keeps its schema under; ``list`` leaves it out."""
MAX_FILE: Final = 1 << 20
MAX_FIELDS: Final = 1_000
MAX_NAME: Final = 256

_UNITS: Final[Mapping[str, UnitKind]] = {
    "fraction": "fraction",
    "bytes": "bytes",
    "seconds": "seconds",
    "hertz": "hertz",
    "operations": "operations",
    "operations/s": "operations/s",
    "watts": "watts",
    "joules": "joules",
}
"""The types that are quantities, and what they measure."""
_SHOWN: Final = 80
_PERCENT: Final = 100


class Field(Struct, frozen=True):
    """One field, or all whose names fit the pattern ``name``.

    ``minimum`` and ``maximum`` are in base units and belong to the range. A plain number is read in
    ``unit``, the base unit if that is empty. ``direction`` says which values are the better ones.
    """

    name: str
    type: FieldType
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    direction: Direction = ""
    description: str = ""
    built_in: bool = False


def _built_in(
    names: str,
    type_: FieldType,
    description: str,
    direction: Direction = "",
    *,
    minimum: float | None = 0,
    maximum: float | None = None,
) -> list[Field]:
    return [
        Field(
            pattern,
            type_,
            minimum=minimum,
            maximum=maximum,
            direction=direction,
            description=description,
            built_in=True,
        )
        for name in names.split()
        for pattern in (name, f"*/{name}")
    ]


BUILT_IN: Final[tuple[Field, ...]] = (
    *_built_in("accuracy acc top1 top5", "fraction", "share of right answers", "higher", maximum=1),
    *_built_in("precision recall f1", "fraction", "quality of a classifier", "higher", maximum=1),
    *_built_in("auc iou", "fraction", "quality of a ranking or a detector", "higher", maximum=1),
    *_built_in("error_rate", "fraction", "share of wrong answers", "lower", maximum=1),
    *_built_in("loss", "number", "what training makes smaller", "lower", minimum=None),
    *_built_in("perplexity", "number", "exponential of the mean loss of a token", "lower"),
    *_built_in("memory memory_bytes", "bytes", "memory while it runs", "lower"),
    *_built_in("latency latency_seconds", "seconds", "time of one answer", "lower"),
    *_built_in("flops", "operations", "floating-point operations of one answer", "lower"),
    *_built_in("energy", "joules", "energy of one answer", "lower"),
    *_built_in("throughput", "number", "answers a second", "higher"),
    *_built_in("lr learning_rate", "number", "step width of the optimiser"),
    *_built_in("weight_decay momentum", "number", "setting of the optimiser"),
    *_built_in("dropout", "fraction", "share of activations left out", maximum=1),
    *_built_in("epochs epoch", "number", "passes over the training data"),
    *_built_in("batch_size", "integer", "examples of one step", minimum=1),
    *_built_in("steps", "integer", "steps of the optimiser"),
)
"""Fields that every store knows; a team's field of the same name comes before them."""


class Schema(Struct, frozen=True):
    """The fields of a store, a team's before the built-in ones."""

    fields: tuple[Field, ...] = BUILT_IN

    def find(self, name: str) -> Field | None:
        """The field that a name belongs to; an exact name comes before a pattern."""
        exact = next((field for field in self.fields if field.name == name), None)
        if exact is not None:
            return exact
        return next((field for field in self.fields if fnmatchcase(name, field.name)), None)

    def values(self, values: Mapping[str, Value], where: str) -> dict[str, Value]:
        """The values in base units; InvalidInputError names a field that breaks its declaration.

        ``where`` says what they are: "metric", "parameter", "metadata".
        """
        checked: dict[str, Value] = {}
        for name, value in values.items():
            field = self.find(name)
            # What holds more than one value is something of the user's own by that name.
            is_own = isinstance(value, dict | list) and field is not None and field.built_in
            found = value if field is None or is_own else check_value(field, name, value, where)
            checked[name] = found
        return checked

    def metrics(self, values: Mapping[str, object]) -> dict[str, float]:
        """Metrics in base units; what has no field may be any number, with any unit."""
        checked: dict[str, float] = {}
        for name, value in values.items():
            field = self.find(name)
            plain = Field("", "number") if field is None else field
            number = _any_quantity(value) if field is None else _plain_number(value)
            found = check_value(plain, name, number, "metric")
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise _refusal(plain, name, found, "metric")
            checked[name] = float(found)
        return checked

    def require(self, names: Sequence[str]) -> None:
        """InvalidInputError names a required field that none of ``names`` is."""
        for field in self.fields:
            if field.required and not any(fnmatchcase(name, field.name) for name in names):
                raise InvalidInputError(
                    f"field '{field.name}' is missing: the schema of this store requires it",
                    hint="see its fields: mstore schema show",
                )


def check_value(field: Field, name: str, value: Value, where: str) -> Value:
    """The value in the base unit of its field; InvalidInputError when it is not of its type.

    NaN and infinities are numbers, and in every range: they are results too. None stands for
    nothing said.
    """
    if value is None:
        return None
    fits = {
        "text": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "choice": value in field.choices,
    }.get(field.type)
    if fits is None:
        return _check_number(field, name, value, where)
    if not fits:
        raise _refusal(field, name, value, where)
    return value


def _check_number(field: Field, name: str, value: Value, where: str) -> int | float:
    number = _read_number(field, value)
    if number is None:
        raise _refusal(field, name, value, where)
    if not math.isfinite(number):
        return number
    low, high = field.minimum, field.maximum
    is_whole = field.type != "integer" or number == int(number)
    if not is_whole or (low is not None and number < low) or (high is not None and number > high):
        raise _refusal(field, name, value, where)
    return int(number) if field.type == "integer" else number


def _read_number(field: Field, value: Value) -> int | float | None:
    """The number in base units, whether it came as one or as text with a unit; None if neither."""
    kind = _UNITS.get(field.type, "")
    number: Value = value
    if isinstance(value, str):
        try:
            quantity = parse_quantity(value)
        except InvalidInputError:
            return None
        if quantity.kind:
            return quantity.value if quantity.kind == kind else None
        number = quantity.value
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    if field.unit and kind and math.isfinite(number):
        return parse_quantity(f"{number!r} {field.unit}").value
    return number


def _refusal(field: Field, name: str, value: Value, where: str) -> InvalidInputError:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    message = f"{where} '{name}' is {shown}, not {described(field)}"
    return InvalidInputError(message, hint=_hint(field, value))


def _hint(field: Field, value: Value) -> str:
    if field.type == "fraction" and isinstance(value, int | float) and 1 < value <= _PERCENT:
        return f"write {value}% for a percentage"
    return "see the fields of this store: mstore schema show"


def described(field: Field) -> str:
    """What a value of the field has to be, in words: ``a fraction from 0 to 1``."""
    if field.type == "choice":
        return f"one of {', '.join(field.choices)}"
    nouns = {"integer": "a whole number", "boolean": "true or false", "text": "text"}
    quantities = {"number": "a number", "fraction": "a fraction or a percentage"}
    kind = _UNITS.get(field.type, "")
    noun = nouns.get(field.type) or quantities.get(field.type) or f"a number of {field.type}"
    low = None if field.minimum is None else format_quantity(field.minimum, _plain(kind))
    high = None if field.maximum is None else format_quantity(field.maximum, _plain(kind))
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    if low is not None:
        return f"{noun} of at least {low}"
    return noun if high is None else f"{noun} of at most {high}"


def _plain(kind: UnitKind) -> UnitKind:
    """A fraction's range is written in plain numbers."""
    return "" if kind == "fraction" else kind


def _any_quantity(value: object) -> Value:
    """A number with any unit in base units; what is none stays as it is, to be refused."""
    if not isinstance(value, str):
        return _plain_number(value)
    try:
        return parse_quantity(value).value
    except InvalidInputError:
        return value


def _plain_number(value: object) -> Value:
    """The number itself, where it came as one of NumPy's or another package's; else None."""
    if isinstance(value, str | bool | int | float):
        return value
    try:
        return float(value) if isinstance(value, SupportsFloat) else None
    except (TypeError, ValueError, RuntimeError):
        # An array of several numbers, or a tensor that is not here.
        return None


def parse_schema(content: bytes, label: str) -> Schema:
    """The schema that a TOML file declares, with the built-in fields behind it.

    InvalidInputError says what is wrong with which field.
    """
    import tomllib  # noqa: PLC0415 - only when there is a file

    if len(content) > MAX_FILE:
        raise InvalidInputError(f"schema '{label}' has more than {MAX_FILE} bytes")
    try:
        found = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"schema '{label}' is not TOML: {error}") from error
    unknown = found.keys() - {"fields"}
    fields = found.get("fields", {})
    if unknown or not isinstance(fields, dict):
        raise InvalidInputError(
            f"schema '{label}' has '{min(unknown, default='fields')}' where only tables "
            "[fields.NAME] are known",
            hint='for example [fields."*/accuracy"]',
        )
    if len(fields) > MAX_FIELDS:
        raise InvalidInputError(f"schema '{label}' has {len(fields)} fields, over {MAX_FIELDS}")
    own = tuple(_parse_field(name, said) for name, said in fields.items())
    return Schema((*own, *BUILT_IN))


_KEYS: Final = frozenset(
    {"type", "unit", "min", "max", "choices", "required", "direction", "description"}
)


def _parse_field(name: str, said: object) -> Field:
    where = f"field '{name[:_SHOWN]}'"
    if not name or len(name) > MAX_NAME or not isinstance(said, dict):
        raise InvalidInputError(f"{where} is not a table with a name of 1 to {MAX_NAME} letters")
    unknown = said.keys() - _KEYS
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise InvalidInputError(f"{where} has an unknown '{min(unknown)}'", hint=f"known: {known}")
    types: tuple[FieldType, ...] = get_args(FieldType)
    type_ = next((known for known in types if known == said.get("type")), None)
    if type_ is None:
        shown = f"{said.get('type')!r}"[:_SHOWN]
        raise InvalidInputError(
            f"{where} has the type {shown}", hint=f"types are {', '.join(types)}"
        )
    choices = _texts(said.get("choices", []), where)
    if bool(choices) != (type_ == "choice"):
        raise InvalidInputError(f"{where} is of type '{type_}' and has {len(choices)} choices")
    field = Field(
        name,
        type_,
        unit=_unit(_text(said, "unit", where), type_, where),
        choices=choices,
        required=_flag(said, "required", where),
        direction=_direction(_text(said, "direction", where), where),
        description=_text(said, "description", where),
    )
    return _with_range(field, said, where)


def _with_range(field: Field, said: Mapping[str, Value], where: str) -> Field:
    is_number = field.type not in {"text", "boolean", "choice"}
    if not is_number and {"min", "max"} & said.keys():
        raise InvalidInputError(f"{where} is of type '{field.type}', which has no range")
    ends = {key: said[key] for key in ("min", "max") if key in said}
    read = {key: float(_check_number(field, key, value, where)) for key, value in ends.items()}
    low, high = read.get("min"), read.get("max")
    if low is not None and high is not None and low > high:
        raise InvalidInputError(f"{where} has a min over its max")
    return structs.replace(field, minimum=low, maximum=high)


def _flag(said: Mapping[str, object], key: str, where: str) -> bool:
    value = said.get(key, False)
    if not isinstance(value, bool):
        raise InvalidInputError(f"{where} has {key} = {value!r}, not true or false")
    return value


def _text(said: Mapping[str, object], key: str, where: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str):
        raise InvalidInputError(f"{where} has {key} = {value!r}, not a text")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError(f"{where} has choices that are no list of texts")
    return tuple(value)


def _unit(value: str, type_: str, where: str) -> str:
    kind = _UNITS.get(type_)
    if value and kind is not None and find_unit(value)[0] != kind:
        raise InvalidInputError(f"{where} is of type '{type_}', which is not measured in '{value}'")
    return value


def _direction(value: str, where: str) -> Direction:
    if value == "higher":
        return "higher"
    if value == "lower":
        return "lower"
    if value:
        raise InvalidInputError(f"{where} has the direction {value!r}, not 'higher' or 'lower'")
    return ""
