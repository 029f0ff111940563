"""Stripping: the bytes of a few versions, the descriptions of all.

Every version stays in its model's table and can be shown, listed and recognised; those that are
not kept are marked as stripped. Either a slim store is made beside this one, or the rows are
marked here and the next gc frees the bytes.

A slim store holds nothing that what is kept does not need: a difference from bytes that are left
out is coded anew, without a base. Here such bytes stay, as long as a difference needs them.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from msgspec import Struct, structs

from mstore.errors import ExistsError, InvalidInputError
from mstore.format.slots import Row
from mstore.ids import ObjectId
from mstore.ops.copying import (
    Needs,
    Offer,
    Progress,
    StoreSender,
    needed_objects,
    receive,
    replace_row,
)
from mstore.ops.foresight import size_in_new_store
from mstore.ops.offers import all_offers
from mstore.ops.places import place_path, stripped_error
from mstore.ops.sending import Form, Recoder
from mstore.ops.shelf import Shelf
from mstore.ops.transfer import new_store_from
from mstore.ops.walk import reachable, roots
from mstore.parts import Parts, Transaction
from mstore.refs import HEADS, NOTES, Change, RefTable
from mstore.revision import resolve
from mstore.schema import SCHEMA_MODEL
from mstore.tiers import MODELS


class StripReport(Struct, frozen=True):
    """What a strip did, or would do. Bytes are those of objects as packs store them.

    ``bytes_foreseen`` is what the slim store was expected to take, and ``bytes_after`` what it
    does take, or what stays here once gc has run; ``bytes_bases`` of these stay only because
    what is kept is stored as a difference from them. ``stripped`` are the versions whose bytes
    are left out, ``place`` is the slim store, None when in place.
    """

    kept: tuple[str, ...]
    stripped: tuple[str, ...]
    bytes_before: int
    bytes_foreseen: int
    bytes_after: int
    bytes_bases: int
    place: str | None
    codec: Form
    dry_run: bool


def strip(
    parts: Parts,
    keep: Sequence[str],
    *,
    to: str | Path | None = None,
    form: Form = "keep",
    dry_run: bool = False,
    announce: Callable[[StripReport], None] = lambda _: None,
    progress: Progress | None = None,
) -> StripReport:
    """Keep the bytes of the versions ``keep`` only, in a new store at ``to`` or here.

    ``form`` is how chunks are stored at ``to``: raw ones can be mapped. ``announce`` hears what
    is foreseen before anything is done. NotFoundError (kind "stripped") for a version that has
    no bytes here any more; ExistsError when something else is at ``to``. An unfinished strip to
    ``to`` is continued.
    """
    if to is None and form != "keep":
        raise InvalidInputError(
            f"codec '{form}' is for a new store, and none is to be made",
            hint="say where: --to DIR; what is kept here is made raw by: mstore materialize",
        )
    kept = _kept_versions(parts, keep)
    if to is None:
        # What is only here of other stores is not this one's to let go of.
        kept |= _lent_versions(parts)
    offers = [_slim(offer, kept) for offer in all_offers(parts)]
    path = None if to is None else place_path(to)
    needs = _needs(parts, kept)
    oids = needed_objects(parts, needs)
    report = _predict(parts, offers, oids, None if path is None else str(path), form)
    announce(report)
    if dry_run:
        return report
    report = structs.replace(report, dry_run=False)
    if path is None:
        for offer in offers:
            _mark_stripped(parts, offer, kept)
        return report
    target = new_store_from(parts, path)
    _refuse_other_bytes(target, kept)
    reason = f"strip from '{parts.backend.location}'"
    receive(
        StoreSender(parts), target, offers, reason, form=form, more_bases=False, progress=progress
    )
    return structs.replace(report, bytes_after=Shelf(target.odb).stored_size(oids))


def _schema(parts: Parts) -> list[ObjectId]:
    """The newest version of the store's schema, which says what the descriptions mean."""
    table = parts.refs.find(HEADS, SCHEMA_MODEL)
    head = None if table is None else table.head
    return [] if head is None or head.state != "kept" else [ObjectId(head.version)]


def _kept_versions(parts: Parts, keep: Sequence[str]) -> set[ObjectId]:
    if not keep:
        raise InvalidInputError("nothing to keep", hint="name what stays: --keep REV")
    held = roots(parts).kept
    kept = set(_schema(parts))
    for text in keep:
        found = resolve(parts, text)
        if found.path or found.tensor or found.rows is not None:
            raise InvalidInputError(f"'{text}' is a part of a version, only whole ones are kept")
        if found.version not in held:
            raise stripped_error(parts, found.label, found.version)
        kept.add(found.version)
    return kept


def _lent_versions(parts: Parts) -> set[ObjectId]:
    """The versions that keep the low planes of other stores alive."""
    tables = parts.refs.tables(HEADS).items()
    rows = (row for name, table in tables if name.startswith(MODELS) for row in table.rows.values())
    return {ObjectId(row.version) for row in rows if row.state == "kept"}


def _slim(offer: Offer, kept: Collection[bytes]) -> Offer:
    if offer.namespace == NOTES:
        return offer
    rows = tuple(
        row if row.version in kept or row.state != "kept" else replace_row(row, "stripped")
        for row in offer.rows
    )
    restore = frozenset(row.number for row in rows if row.state == "kept")
    return structs.replace(offer, rows=rows, restore=restore)


def _needs(parts: Parts, kept: set[ObjectId]) -> Needs:
    names = roots(parts)
    return Needs(frozenset(kept), (names.kept | names.described) - kept, names.notes)


def _predict(
    parts: Parts, offers: list[Offer], oids: set[ObjectId], place: str | None, form: Form
) -> StripReport:
    shelf, everything = Shelf(parts.odb), reachable(parts)
    bases = 0 if place is not None else shelf.stored_size(shelf.bases(oids))
    if place is None:
        after = shelf.stored_size(oids) + bases
    else:
        after = size_in_new_store(shelf, oids, Recoder([parts.odb], lambda: oids), form)
    labels = [
        (f"{offer.name}@{row.number}", row)
        for offer in offers
        if offer.namespace == HEADS
        for row in offer.rows
    ]
    return StripReport(
        kept=tuple(label for label, row in labels if row.state == "kept"),
        stripped=tuple(label for label, row in labels if row.state == "stripped"),
        bytes_before=shelf.stored_size(everything | shelf.bases(everything)),
        bytes_foreseen=after,
        bytes_after=after,
        bytes_bases=bases,
        place=place,
        codec=form,
        dry_run=True,
    )


def _mark_stripped(parts: Parts, offer: Offer, kept: Collection[bytes]) -> None:
    numbers = {row.number for row in offer.rows if row.state == "stripped"}

    def change(table: RefTable | None) -> Change:
        rows: Iterable[Row] = () if table is None else table.rows.values()
        marked = (
            replace_row(row, "stripped")
            for row in rows
            if row.number in numbers and row.state == "kept" and row.version not in kept
        )
        return Change(tuple(marked), "strip")

    with Transaction(parts) as transaction:
        if change(parts.refs.find(offer.namespace, offer.name)).rows:
            transaction.commit(offer.namespace, offer.name, change)


def _refuse_other_bytes(target: Parts, kept: Collection[ObjectId]) -> None:
    others = roots(target).kept.difference(kept)
    if others:
        raise ExistsError(
            f"'{target.backend.location}' holds {len(others)} versions that are not to be kept",
            hint="choose another folder, or strip that store in place",
        )
