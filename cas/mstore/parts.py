"""An opened store taken apart: what every verb is given, and the one way to write to it.

A transaction takes its lease before it looks at anything (SPEC §4, rule W1), so whatever it
finds live stays readable until it has committed or given up.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from msgspec import Struct

from mstore.backends.base import Backend
from mstore.backends.local import LocalBackend
from mstore.errors import NotFoundError
from mstore.format.config import Config, decode_config, encode_config
from mstore.odb import ObjectDatabase, PackWriter
from mstore.refs import Change, Clock, RefStore, RefTable, current_epoch
from mstore.tiers import Opened, Tiers

CONFIG_KEY = "config"


def utc_microseconds() -> int:
    """The clock that everything but tests uses."""
    return time.time_ns() // 1000


class Parts(Struct, frozen=True):
    """The parts of one open store."""

    backend: Backend
    config: Config
    odb: ObjectDatabase
    refs: RefStore
    clock: Clock


def open_parts(backend: Backend, clock: Clock = utc_microseconds) -> Parts:
    """Open the store in ``backend``; NotFoundError (kind "no-store") when there is none."""
    config = _read_config(backend)
    refs = RefStore(backend, clock)
    return Parts(backend, config, open_objects(backend, refs), refs, clock)


def open_objects(backend: Backend, refs: RefStore, *, cached: bool = True) -> ObjectDatabase:
    """The objects of a store whose names are ``refs``, which say what of it is elsewhere."""

    def lists() -> ObjectDatabase:
        return ObjectDatabase(backend, cached=cached)

    return ObjectDatabase(backend, cached=cached, elsewhere=Tiers(refs, lists, open_there))


def open_there(place: str) -> Opened:
    """The store in a folder as one that has chunks of another; errors as ``open_parts``."""
    # What it has itself given to others is not looked for: a chunk must be where it was given to.
    backend = LocalBackend(Path(place))
    return Opened(_read_config(backend).id, ObjectDatabase(backend))


def _read_config(backend: Backend) -> Config:
    try:
        content = backend.read(CONFIG_KEY)
    except NotFoundError as error:
        raise NotFoundError(
            f"no store at '{backend.location}'",
            hint=f"make one: mstore init {backend.location}",
            kind="no-store",
        ) from error
    return decode_config(content)


def init_parts(
    backend: Backend, clock: Clock = utc_microseconds, origin: tuple[str, str] | None = None
) -> tuple[Parts, bool]:
    """Make a store in ``backend`` unless there is one, and open it; True when it was made.

    ``origin`` is the (place, store id) that a stripped store was made from.
    """
    backend.prepare()
    config = Config(id=os.urandom(16).hex(), created=clock(), origin=origin)
    created = backend.create(CONFIG_KEY, encode_config(config))
    return open_parts(backend, clock), created


class Transaction:
    """One writer's work: objects first, then one name; nothing is visible before ``commit``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lease = parts.backend.lease(current_epoch(parts.backend))
        try:
            parts.odb.refresh()
            self.writer: PackWriter = parts.odb.writer()
        except BaseException:
            self._lease.drop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.writer.discard()
        finally:
            self._lease.drop()

    def publish(self) -> None:
        """Make every object of this transaction durable, those it reused too (rule W3)."""
        self.writer.publish()

    def commit(
        self, namespace: str, name: str, change: Callable[[RefTable | None], Change]
    ) -> RefTable:
        """Change one name; the transaction's last act. Durable on return (rule W4)."""
        return self._parts.refs.commit(self._lease, namespace, name, change)
