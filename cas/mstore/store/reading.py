"""Getting models back, whole or in part, and finding out what they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mstore.ops import describe
from mstore.ops.get import GetResult, cat, get
from mstore.ops.models import load_model
from mstore.ops.read import Reader
from mstore.ops.reads import note_read
from mstore.store.opened import Opened, PathLike

if TYPE_CHECKING:
    from mstore.ops.captured import CheckedOut
    from mstore.ops.identify import Identified
    from mstore.ops.intake import Progress


class Reading(Opened):
    """Getting models back, whole or in part, and finding out what they are."""

    def get(
        self,
        revision: str,
        destination: PathLike,
        *,
        force: bool = False,
        sync: bool = False,
        bits: int | None = None,
        progress: "Progress | None" = None,
    ) -> GetResult:
        """Write the exact files of a version; verified on the way, whole or not at all.

        ExistsError when something stands there and ``force`` is off. With ``sync`` the files are
        on the disk when it returns. With ``bits`` floats are read and given as by ``load``, and
        the safetensors files say so ("mstore_bits" in their metadata).
        """
        path = Path(destination)
        done = get(self.parts, revision, path, force=force, sync=sync, bits=bits, progress=progress)
        note_read(self.parts.backend, done.version)
        return done

    def checkout_code(
        self,
        revision: str,
        destination: PathLike,
        *,
        source: str | None = None,
        force: bool = False,
    ) -> "CheckedOut":
        """Write the source code that a version was made with, as it was, to a new folder.

        Its commit comes from ``source``, a clone or an address, else from the work tree around,
        else from where it was fetched then. NotFoundError when nobody has it, or no code was kept.
        """
        from mstore.ops.captured import checkout_code  # noqa: PLC0415 (only when it is wanted)

        return checkout_code(self.parts, revision, Path(destination), source=source, force=force)

    def cat(
        self, revision: str, write: Callable[[memoryview], object], *, bits: int | None = None
    ) -> None:
        """Give ``write`` the bytes of ``REV:path``, ``REV:path#tensor`` or rows of it.

        ``bits``, for tensors alone, as for ``load``.
        """
        cat(self.parts, revision, write, bits)

    def read(self, revision: str, framework: str = "numpy", *, bits: int | None = None) -> Reader:
        """The tensors of a version, lazily; a context manager like ``safetensors.safe_open``.

        ``bits`` as for ``load``; ``bytes_read`` then says what that took.
        """
        return Reader(self.parts, revision, framework, bits)

    def load(
        self,
        revision: str,
        framework: str | None = None,
        *,
        into: object | None = None,
        trusted: Sequence[str] = (),
        verify: bool = True,
        bits: int | None = None,
    ) -> Any:  # noqa: ANN401 - a dict, or a model of the framework
        """A version as a model of ``framework``, else every tensor by name.

        ``into`` is a model to fill, and says which framework if that is not given; else it is
        NumPy. Tensors are mapped without a copy where the store has them raw; ``verify=False``
        skips hashing of mapped tensors: damage on disk then goes unseen. With ``bits`` only so many
        leading bits of each float are read, where it is stored for that, and each is given as the
        middle of where it then may lie; see ``bounds``. ``trusted`` names types that an estimator
        may need and nobody vouches for.
        """
        given, version = load_model(
            self.parts,
            revision,
            framework,
            into=into,
            trusted=trusted,
            verify=verify,
            bits=bits,
        )
        note_read(self.parts.backend, version)
        return given

    def bounds(
        self, revision: str, bits: int, framework: str = "numpy"
    ) -> dict[str, tuple[Any, Any]]:
        """Between which two arrays every tensor lies, as far as its leading bits tell.

        Of a float that may be infinite or none at all one bound is infinite; of one that is none
        for certain both are none.
        """
        reader = self.read(revision, framework, bits=bits)
        return {name: reader.bounds(name) for name in reader}

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

    def identify(
        self, path: PathLike, *, follow: bool = False, progress: "Progress | None" = None
    ) -> "Identified":
        """Which version a stray file or folder is, else which is nearest to it."""
        from mstore.ops.identify import identify  # noqa: PLC0415 (only when it is wanted)

        return identify(self.parts, Path(path), follow=follow, progress=progress)
