"""The files of a store, one by one: config, slots, packs and what does not belong.

Nothing here raises for damage: each of it is a ``Finding``. Slots are returned as far as they can
be read, so that a damaged one does not hide what the others say.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mstore.backends.base import Backend, Item
from mstore.errors import CorruptError, MstoreError, NotFoundError, StorageError, UnsupportedError
from mstore.format.config import decode_config
from mstore.format.pack import HEADER_SIZE, check_header
from mstore.format.slots import (
    NAMESPACES,
    Row,
    Slot,
    decode_slot,
    parse_slot_key,
    slot_hash,
    unquote_name,
)
from mstore.ids import ObjectId
from mstore.odb import check_pack
from mstore.odb.entries import Bases
from mstore.odb.footer import read_footer
from mstore.ops.findings import Finding
from mstore.ops.gc_verdict import condemned_packs
from mstore.parts import CONFIG_KEY

_PACK = re.compile(r"[0-9a-f]{64}\.pack", re.ASCII)
_EPOCH = re.compile(r"[0-9a-f]{16}", re.ASCII)


class Ref(NamedTuple):
    """The rows of one name, as far as its slots can be read."""

    namespace: str
    name: str
    rows: dict[int, Row]


class PackFault(NamedTuple):
    """Something wrong with a pack, and the objects that cannot be read from it."""

    finding: Finding
    ids: tuple[ObjectId, ...]


def kind_of(error: MstoreError, otherwise: str = "damaged") -> str:
    """The kind of finding that an error makes."""
    if isinstance(error, NotFoundError):
        return "missing"
    if isinstance(error, UnsupportedError):
        return "unsupported"
    return "unreadable" if isinstance(error, StorageError) else otherwise


def check_config(backend: Backend) -> Iterator[Finding]:
    """What is wrong with the file ``config``."""
    try:
        decode_config(backend.read(CONFIG_KEY))
    except MstoreError as error:
        yield Finding("error", kind_of(error, "config"), CONFIG_KEY, str(error))


def check_refs(backend: Backend, report: Callable[[Finding], None]) -> Iterator[Ref]:
    """Every name with its rows; reports what is wrong with their slots."""
    for namespace in NAMESPACES:
        for prefix in list(backend.list_prefixes(f"refs/{namespace}")):
            try:
                name = unquote_name(prefix.rpartition("/")[2])
                found = _slots(backend, prefix, f"{namespace}/{name}", report)
            except MstoreError as error:
                report(Finding("error", kind_of(error, "foreign"), prefix, str(error)))
                continue
            rows = {row.number: row for slot in found for row in slot.rows}
            yield Ref(namespace, name, {number: rows[number] for number in sorted(rows)})


def _slots(
    backend: Backend, prefix: str, ref: str, report: Callable[[Finding], None]
) -> list[Slot]:
    """The readable slots of one name, oldest first."""
    slots: list[Slot] = []
    expected, previous = 1, b""
    for item in backend.list(prefix):
        try:
            generation = parse_slot_key(item.key)[2]
        except CorruptError as error:
            report(Finding("error", "foreign", item.key, str(error)))
            continue
        for number in range(expected, min(generation, expected + 8)):
            message = f"slot {number} of '{ref}' is missing"
            report(Finding("error", "missing", f"{prefix}/{number:016x}", message))
        known = previous if generation == expected else b""
        expected, previous = generation + 1, b""
        try:
            content = backend.read(item.key)
            slot = decode_slot(content, generation, ref)
        except MstoreError as error:
            report(Finding("error", kind_of(error), item.key, f"slot '{item.key}': {error}"))
            continue
        previous = slot_hash(content)
        if known and slot.previous != known:
            message = f"slot '{item.key}' does not follow the one before it"
            report(Finding("error", "chain", item.key, message))
        slots.append(slot)
    return slots


def pack_items(backend: Backend) -> list[Item]:
    """The files that stand where packs do, live ones first."""
    return [*backend.list("objects"), *condemned_packs(backend)]


def check_one_pack(
    backend: Backend, item: Item, bases: Bases, *, full: bool
) -> tuple[int, list[PackFault]]:
    """How many objects a pack holds, and what is wrong with it; ``bases`` as in ``check_pack``."""
    if not _PACK.fullmatch(item.key.rpartition("/")[2]):
        finding = Finding("note", "foreign", item.key, f"'{item.key}' is not a pack of this store")
        return 0, [PackFault(finding, ())]
    try:
        entries = read_footer(backend, item.key).entries()
        check_header(backend.read(item.key, 0, HEADER_SIZE))
    except NotFoundError:
        # Moved by a gc since it was listed: it is looked at where it stands now, or is gone.
        return 0, []
    except MstoreError as error:
        if not full:
            return 0, [_pack_fault(item, kind_of(error, "index"), str(error))]
        entries = []
    if not full:
        return len(entries), []
    return len(entries), list(_full_faults(backend, item, bases))


def _full_faults(backend: Backend, item: Item, bases: Bases) -> Iterator[PackFault]:
    try:
        for problem in check_pack(backend, item.key, bases):
            yield _pack_fault(item, problem.kind, problem.message, problem.ids)
    except NotFoundError:
        # As above: moved meanwhile.
        return


def _pack_fault(item: Item, kind: str, message: str, ids: tuple[ObjectId, ...] = ()) -> PackFault:
    return PackFault(Finding("error", kind, item.key, message), ids)


def check_leftovers(backend: Backend) -> Iterator[Finding]:
    """What gc would clear away, and what nobody here has put there."""
    for item in backend.list("tmp"):
        message = f"'{item.key}' is unfinished; gc removes it when nobody writes to it"
        yield Finding("note", "leftover", item.key, message)
    for lease in backend.leases():
        if not lease.alive:
            message = f"lease '{lease.name}' belongs to a writer that is gone; gc removes it"
            yield Finding("note", "leftover", f"leases/{lease.name}", message)
    for item in backend.list("epoch"):
        if not _EPOCH.fullmatch(item.key.rpartition("/")[2]):
            message = f"'{item.key}' is not an epoch: no writer can begin"
            yield Finding("error", "foreign", item.key, message)
    for prefix in backend.list_prefixes("refs"):
        if prefix.rpartition("/")[2] not in NAMESPACES:
            yield Finding("error", "foreign", prefix, f"'{prefix}' is not a namespace")
    for prefix in ("refs", *(f"refs/{namespace}" for namespace in NAMESPACES)):
        for item in backend.list(prefix):
            yield Finding("error", "foreign", item.key, f"'{item.key}' is not a slot of a name")
