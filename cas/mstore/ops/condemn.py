"""Taking packs out of ``objects/`` without taking them from anybody (SPEC §4.6, G2).

A pack gets its second name, in ``condemned/``, before it loses the first one: a reader that
looks in both places finds it at any moment. Only gc deletes it there, by its own rules. For use
under the lock of gc.
"""

from collections.abc import Iterable

from mstore.backends.base import Backend
from mstore.errors import NotFoundError
from mstore.refs import current_epoch


def condemn(backend: Backend, keys: Iterable[str]) -> list[str]:
    """Condemn live packs in the current epoch, durably; those that were there."""
    prefix = f"condemned/{current_epoch(backend):016x}"
    named = [key for key in keys if name_too(backend, key, f"{prefix}/{key.rpartition('/')[2]}")]
    if named:
        backend.sync(prefix)
        for key in named:
            backend.remove(key)
        backend.sync("objects")
    return named


def name_too(backend: Backend, source: str, target: str) -> bool:
    """Let a pack have another name; its old one goes when the new one is durable.

    False when the pack is gone. Where there are no links, or the name is taken by another copy,
    it is renamed at once.
    """
    if not is_there(backend, target) and backend.share(source, target):
        return True
    return backend.move(source, target)


def is_there(backend: Backend, key: str) -> bool:
    """Whether a key has bytes at this moment."""
    try:
        backend.size(key)
    except NotFoundError:
        return False
    return True
