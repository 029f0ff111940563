"""What models are called, and which of their versions stay."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mstore.ids import ObjectId
from mstore.ops import names
from mstore.revision import resolve
from mstore.store.opened import Opened

if TYPE_CHECKING:
    from mstore.ops.retain import RetainReport


class Naming(Opened):
    """What models are called, and which of their versions stay."""

    def tags(self) -> dict[str, ObjectId]:
        """Every tag and the version it means."""
        return names.tags(self.parts)

    def tag_rows(self) -> list[names.TagRow]:
        """Every tag with who made it mean what it means, when and why."""
        return names.tag_rows(self.parts)

    def tag(self, revision: str, tag: str, *, author: str = "", reason: str = "") -> names.Moved:
        """Let ``tag`` mean a version; it moves if it meant another."""
        target = resolve(self.parts, revision)
        return names.tag_version(self.parts, target.version, tag, author=author, reason=reason)

    def delete_tag(self, tag: str, *, author: str = "") -> names.Moved:
        """Take a tag away; the version it meant keeps its other names."""
        return names.delete_tag(self.parts, tag, author=author)

    def rename(self, old: str, new: str, *, author: str = "") -> names.Moved:
        """Give a model another name; its version numbers stay."""
        return names.rename(self.parts, old, new, author=author)

    def delete(self, name: str, *, dry_run: bool = False, author: str = "") -> names.Deleted:
        """Delete a tag, a version (``lenet@3``) or a model; bytes stay until ``gc``."""
        return names.delete(self.parts, name, dry_run=dry_run, author=author)

    def revert(self, revision: str, *, author: str = "", message: str = "") -> names.Moved:
        """Make a new version with the files of an older one."""
        return names.revert(self.parts, revision, author=author, message=message)

    def copy(self, revision: str, name: str, *, author: str = "", message: str = "") -> names.Moved:
        """Make a new model that begins as a version is; takes no space."""
        return names.copy(self.parts, revision, name, author=author, message=message)

    def undo(self, name: str, *, author: str = "") -> names.Moved:
        """Take back the newest change of a name."""
        return names.undo(self.parts, name, author=author)

    def retain(
        self,
        name: str,
        *,
        last: int | None = None,
        every: int | None = None,
        best: Sequence[str] = (),
        optimizer_last: int | None = None,
        forget: bool = False,
        dry_run: bool = False,
        author: str = "",
    ) -> "RetainReport":
        """Strip the versions of a model, or with ``forget`` delete them, but those that rules keep.

        ``last`` keeps that many, ``every`` the steps that it divides, ``best`` those with the best
        of a metric ("val/loss:min"), ``optimizer_last`` that many optimizer states. The newest and
        those with a tag always stay. ``undo`` takes it back until ``gc``.
        """
        from mstore.ops.retain import Retention, retain  # noqa: PLC0415 (only when it is wanted)

        rules = Retention(last, every, tuple(best), optimizer_last)
        return retain(self.parts, name, rules, forget=forget, dry_run=dry_run, author=author)
