"""What fsck says."""

from typing import Literal

from msgspec import Struct, field

Severity = Literal["error", "note"]


class Finding(Struct, frozen=True):
    """One thing that is not as it should be.

    An "error" is damage; a "note" is something left behind that hurts nobody. ``kind`` is one of
    "missing", "damaged", "disagrees", "index", "header", "padding", "entry", "base", "unreadable",
    "unsupported", "chain", "config", "foreign", "leftover", "elsewhere" (in another place, and not
    looked at). ``where`` is a key of the store or an object's id. ``versions`` (``lenet@3``) cannot
    be read in full because of it.
    """

    severity: Severity
    kind: str
    where: str
    message: str
    versions: tuple[str, ...] = ()


class FsckReport(Struct):
    """What was found, and how much was looked at; ``size_bytes`` of packs were read in full.

    ``healed`` are the objects and slots that a repair brought back, ``quarantined`` the keys it
    moved there.
    """

    findings: list[Finding] = field(default_factory=list)
    packs: int = 0
    objects: int = 0
    versions: int = 0
    size_bytes: int = 0
    full: bool = False
    healed: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """The findings that are damage."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def clean(self) -> bool:
        """Whether nothing is damaged."""
        return not self.errors

    @property
    def hurt(self) -> tuple[str, ...]:
        """The versions that cannot be read in full, sorted."""
        return tuple(sorted({label for finding in self.errors for label in finding.versions}))
