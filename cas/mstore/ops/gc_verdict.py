"""What becomes of a condemned pack: deleted, held for a while, or live again (SPEC §4.6, G5-G6)."""

from collections.abc import Iterable
from enum import Enum

from mstore.backends.base import Backend, Item
from mstore.errors import MstoreError
from mstore.ids import ObjectId
from mstore.odb.entries import decode_entry
from mstore.parts import Parts

CONDEMNED = "condemned"


class Fate(Enum):
    """What is to be done with a condemned pack."""

    DELETE = "delete"
    HOLD = "hold"
    RESURRECT = "resurrect"


def condemned_packs(backend: Backend) -> list[Item]:
    """The condemned packs, those of the oldest epoch first."""
    prefixes = sorted(backend.list_prefixes(CONDEMNED))
    return [item for prefix in prefixes for item in backend.list(prefix)]


def epoch_of(key: str) -> int:
    """The epoch in which a pack was condemned; -1 for a folder that is none of ours."""
    try:
        return int(key.split("/")[1], 16)
    except ValueError:
        return -1


def ages(backend: Backend, now: float | None = None) -> dict[int, float]:
    """For how many seconds each epoch has been over, by the place's own clock.

    An epoch was over when the next one was begun. ``now`` is in UTC seconds; without it the
    beginning of the newest epoch, which gc has just made.
    """
    begun = sorted((_number(item), item.modified) for item in backend.list("epoch"))
    if not begun:
        return {}
    now = begun[-1][1] if now is None else now
    over: dict[int, float] = {}
    for prefix in backend.list_prefixes(CONDEMNED):
        epoch = epoch_of(prefix + "/")
        later = [modified for number, modified in begun if number > epoch]
        if later and epoch >= 0:
            over[epoch] = now - later[0]
    return over


def _number(item: Item) -> int:
    return int(item.key.rpartition("/")[2], 16)


class Judge:
    """Decides about condemned packs after the second mark.

    ``needed`` is that mark, ``bound`` the oldest epoch that a living writer holds: what was
    condemned in it or later may still be on its way into a name.
    """

    def __init__(
        self,
        parts: Parts,
        needed: set[ObjectId],
        bound: int,
        over: dict[int, float],
        grace: float,
    ) -> None:
        self._parts = parts
        self._needed = needed
        self._bound = bound
        self._over = over
        self._grace = grace
        self._live_again: set[ObjectId] = set()
        self._sound: set[ObjectId] = set()

    def decide(self, item: Item) -> tuple[Fate, str]:
        """The fate of a pack, and why it is held."""
        try:
            wanted = self._wanted(item)
        except MstoreError as error:
            return Fate.HOLD, f"its index cannot be read: {error}"
        if not all(map(self._is_live, wanted)):
            return Fate.RESURRECT, ""
        reason = self._reason_to_hold(epoch_of(item.key))
        if reason:
            return Fate.HOLD, reason
        return (Fate.DELETE if all(map(self._is_sound, wanted)) else Fate.RESURRECT), ""

    def _reason_to_hold(self, epoch: int) -> str:
        if epoch >= self._bound:
            return f"a writer may still use what was live in epoch {epoch}"
        if epoch not in self._over:
            return f"epoch {epoch} is not over"
        rest = self._grace - self._over[epoch]
        return f"it is held for {rest / 3600:.1f} more hours" if rest > 0 else ""

    def resurrect(self, item: Item) -> None:
        """Say that a pack will be live again, so that others with the same objects need not."""
        self._live_again.update(self._wanted(item))

    def _wanted(self, item: Item) -> list[ObjectId]:
        entries: Iterable[ObjectId] = (entry.id for entry in self._parts.odb.entries(item.key))
        return [oid for oid in entries if oid in self._needed]

    def _is_live(self, oid: ObjectId) -> bool:
        return oid in self._live_again or self._parts.odb.is_live(oid)

    def _is_sound(self, oid: ObjectId) -> bool:
        """Whether the live copy was just read and is what it should be."""
        if oid in self._sound:
            return True
        found = self._parts.odb.find(oid)
        if found is None or not found.live:
            return False
        entry = found.entry
        try:
            stored = self._parts.backend.read(
                found.pack_key, entry.offset, entry.offset + entry.stored_size
            )
            decode_entry(found.pack_key, entry, stored)
        except MstoreError:
            return False
        self._sound.add(oid)
        return True
