"""Which version a live model, or an array, came from: known while it lives, and only here.

``Loaded`` carries it; models are remembered themselves; and the arrays of both are remembered by
where their numbers are, so that ``module.state_dict()`` of a module that was loaded is known too.
Nothing of this is stored but the parent that ``put`` makes of it.
"""

import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mstore.adapters import framework_of
from mstore.ids import ObjectId


class Loaded(dict[str, Any]):
    """Tensors by name, which remember the version that they were loaded from."""

    version: ObjectId | None = None


_VERSIONS: dict[object, tuple["weakref.ref[Any]", ObjectId]] = {}
"""What lives by its place, and its version."""


def remember(model: object, version: ObjectId) -> None:
    """Note where a model or a dict of arrays came from; what cannot be watched is not noted."""
    if isinstance(model, Loaded):
        model.version = version
    elif not isinstance(model, Mapping):
        _note(id(model), model, version)
    for value in _arrays(model):
        _note(_place(value), value, version)


def origin(model: object) -> ObjectId | None:
    """The version of a model; of a plain dict, if each of its arrays came from one and the same."""
    if isinstance(model, Loaded):
        return model.version
    if not isinstance(model, Mapping):
        return _version(model)
    versions = map(_version, model.values())
    first = next(versions, None)
    return first if first is not None and all(other == first for other in versions) else None


def _arrays(model: Any) -> list[object]:  # noqa: ANN401 - any model
    """The arrays of a dict or of a torch module."""
    if isinstance(model, Mapping):
        return list(model.values())
    if framework_of(model) != "torch":
        return []
    return [*model.parameters(), *model.buffers()]


def _place(value: Any) -> object:  # noqa: ANN401 - any array or model
    """What tells a living thing from all others; torch tensors over the same numbers are one."""
    try:
        numbers = value.data_ptr()
    except (AttributeError, RuntimeError, TypeError):  # no tensor, or one without memory
        return id(value)
    return (value.device, numbers) if numbers else id(value)


def _note(place: object, value: object, version: ObjectId) -> None:
    def forget(gone: object) -> None:
        if _VERSIONS.get(place, (None,))[0] is gone:
            del _VERSIONS[place]

    with suppress(TypeError):
        _VERSIONS[place] = (weakref.ref(value, forget), version)


def _version(value: object) -> ObjectId | None:
    place = _place(value)
    watched, version = _VERSIONS.get(place, (None, None))
    living = None if watched is None else watched()
    # Nothing else has the numbers of a living tensor; an address may be that of something new.
    is_known = living is not None and (isinstance(place, tuple) or living is value)
    return version if is_known else None
