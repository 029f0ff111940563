"""``Store``: the thin front that people hold; every method is one verb of ``mstore.ops``.

It has a page for each thing that people do with a store; nothing is decided here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.discovery import default_store
from mstore.parts import init_parts, open_parts
from mstore.store.comparing import Comparing
from mstore.store.estimating import Estimating
from mstore.store.keeping import Keeping
from mstore.store.naming import Naming
from mstore.store.noting import Noting
from mstore.store.opened import PathLike, Source
from mstore.store.reading import Reading
from mstore.store.searching import Searching
from mstore.store.sharing import Sharing
from mstore.store.storing import Storing
from mstore.store.viewing import Viewing

if TYPE_CHECKING:
    from mstore.ops.intake import Progress
    from mstore.ops.transfer import TransferReport

__all__ = [
    "PathLike",
    "Source",
    "Store",
    "clone_store",
    "dequantise",
    "init_store",
    "load",
    "open_store",
]


class Store(
    Storing,
    Reading,
    Viewing,
    Searching,
    Comparing,
    Naming,
    Noting,
    Estimating,
    Keeping,
    Sharing,
):
    """One open store. Cheap to open; safe to use from several threads for reading.

    As a context manager it is closed at the end, which matters to ``checkpoint`` only.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(path: PathLike | None = None, *, files: FileSystem | None = None) -> Store:
    """Open the store in ``path``, else in ``$MSTORE_STORE``, the nearest ``.mstore`` or the user's.

    NotFoundError (kind "no-store") when there is none.
    """
    place = default_store() if path is None else Path(path)
    return Store(open_parts(LocalBackend(place, files or FileSystem())))


def load(
    revision: str,
    framework: str | None = None,
    *,
    into: object | None = None,
    trusted: Sequence[str] = (),
    verify: bool = True,
) -> Any:  # noqa: ANN401 - a dict, or a model of the framework
    """What ``Store.load`` gives, from the store that ``open_store()`` finds.

    ``mstore.load("blake3:...")`` takes the hash of a version or of its weights.
    """
    return open_store().load(revision, framework, into=into, trusted=trusted, verify=verify)


def init_store(path: PathLike, *, files: FileSystem | None = None) -> tuple[Store, bool]:
    """Open the store in ``path``, made now if there was none; the second value says which."""
    parts, created = init_parts(LocalBackend(Path(path), files or FileSystem()))
    return Store(parts), created


def clone_store(
    place: PathLike, path: PathLike, *, progress: "Progress | None" = None
) -> "tuple[Store, TransferReport]":
    """Copy the store at ``place`` to the new folder ``path``; an unfinished clone goes on."""
    from mstore.ops.transfer import clone  # noqa: PLC0415 (to open a store takes none of it)

    parts, report = clone(str(place), str(path), progress=progress)
    return Store(parts), report


def dequantise(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The float32 tensors that ``int8`` and ``int4`` ones stand for; all others as they are.

    Takes what ``load`` gives of a quantised version, NumPy arrays or torch tensors, and gives the
    same kind. No number is further from what it was than the error that ``quantise`` told.
    CorruptError when the tensors of one do not fit together.
    """
    from mstore.ops.dequantise import dequantise  # noqa: PLC0415 (only when it is wanted)

    return dequantise(tensors)
