"""How many bytes objects will take in a new store, before any of them is sent there.

What is sent as it is stored, or raw, is known from the indexes. What has to be coded anew is
measured on a sample of each dtype; all of it is coded where that is little.
"""

from collections import defaultdict
from collections.abc import Collection

from mstore.ids import ObjectId
from mstore.ops.sending import Form, Recoder, ahead, form_of
from mstore.ops.shelf import Shelf

_SAMPLE = 32 << 20
"""Bytes that are coded to know how small they get."""


def size_in_new_store(
    shelf: Shelf, oids: Collection[ObjectId], recoder: Recoder, form: Form
) -> int:
    """The stored bytes of ``oids`` where they are all that there is; packs' own bytes aside."""
    size = 0
    anew: dict[str | None, list[ObjectId]] = defaultdict(list)
    for oid in oids:
        entry = shelf.location(oid).entry
        base_stays = all(base in oids for base in shelf.chain(oid)[:1])
        chosen = form_of(entry, form, base_there=base_stays)
        if chosen == "keep":
            size += entry.stored_size
        elif chosen == "raw":
            size += entry.raw_size
        else:
            found = recoder.tensor_of(oid)
            anew[None if found is None else found.dtype].append(oid)
    total = sum(_raw_size(shelf, group) for group in anew.values())
    return size + sum(_measured(shelf, group, recoder, total) for group in anew.values())


def _measured(shelf: Shelf, oids: list[ObjectId], recoder: Recoder, total: int) -> int:
    """About the bytes of chunks of one dtype; every n-th is coded, all of them if few."""
    ordered = [location.entry.id for location in shelf.in_order(oids)]
    chosen = ordered[:: -(-total // _SAMPLE)]

    def coded_size(oid: ObjectId) -> int:
        raw = shelf.read(oid)
        coded = recoder(oid, raw)
        return len(raw) if coded is None else len(coded.stored)

    sizes = sum(ahead(chosen, coded_size, threaded=len(chosen) > 1))
    return sizes * _raw_size(shelf, oids) // _raw_size(shelf, chosen)


def _raw_size(shelf: Shelf, oids: list[ObjectId]) -> int:
    return sum(shelf.location(oid).entry.raw_size for oid in oids)
