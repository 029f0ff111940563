"""Keeping alive what a name is about to need (SPEC §4.4, rule W2).

A name may read well only because readers also look at condemned packs. A writer that lets another
name need the same versions has to make sure that they are live, under its lease: gc waits for
that lease before it deletes what it condemned later, not before it deletes what it condemned
earlier. Both functions are for use inside a transaction.
"""

from collections.abc import Iterable

from mstore.errors import ConflictError, NotFoundError
from mstore.ids import ObjectId
from mstore.ops.walk import ancestors, closure
from mstore.parts import Parts


def revive(parts: Parts, kept: Iterable[ObjectId], described: Iterable[ObjectId] = ()) -> None:
    """Make every object of some versions live, chunks only of those ``kept``, and all ancestors.

    Condemned packs that hold one are linked back. NotFoundError when an object is gone for good,
    ConflictError when gc deletes it at this moment.
    """
    kept, described = set(kept), set(described)
    described |= set(ancestors(parts, kept | described))
    needed = closure(parts, kept, payload=True)
    needed |= closure(parts, described - kept, payload=False)
    again: set[str] = set()
    for oid in needed:
        if not parts.odb.is_held(oid):
            again.update(_condemned_packs(parts, oid))
    for key in again:
        if not parts.backend.share(key, f"objects/{key.rpartition('/')[2]}"):
            raise ConflictError(f"'{key}' was deleted meanwhile", hint="try again")
    if again:
        parts.backend.sync("objects")
        parts.odb.refresh()


def keep_alive(parts: Parts, kept: Iterable[ObjectId], described: Iterable[ObjectId] = ()) -> None:
    """``revive`` for versions that a name needs at this moment: free unless a pack is condemned.

    While none is, what a name needs is live, and gc waits for the lease of this transaction.
    """
    if parts.odb.packs(condemned=True):
        revive(parts, kept, described)


def _condemned_packs(parts: Parts, oid: ObjectId) -> list[str]:
    """The condemned packs that hold an object, or a base that it cannot be read without."""
    try:
        links = parts.odb.chain(oid)
    except NotFoundError as error:
        raise NotFoundError(
            f"object {oid} is gone: gc has deleted it", hint="pull it from another store"
        ) from error
    return [location.pack_key for location in links if not location.live]
