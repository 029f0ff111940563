"""``Store``: the thin front that people hold; every method is one verb of ``mstore.ops``."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mstore import adapters
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.discovery import default_store
from mstore.ids import ObjectId
from mstore.objects import Relation, Value
from mstore.ops import describe, names, transfer, usage
from mstore.ops.bundle import BundleReport, apply_bundle, create_bundle
from mstore.ops.check import check
from mstore.ops.findings import FsckReport
from mstore.ops.gc import GcReport, Limits, run_gc
from mstore.ops.get import GetResult, cat, get
from mstore.ops.identify import Identified, identify
from mstore.ops.intake import Progress
from mstore.ops.put import Description, PutResult, put
from mstore.ops.read import Reader
from mstore.ops.repair import repair
from mstore.ops.sources import SourceTree, scan_arrays, scan_paths
from mstore.ops.strip import StripReport, strip
from mstore.ops.transfer import TransferReport
from mstore.parts import Parts, init_parts, open_parts
from mstore.revision import Resolved, resolve

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike] | Mapping[str, object]


class Store:
    """One open store. Cheap to open; safe to use from several threads for reading."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @property
    def path(self) -> str:
        """Where the store is."""
        return self.parts.backend.location

    def resolve(self, revision: str) -> Resolved:
        """The version that a revision names; NotFoundError, InvalidInputError."""
        return resolve(self.parts, revision)

    def put(
        self,
        source: Source,
        name: str | None = None,
        *,
        message: str = "",
        parents: Sequence[str] | None = None,
        relation: Relation = "derived",
        params: Mapping[str, Value] | None = None,
        metrics: Mapping[str, float] | None = None,
        datasets: Sequence[str] = (),
        tags: Sequence[str] = (),
        task: str = "",
        metadata: Mapping[str, Value] | None = None,
        author: str = "",
        always: bool = False,
        follow: bool = False,
        progress: Progress | None = None,
    ) -> PutResult:
        """Store a file, a folder, several paths or a state dict as the next version of ``name``.

        ``name`` is the path's own, ``parents`` the version before, if not given. An unchanged
        model makes no new version unless ``always``. Durable on return.
        """
        tree = _scan(source, follow=follow)
        description = Description(
            message=message,
            author=author,
            task=task,
            tags=tuple(tags),
            parents=None if parents is None else tuple(parents),
            relation=relation,
            parameters=params or {},
            metrics=metrics or {},
            datasets=tuple(datasets),
            metadata=metadata or {},
        )
        return put(
            self.parts, tree, name or tree.name, description, always=always, progress=progress
        )

    def get(
        self,
        revision: str,
        destination: PathLike,
        *,
        force: bool = False,
        sync: bool = False,
        progress: Progress | None = None,
    ) -> GetResult:
        """Write the exact files of a version; verified on the way, whole or not at all.

        ExistsError when something stands there and ``force`` is off. With ``sync`` the files are
        on the disk when it returns.
        """
        path = Path(destination)
        return get(self.parts, revision, path, force=force, sync=sync, progress=progress)

    def cat(self, revision: str, write: Callable[[memoryview], object]) -> None:
        """Give ``write`` the bytes of ``REV:path``, ``REV:path#tensor`` or rows of it."""
        cat(self.parts, revision, write)

    def read(self, revision: str, framework: str = "numpy") -> Reader:
        """The tensors of a version, lazily; a context manager like ``safetensors.safe_open``."""
        return Reader(self.parts, revision, framework)

    def load(
        self, revision: str, framework: str = "numpy", *, verify: bool = True
    ) -> dict[str, Any]:
        """Every tensor of a version by name, mapped without a copy where the store has it raw.

        ``verify=False`` skips hashing of mapped tensors: damage on disk then goes unseen.
        """
        return self.read(revision, framework).load(verify=verify)

    def models(self) -> list[describe.ModelRow]:
        """Every model and its newest version."""
        return describe.models(self.parts)

    def log(self, name: str) -> list[describe.LogRow]:
        """The versions of a model, newest first."""
        return describe.log(self.parts, name)

    def show(self, revision: str) -> describe.Shown:
        """Everything known of one version."""
        return describe.show(self.parts, revision)

    def tensors(self, revision: str) -> list[describe.TensorRow]:
        """The tensors of a version, without reading their bytes."""
        return describe.tensors(self.parts, revision)

    def tags(self) -> dict[str, ObjectId]:
        """Every tag and the version it means."""
        return names.tags(self.parts)

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

    def undo(self, name: str, *, author: str = "") -> names.Moved:
        """Take back the newest change of a name."""
        return names.undo(self.parts, name, author=author)

    def identify(
        self, path: PathLike, *, follow: bool = False, progress: Progress | None = None
    ) -> Identified:
        """Which version a stray file or folder is, else which is nearest to it."""
        return identify(self.parts, Path(path), follow=follow, progress=progress)

    def du(self, revisions: Sequence[str] = ()) -> list[usage.Usage]:
        """Exclusive and shared bytes of some versions, or of all."""
        return usage.du(self.parts, revisions)

    def why(self, digits: str) -> list[usage.Reason]:
        """What keeps an object alive."""
        return usage.why(self.parts, digits)

    def gc(
        self,
        *,
        dry_run: bool = False,
        now: bool = False,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> GcReport:
        """Collect what no name needs; ``now`` does not hold it for a day."""
        return run_gc(self.parts, dry_run=dry_run, now=now, limits=limits, progress=progress)

    def fsck(self, *, full: bool = False, progress: Progress | None = None) -> FsckReport:
        """Look for damage, with ``full`` in every stored byte; never raises for what it finds."""
        return check(self.parts, full=full, progress=progress)

    def repair(
        self, places: Sequence[PathLike] = (), *, progress: Progress | None = None
    ) -> FsckReport:
        """Heal damage from other stores or from files that were once put; deletes nothing."""
        return repair(self.parts, [Path(place) for place in places], progress=progress)

    def strip(
        self,
        keep: Sequence[str],
        *,
        to: PathLike | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> StripReport:
        """Keep the bytes of some versions and the description of all, at ``to`` or here."""
        place = None if to is None else str(to)
        return strip(self.parts, keep, to=place, dry_run=dry_run, progress=progress)

    def push(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> TransferReport:
        """Send models or versions, or everything, to another store."""
        return transfer.push(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def pull(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> TransferReport:
        """Bring models or versions, or everything, from another store."""
        return transfer.pull(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def bundle(
        self,
        path: PathLike,
        revisions: Sequence[str] = (),
        *,
        since: Sequence[str] = (),
        force: bool = False,
        progress: Progress | None = None,
    ) -> BundleReport:
        """Write one file that holds what a store with the versions ``since`` lacks."""
        return create_bundle(
            self.parts, Path(path), revisions, since=since, force=force, progress=progress
        )

    def unbundle(
        self, path: PathLike, *, force: bool = False, progress: Progress | None = None
    ) -> TransferReport:
        """Bring in what a bundle holds."""
        return apply_bundle(self.parts, Path(path), force=force, progress=progress)


def _scan(source: Source, *, follow: bool) -> SourceTree:
    if isinstance(source, Mapping):
        return scan_arrays(adapters.tensors(source), "model")
    paths = [source] if isinstance(source, str | os.PathLike) else source
    return scan_paths([Path(path) for path in paths], follow=follow)


def open_store(path: PathLike | None = None, *, files: FileSystem | None = None) -> Store:
    """Open the store in ``path``, else in ``$MSTORE_STORE``, the nearest ``.mstore`` or the user's.

    NotFoundError (kind "no-store") when there is none.
    """
    place = default_store() if path is None else Path(path)
    return Store(open_parts(LocalBackend(place, files or FileSystem())))


def load(revision: str, framework: str = "numpy", *, verify: bool = True) -> dict[str, Any]:
    """Every tensor of a version, from the store that ``open_store()`` finds.

    ``mstore.load("blake3:...")`` takes the hash of a version or of its weights.
    """
    return open_store().load(revision, framework, verify=verify)


def init_store(path: PathLike, *, files: FileSystem | None = None) -> tuple[Store, bool]:
    """Open the store in ``path``, made now if there was none; the second value says which."""
    parts, created = init_parts(LocalBackend(Path(path), files or FileSystem()))
    return Store(parts), created


def clone_store(
    place: PathLike, path: PathLike, *, progress: Progress | None = None
) -> tuple[Store, TransferReport]:
    """Copy the store at ``place`` to the new folder ``path``; an unfinished clone goes on."""
    parts, report = transfer.clone(str(place), str(path), progress=progress)
    return Store(parts), report
