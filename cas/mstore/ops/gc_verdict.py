"""What becomes of a condemned pack: deleted, held for a while, or live again (SPEC §4.6, G5-G6)."""

from enum import Enum

from mstore.backends.base import Backend, Item
from mstore.errors import MstoreError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.odb import is_unreachable
from mstore.ops.homes import Homes
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

    ``homes`` is that mark, ``bound`` the oldest epoch that a living writer holds: what was
    condemned in it or later may still be on its way into a name.
    """

    def __init__(
        self, parts: Parts, homes: Homes, bound: int, over: dict[int, float], grace: float
    ) -> None:
        self._parts = parts
        self._homes = homes
        self._bound = bound
        self._over = over
        self._grace = grace
        self._sound: dict[ObjectId, bool] = {}

    def decide_all(self, items: list[Item]) -> list[tuple[Item, Fate, str]]:
        """The fate of each pack, and why it is held; nothing is done before all are known.

        What comes back because its live copy is damaged needs its own bases back, and so on.
        """
        while True:
            fates = [(item, *self._decide(item)) for item in items]
            again = [item for item, fate, _ in fates if fate is Fate.RESURRECT]
            bases = {e.base for item in again for e in self._wanted(item) if e.base is not None}
            if not self._homes.need(bases):
                return fates

    def _decide(self, item: Item) -> tuple[Fate, str]:
        try:
            wanted = [entry.id for entry in self._wanted(item)]
            lent = [entry.id for entry in self._lent(item)]
        except MstoreError as error:
            return Fate.HOLD, f"its index cannot be read: {error}"
        if any(self._homes[oid].pack == item.key for oid in wanted):
            return Fate.RESURRECT, ""
        reason = self._reason_to_hold(epoch_of(item.key))
        if reason:
            return Fate.HOLD, reason
        try:
            return (Fate.DELETE if all(map(self._is_sound, wanted + lent)) else Fate.RESURRECT), ""
        except NotFoundError as error:
            return Fate.HOLD, str(error)

    def _reason_to_hold(self, epoch: int) -> str:
        if epoch >= self._bound:
            return f"a writer may still use what was live in epoch {epoch}"
        if epoch not in self._over:
            return f"epoch {epoch} is not over"
        rest = self._grace - self._over[epoch]
        return f"it is held for {rest / 3600:.1f} more hours" if rest > 0 else ""

    def _wanted(self, item: Item) -> list[Entry]:
        entries = self._parts.odb.entries(item.key)
        return [entry for entry in entries if entry.id in self._homes.needed]

    def _lent(self, item: Item) -> list[Entry]:
        """What is needed of a pack, but from another place."""
        lent = self._homes.lent
        return [e for e in self._parts.odb.entries(item.key) if e.id in lent] if lent else []

    def _is_sound(self, oid: ObjectId) -> bool:
        """Whether a live copy was just read, over live bases, and is what it should be.

        Of what is elsewhere, whether it was just read there. NotFoundError where that cannot be
        seen, because the other place cannot be read.
        """
        sound = self._sound.get(oid)
        if sound is None:
            sound = self._sound[oid] = self._can_be_read(oid)
        return sound

    def _can_be_read(self, oid: ObjectId) -> bool:
        odb = self._parts.odb
        try:
            if oid in self._homes.lent:
                odb.elsewhere.read(oid)
            else:
                odb.read_live(oid)
        except MstoreError as error:
            if is_unreachable(error):
                raise
            return False
        return True
