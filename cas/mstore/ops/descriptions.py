"""The descriptions of a model's versions kept together, so that its log reads one file.

A file ``cache/versions/<name>`` holds, for each version, the size of its payload (u32,
little-endian) and the payload. It may be deleted at any time and nothing in it is believed: a
payload counts only for the id that it hashes to, so whatever else a file says goes unused.
"""

from contextlib import suppress

from mstore.backends.base import Backend
from mstore.errors import MstoreError
from mstore.format.slots import quote_name
from mstore.ids import Kind, hash_object

PREFIX = "cache/versions"
MIN_VERSIONS = 64
"""Versions of which a model's log is quick anyway."""
_OUTDATED = 16
"""A file is written again once more than one in so many descriptions is missing in it."""
_SIZE = 4

Payloads = dict[bytes, bytes]
"""The payloads of version objects by their ids."""


def load(backend: Backend, name: str) -> Payloads:
    """The payloads that are kept for a model, as far as they can be read."""
    try:
        content = backend.read(_key(name))
    except MstoreError:
        # Not there or not readable: do without.
        return {}
    found: Payloads = {}
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + _SIZE], "little")
        payload = content[at + _SIZE : at + _SIZE + size]
        found[hash_object(Kind.VERSION, payload)] = payload
        at += _SIZE + size
    return found


def save(backend: Backend, name: str, kept: Payloads, wanted: Payloads) -> None:
    """Keep the ``wanted`` payloads instead of those ``kept`` so far, unless it is not worth it.

    Where nothing can be written, nothing is kept.
    """
    # Those of deleted versions go at once; a few new ones are read from their packs each time.
    forgotten = kept.keys() - wanted.keys()
    new = wanted.keys() - kept.keys()
    if not forgotten and (len(wanted) < MIN_VERSIONS or len(new) * _OUTDATED <= len(wanted)):
        return
    parts = (
        part
        for payload in wanted.values()
        for part in (len(payload).to_bytes(_SIZE, "little"), payload)
    )
    with suppress(MstoreError):
        backend.replace_cache(_key(name), b"".join(parts))


def clear(backend: Backend) -> None:
    """Forget all descriptions, those of deleted versions with them."""
    with suppress(MstoreError):
        for item in list(backend.list(PREFIX)):
            backend.remove(item.key)


def _key(name: str) -> str:
    return f"{PREFIX}/{quote_name(name)}"
