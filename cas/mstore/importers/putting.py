"""Storing what others said of a model, also where the schema of the store does not believe it."""

from pathlib import Path
from typing import Any, Final, NamedTuple

from mstore.errors import InvalidInputError
from mstore.ops.put import PutResult
from mstore.store import Store

DISPUTED: Final = "disputed"
"""The key of the metadata with the values that are not what the schema says of them."""


class Put(NamedTuple):
    """What was stored; ``remark`` says why values are metadata only."""

    result: PutResult
    remark: str


def put_said(store: Store, source: Path, name: str, said: dict[str, Any], **options: Any) -> Put:  # noqa: ANN401 - those of Store.put
    """Put with metrics and parameters; those that the schema refuses go to the metadata.

    Nobody who imports can mend what others wrote; it is better kept aside than lost.
    """
    try:
        return Put(store.put(source, name, capture=False, **said, **options), "")
    except InvalidInputError as error:
        values = {key: said[key] for key in ("metrics", "params") if said.get(key)}
        if not values:
            raise
        metadata = {**said.get("metadata", {}), DISPUTED: values}
        rest = {key: value for key, value in said.items() if key not in values}
        again = {**rest, "metadata": metadata}
        result = store.put(source, name, capture=False, **again, **options)
        return Put(result, f"values are kept as metadata '{DISPUTED}': {error}")
