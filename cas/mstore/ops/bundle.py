"""Bundles: what another store lacks, in one file (SPEC §10).

The layout is planned before the file is begun, so its size is known and it is written in one go.
Objects keep the encoding that they have in this store, and so their base if it is in the bundle
or belongs to a prerequisite. What has to leave its base behind is coded without it, twice: once
to know how many bytes that takes, once to write them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from mstore.backends.checkout import Checkout
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.format.bundle import (
    HEADER_SIZE,
    TRAILER_SIZE,
    Header,
    Manifest,
    OfferedRef,
    PackSpan,
    Prerequisite,
    encode_header,
    encode_manifest,
    hasher,
    pack_offsets,
)
from mstore.format.pack import (
    HEADER,
    PACK_CAP,
    RAW,
    Entry,
    align,
    encode_index,
    pack_name,
    stored_check,
)
from mstore.ids import Buffer, Kind, ObjectId
from mstore.odb import Location
from mstore.odb.check import check_pack
from mstore.ops.bundle_reader import open_bundle
from mstore.ops.copying import (
    Needs,
    Offer,
    Progress,
    Tally,
    needed_objects,
    needs_of,
    receive,
    replace_row,
)
from mstore.ops.offers import select_offers
from mstore.ops.places import place_path, stripped_error
from mstore.ops.sending import Recoder, ahead
from mstore.ops.shelf import Shelf
from mstore.ops.transfer import TransferReport, make_report
from mstore.parts import Parts
from mstore.refs import HEADS, NOTES, TAGS
from mstore.revision import Resolved, resolve


class BundleReport(Struct, frozen=True):
    """What a bundle holds. ``names`` gives how many versions of each model come with bytes.

    ``prerequisites`` are the versions that the receiver must hold already.
    """

    path: str
    size_bytes: int
    objects: int
    names: tuple[tuple[str, int], ...]
    tags: tuple[str, ...]
    prerequisites: tuple[str, ...]


class PlannedPack(NamedTuple):
    """A pack before it is written: each object's place in this store and in the new pack.

    An object that has a base in one of them only is coded anew.
    """

    moves: list[tuple[Location, Entry]]
    footer: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole pack."""
        last = self.moves[-1][1]
        return last.offset + last.stored_size + len(self.footer)


def create_bundle(
    parts: Parts,
    path: str | Path,
    revisions: Sequence[str] = (),
    *,
    since: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> BundleReport:
    """Write what a store that has the versions ``since`` needs for ``revisions``.

    ExistsError when ``path`` is there and not ``force``; InvalidInputError when nothing is new.
    """
    bases = [_held(parts, text) for text in since]
    offers = [offer for offer in select_offers(parts, revisions) if not offer.is_ended]
    offers = _newer_than(offers, bases)
    needs = needs_of((offer.namespace, row) for offer in offers for row in offer.rows)
    there = Needs(frozenset(base.version for base in bases), frozenset())
    if needs.kept <= there.kept:
        raise InvalidInputError(
            "nothing to bundle: there is no newer version", hint="see: mstore log"
        )
    needed, held = needed_objects(parts, needs), needed_objects(parts, there)
    shelf = Shelf(parts.odb)
    oids = needed - held
    oids |= shelf.worthwhile_bases(oids, held.__contains__)
    writing = _Writing(shelf, Recoder([parts.odb], lambda: needed))
    packs = plan_packs(writing.plan(shelf.in_order(oids), held))
    manifest = _manifest(parts, offers, bases, packs)
    content = encode_manifest(manifest)
    _, end = pack_offsets(len(content), manifest.packs)
    header = encode_header(Header(len(content), end + TRAILER_SIZE))
    tally = Tally(progress, total=sum(entry.raw_size for pack in packs for _, entry in pack.moves))
    pieces = _pieces(writing, header + content, manifest.packs, packs, tally)
    _write(place_path(path), _with_trailer(pieces), end + TRAILER_SIZE, force=force)
    return describe_bundle(Path(path), manifest, len(oids))


def apply_bundle(
    parts: Parts, path: str | Path, *, force: bool = False, progress: Progress | None = None
) -> TransferReport:
    """Bring in what a bundle holds; nothing is changed unless all of it is sound.

    NotFoundError says which prerequisites are missing; ConflictError as in ``pull``.
    """
    bundle = open_bundle(Path(path))
    _require(parts, bundle.manifest)
    reason = f"bundle '{bundle.backend.location}'"
    offers = offers_of(bundle.manifest)
    tally = receive(bundle, parts, offers, reason, force=force, progress=progress)
    return make_report(bundle.backend.location, tally)


def offers_of(manifest: Manifest) -> list[Offer]:
    """The rows that a bundle brings; bytes that come along are also given back to older rows."""
    return [
        Offer(
            ref.namespace,
            ref.name,
            ref.rows,
            restore=frozenset(row.number for row in ref.rows if row.state == "kept"),
        )
        for ref in manifest.refs
    ]


def verify_bundle(path: str | Path) -> BundleReport:
    """What a bundle holds; CorruptError names the first pack or object that is damaged.

    Reads everything and decodes every object, but for differences from what a prerequisite has:
    of these the stored bytes are checked.
    """
    bundle = open_bundle(Path(path))
    for key in bundle.odb.packs():
        for problem in check_pack(bundle.backend, key, bundle.odb.read_base):
            if problem.kind == "base" and bundle.manifest.prerequisites:
                continue
            raise CorruptError(f"'{path}': {problem.message}")
    count = sum(len(bundle.odb.entries(key)) for key in bundle.odb.packs())
    return describe_bundle(Path(path), bundle.manifest, count)


def describe_bundle(path: Path, manifest: Manifest, objects: int) -> BundleReport:
    """What a manifest says, for people; ``objects`` is how many there are in its packs."""
    heads = [ref for ref in manifest.refs if ref.namespace == HEADS]
    there = {needed.version for needed in manifest.prerequisites}
    names = (
        (ref.name, sum(row.state == "kept" and row.version not in there for row in ref.rows))
        for ref in heads
    )
    _, end = pack_offsets(len(encode_manifest(manifest)), manifest.packs)
    return BundleReport(
        path=str(path),
        size_bytes=end + TRAILER_SIZE,
        objects=objects,
        names=tuple(names),
        tags=tuple(ref.name for ref in manifest.refs if ref.namespace == TAGS),
        prerequisites=tuple(needed.label for needed in manifest.prerequisites),
    )


class _Writing:
    """Reads objects from a store and gives them the form that they have in a bundle."""

    def __init__(self, shelf: Shelf, recoder: Recoder) -> None:
        self._shelf = shelf
        self._recoder = recoder

    def plan(
        self, locations: Sequence[Location], held: Collection[ObjectId]
    ) -> Iterator[tuple[Location, Entry]]:
        """Each object with its entry in the bundle, offset aside; bases come first or are held."""
        coming = {location.entry.id for location in locations}

        def entry_of(location: Location) -> Entry:
            entry = location.entry
            if entry.base is None or (
                (entry.base in coming or entry.base in held) and self._shelf.chain(entry.id)
            ):
                return entry
            return self._alone(entry)[0]

        threaded = any(location.entry.base is not None for location in locations)
        yield from zip(locations, ahead(locations, entry_of, threaded=threaded), strict=True)

    def stored(self, location: Location, entry: Entry) -> Buffer:
        """The bytes of an object as the bundle stores them, verified; CorruptError otherwise."""
        if entry.base == location.entry.base:
            return self._shelf.unpack(location)[1]
        again, stored = self._alone(location.entry)
        if again != entry._replace(offset=again.offset):
            raise CorruptError(
                f"chunk '{entry.id}' was coded in two ways", hint="check this machine's memory"
            )
        return stored

    def _alone(self, entry: Entry) -> tuple[Entry, Buffer]:
        raw = self._shelf.read(entry.id)
        coded = self._recoder(entry.id, raw)
        if coded is None:
            return Entry(entry.id, entry.kind, RAW, 0, len(raw), len(raw)), raw
        size, check = len(coded.stored), stored_check(coded.stored)
        return Entry(entry.id, entry.kind, coded.code, 0, size, len(raw), check), coded.stored


def plan_packs(objects: Iterable[tuple[Location, Entry]]) -> list[PlannedPack]:
    """Objects laid out as packs, in the order given; offsets of the entries are not yet right."""
    packs: list[PlannedPack] = []
    moves: list[tuple[Location, Entry]] = []
    end = len(HEADER)
    for location, entry in objects:
        offset = _start(end, entry)
        if moves and offset + entry.stored_size > PACK_CAP:
            packs.append(_sealed(moves))
            moves, offset = [], _start(len(HEADER), entry)
        moves.append((location, entry._replace(offset=offset)))
        end = offset + entry.stored_size
    return [*packs, _sealed(moves)] if moves else packs


def _start(end: int, entry: Entry) -> int:
    return align(end, entry.stored_size, entry.codec == RAW and entry.kind is Kind.CHUNK)


def _sealed(moves: list[tuple[Location, Entry]]) -> PlannedPack:
    return PlannedPack(moves, encode_index([entry for _, entry in moves]))


def _held(parts: Parts, text: str) -> Resolved:
    found = resolve(parts, text)
    if found.state != "kept":
        raise stripped_error(parts, found.label, found.version)
    return found


def _newer_than(offers: list[Offer], bases: list[Resolved]) -> list[Offer]:
    """The offers without the bytes of what stands before the newest base in its model."""
    newest: dict[str | None, int] = {}
    for base in bases:
        newest[base.name] = max(newest.get(base.name, 0), base.number or 0)
    kept = {base.version for base in bases} | {
        row.version
        for offer in offers
        if offer.namespace == HEADS
        for row in offer.rows
        if row.state == "kept" and row.number > newest.get(offer.name, 0)
    }
    return [offer if offer.namespace == NOTES else _without(offer, kept) for offer in offers]


def _without(offer: Offer, kept: Collection[bytes]) -> Offer:
    rows = (
        row if row.version in kept or row.state != "kept" else replace_row(row, "stripped")
        for row in offer.rows
    )
    return structs.replace(offer, rows=tuple(rows))


def _manifest(
    parts: Parts, offers: list[Offer], bases: list[Resolved], packs: list[PlannedPack]
) -> Manifest:
    refs = [OfferedRef(offer.namespace, offer.name, offer.rows) for offer in offers]  # type: ignore[arg-type] # offers are of heads, tags and notes
    return Manifest(
        source=parts.config.id,
        time=parts.clock(),
        refs=tuple(sorted(refs, key=lambda ref: (ref.namespace, ref.name))),
        prerequisites=tuple(Prerequisite(base.label, bytes(base.version)) for base in bases),
        packs=tuple(PackSpan(pack_name(pack.footer), pack.size) for pack in packs),
    )


def _pieces(
    writing: _Writing,
    front: bytes,
    spans: Sequence[PackSpan],
    packs: list[PlannedPack],
    tally: Tally,
) -> Iterator[Buffer]:
    """The bytes of a bundle before its trailer, one after another."""
    yield front
    end = len(front)
    offsets, _ = pack_offsets(len(front) - HEADER_SIZE, spans)
    for pack, span, offset in zip(packs, spans, offsets, strict=True):
        yield bytes(offset - end)
        yield from _pack_pieces(writing, pack, tally)
        end = offset + span.size


def _pack_pieces(writing: _Writing, pack: PlannedPack, tally: Tally) -> Iterator[Buffer]:
    yield HEADER
    end = len(HEADER)
    contents = ahead(pack.moves, lambda move: writing.stored(*move))
    for (_, entry), stored in zip(pack.moves, contents, strict=True):
        yield bytes(entry.offset - end)
        yield stored
        end = entry.offset + entry.stored_size
        tally.add(entry.raw_size, new=True)
    yield pack.footer


def _with_trailer(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    found = hasher()
    for piece in pieces:
        found.update(piece)
        yield piece
    yield found.digest()


def _write(path: Path, pieces: Iterable[Buffer], size: int, *, force: bool) -> None:
    with Checkout(path, folder=False, force=force) as checkout:
        with checkout.create(size=size) as file:
            at = 0
            for piece in pieces:
                file.write_at(at, piece)
                at += len(piece)
        checkout.place()


def _require(parts: Parts, manifest: Manifest) -> None:
    parts.odb.refresh()
    missing = [
        f"{needed.label} ({needed.version.hex()[:12]})"
        for needed in manifest.prerequisites
        if not _is_complete(parts, ObjectId(needed.version))
    ]
    if missing:
        raise NotFoundError(
            f"bundle needs versions that this store does not have: {', '.join(missing)}",
            hint="pull them first, or ask for a bundle since a version that is here",
            kind="prerequisite",
        )


def _is_complete(parts: Parts, version: ObjectId) -> bool:
    try:
        needed = needed_objects(parts, Needs(frozenset({version}), frozenset()))
    except NotFoundError:
        return False
    return all(parts.odb.is_held(oid) for oid in needed)
