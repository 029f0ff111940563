"""Other places that hold versions: how they are opened, and which of them a store remembers.

A place is the directory of another store. What was cloned, pushed to or pulled from is kept in
the names of the "remotes" namespace, so that a stripped version can say where it may be had.
"""

from pathlib import Path

from mstore.backends.local import LocalBackend
from mstore.discovery import store_directory
from mstore.errors import NotFoundError, UnsupportedError
from mstore.ids import ObjectId
from mstore.parts import Parts, Transaction, open_parts
from mstore.refs import REMOTES, Change, RefTable

ORIGIN = "origin"


def place_path(place: str | Path) -> Path:
    """The absolute path of a place; UnsupportedError for anything with a scheme but ``file``."""
    text = str(place)
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "file":
        raise UnsupportedError(
            f"place '{text}' has scheme '{scheme}', only directories of stores are supported",
            hint="name a directory, such as /backup/store or file:///backup/store",
        )
    return Path(rest if separator else text).expanduser().absolute()


def open_place(place: str | Path) -> Parts:
    """The store at a place, or in the ``.mstore`` folder of a place (kind "no-store" if none)."""
    return open_parts(LocalBackend(store_directory(place_path(place))))


def remember_place(parts: Parts, place: Parts) -> None:
    """Note in ``parts`` that the store ``place`` is known; nothing when it is already."""
    location = place.backend.location
    if location in places_known(parts):
        return
    taken = ORIGIN in parts.refs.names(REMOTES)
    name = f"store-{place.config.id[:12]}" if taken else ORIGIN

    def change(_: RefTable | None) -> Change:
        return Change((), f"met '{location}'", place=location)

    with Transaction(parts) as transaction:
        transaction.commit(REMOTES, name, change)


def stripped_error(parts: Parts, label: str, version: ObjectId) -> NotFoundError:
    """What to raise when the bytes of a version are asked for and were stripped."""
    places = places_known(parts)
    if not places:
        hint = "no other place is known that holds it"
    else:
        listed = " or ".join(f"'{place}'" for place in places)
        hint = f"it may still be had from {listed}: mstore pull PLACE {label}"
    return NotFoundError(
        f"'{label}' was stripped: version {str(version)[:12]} is described here, its bytes are not",
        hint=hint,
        kind="stripped",
    )


def places_known(parts: Parts) -> list[str]:
    """Other stores that this one came from or has exchanged versions with."""
    places = [parts.config.origin[0]] if parts.config.origin else []
    remotes = parts.refs.tables(REMOTES).values()
    # A place that has only low planes of this store has rows, and need not have any version.
    places += [table.place for table in remotes if table.place and not table.rows]
    return list(dict.fromkeys(places))
