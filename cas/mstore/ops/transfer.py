"""clone, push and pull: bringing versions from one store to another.

Only what the far side lacks travels. A transfer that was killed is continued by starting it
again. Neither side has to be one's own: a store on read-only media can be pulled from.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from mstore.backends.local import LocalBackend
from mstore.errors import ExistsError, InvalidInputError, NotFoundError, StorageError
from mstore.ops.copying import Offer, Progress, StoreSender, Tally, receive
from mstore.ops.offers import all_offers, rename_offer, select_offers
from mstore.ops.places import open_place, place_path, remember_place
from mstore.parts import Parts, init_parts, open_parts
from mstore.tiers import MODELS


class TransferReport(Struct, frozen=True):
    """What a transfer did. ``names`` gives how many rows each model gained or got back.

    ``notes`` are those that the receiver lacked.
    ``bytes_sent`` and ``bytes_already`` are of objects before compression: those that travelled,
    and those that the receiver had. ``refused_tags`` stand elsewhere at the receiver.
    """

    place: str
    versions: int
    objects: int
    bytes_sent: int
    bytes_already: int
    names: tuple[tuple[str, int], ...]
    tags: tuple[str, ...] = ()
    refused_tags: tuple[str, ...] = ()
    notes: int = 0


def push(
    parts: Parts,
    place: str | Path,
    revisions: Sequence[str] = (),
    *,
    as_name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> TransferReport:
    """Send models, single versions or everything to the store at ``place``.

    ConflictError, with nothing sent, when a model has diverged there; ``force`` moves tags only.
    """
    there = open_place(place)
    offers = rename_offer(_offers_for(there, parts, revisions), as_name)
    report = _copy_versions(parts, there, offers, there, "push", force=force, progress=progress)
    # A store on read-only media can be pushed from; it only cannot note where to.
    with suppress(StorageError):
        remember_place(parts, there)
    return report


def pull(
    parts: Parts,
    place: str | Path,
    revisions: Sequence[str] = (),
    *,
    as_name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> TransferReport:
    """Bring models, single versions or everything from the store at ``place``.

    A version asked for by number, tag or hash gets its bytes back even where it was stripped.
    Errors as in ``push``.
    """
    there = open_place(place)
    offers = rename_offer(_offers_for(parts, there, revisions), as_name)
    report = _copy_versions(there, parts, offers, there, "pull", force=force, progress=progress)
    remember_place(parts, there)
    return report


def clone(
    place: str | Path, path: str | Path, *, progress: Progress | None = None
) -> tuple[Parts, TransferReport]:
    """Make a store at ``path`` that holds all that the one at ``place`` does.

    An unfinished clone of the same store is continued; ExistsError for anything else at ``path``.
    """
    there = open_place(place)
    made = new_store_from(there, place_path(path))
    offers = all_offers(there)
    return made, _copy_versions(there, made, offers, there, "clone", progress=progress)


def new_store_from(source: Parts, path: Path) -> Parts:
    """An empty store at ``path`` whose origin is ``source``, or one made so before."""
    backend = LocalBackend(path)
    if path.exists() and any(path.iterdir()):
        found = _open_if_store(backend)
        origin = None if found is None else found.config.origin
        if found is None or origin is None or origin[1] != source.config.id:
            raise ExistsError(
                f"'{path}' is not empty and no copy of '{source.backend.location}'",
                hint="choose another folder, or pull into the store that is there",
            )
        return found
    return init_parts(backend, source.clock, (source.backend.location, source.config.id))[0]


def _offers_for(target: Parts, source: Parts, revisions: Sequence[str]) -> list[Offer]:
    """What travels; the chunks that one store keeps for the other do when they are asked for."""
    own = "" if revisions else MODELS + target.config.id
    return [offer for offer in select_offers(source, revisions) if offer.name != own]


def _open_if_store(backend: LocalBackend) -> Parts | None:
    try:
        return open_parts(backend)
    except NotFoundError:
        return None


def _copy_versions(
    source: Parts,
    target: Parts,
    offers: Sequence[Offer],
    place: Parts,
    verb: str,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> TransferReport:
    if source.backend.location == target.backend.location:
        raise InvalidInputError(f"'{source.backend.location}' is the store itself")
    reason = f"{verb} from '{source.backend.location}'"
    tally = receive(StoreSender(source), target, offers, reason, force=force, progress=progress)
    return make_report(place.backend.location, tally)


def make_report(place: str, tally: Tally) -> TransferReport:
    """What a tally amounts to; ``place`` is the far side."""
    return TransferReport(
        place=place,
        versions=sum(tally.names.values()),
        objects=tally.objects,
        bytes_sent=tally.sent,
        bytes_already=tally.already,
        names=tuple(sorted(tally.names.items())),
        tags=tuple(tally.tags),
        refused_tags=tuple(tally.refused_tags),
        notes=tally.notes,
    )
