"""Choosing what travels: from revisions to rows of names (``Offer``).

``NAME`` offers the whole table of a model. ``NAME@N``, or a tag or hash that means it, offers the
rows up to N, of which only N has its bytes: a device gets one version and the descriptions of
what it came from. Tags follow the versions that they name, notes those that they are about.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import structs

from mstore.errors import InvalidInputError
from mstore.format.slots import Row, check_ref_name
from mstore.ids import ObjectId
from mstore.notes import shard_of
from mstore.ops.copying import Offer, newest_row, replace_row
from mstore.ops.places import stripped_error
from mstore.ops.walk import ancestors
from mstore.parts import Parts
from mstore.refs import HEADS, NOTES, TAGS
from mstore.revision import resolve


def all_offers(parts: Parts) -> list[Offer]:
    """Every model, every tag, and the notes about any of them.

    Of a model that was deleted the numbers travel, that they are not given to other versions.
    """
    heads = [
        Offer(HEADS, name, tuple(table.rows.values()))
        for name, table in parts.refs.tables(HEADS).items()
    ]
    tags = [Offer(TAGS, name, (row,)) for name, row in tag_rows(parts).items()]
    return [*heads, *tags, *_following_notes(parts, heads + tags)]


def select_offers(parts: Parts, revisions: Sequence[str]) -> list[Offer]:
    """What ``revisions`` ask for, models before tags; everything when there are none.

    NotFoundError for a revision that is not there, kind "stripped" when its bytes are not.
    """
    if not revisions:
        return all_offers(parts)
    heads: dict[str, Offer] = {}
    asked: set[str] = set()
    for text in revisions:
        table = parts.refs.find(HEADS, text) if _is_name(text) else None
        if table is not None and table.head is not None:
            offer = Offer(HEADS, text, tuple(table.rows.values()))
        else:
            offer = _one_version(parts, text)
            asked.add(text)
        before = heads.get(offer.name)
        heads[offer.name] = offer if before is None else _union(before, offer)
    tags = _following_tags(parts, heads.values(), asked)
    return [*heads.values(), *tags, *_following_notes(parts, [*heads.values(), *tags])]


def rename_offer(offers: list[Offer], name: str | None) -> list[Offer]:
    """The offers with their one model under another name; InvalidInputError for several models."""
    if name is None:
        return offers
    check_ref_name(name)
    heads = [offer for offer in offers if offer.namespace == HEADS and not offer.is_ended]
    if len(heads) != 1:
        raise InvalidInputError(
            f"new name '{name}' is for one model, {len(heads)} were asked for",
            hint="name the one that gets it",
        )
    return [structs.replace(offer, name=name) if offer is heads[0] else offer for offer in offers]


def tag_rows(parts: Parts) -> dict[str, Row]:
    """The newest row of each tag that is not deleted."""
    newest = {name: newest_row(table) for name, table in parts.refs.tables(TAGS).items()}
    return {name: row for name, row in newest.items() if row.state != "deleted"}


def _is_name(text: str) -> bool:
    try:
        check_ref_name(text)
    except InvalidInputError:
        return False
    return True


def _one_version(parts: Parts, text: str) -> Offer:
    found = resolve(parts, text)
    if found.path or found.tensor or found.rows is not None:
        raise InvalidInputError(f"'{text}' is a part of a version, only whole versions travel")
    if found.name is None or found.number is None:
        raise InvalidInputError(
            f"'{text}' is in no model, only versions of a model travel",
            hint="ask for NAME or NAME@NUMBER; see what there is: mstore list",
        )
    if found.state != "kept":
        raise stripped_error(parts, found.label, found.version)
    table = parts.refs.table(HEADS, found.name)
    rows = tuple(
        row
        if row.number == found.number or row.state == "deleted"
        else replace_row(row, "stripped")
        for row in table.rows.values()
        if row.number <= found.number
    )
    return Offer(HEADS, found.name, rows, restore=frozenset({found.number}))


def _union(one: Offer, other: Offer) -> Offer:
    rows = {row.number: row for row in one.rows}
    for row in other.rows:
        if row.number not in rows or row.state == "kept":
            rows[row.number] = row
    ordered = tuple(rows[number] for number in sorted(rows))
    return structs.replace(one, rows=ordered, restore=one.restore | other.restore)


def _following_tags(parts: Parts, heads: Iterable[Offer], asked: set[str]) -> list[Offer]:
    rows = [row for offer in heads for row in offer.rows if row.state != "deleted"]
    kept = {ObjectId(row.version) for row in rows if row.state == "kept"}
    present = {row.version for row in rows}
    tags = []
    for name, row in tag_rows(parts).items():
        if row.version not in present:
            continue
        state = row.state if row.version in kept else "stripped"
        restore = frozenset({row.number}) if name in asked else frozenset[int]()
        tags.append(Offer(TAGS, name, (replace_row(row, state),), restore, name in asked))
    return tags


def _following_notes(parts: Parts, offers: Iterable[Offer]) -> Iterator[Offer]:
    """The notes about the versions that travel, and about their ancestors, which do too."""
    rows = [row for offer in offers for row in offer.rows if row.state != "deleted"]
    versions = {ObjectId(row.version) for row in rows}
    versions |= set(ancestors(parts, versions))
    for shard in sorted({shard_of(version) for version in versions}):
        table = parts.refs.find(NOTES, shard)
        notes = () if table is None else table.rows.values()
        about = tuple(row for row in notes if parts.odb.note(row.version).version in versions)
        if about:
            yield Offer(NOTES, shard, about)
