"""What ``put`` takes down of how a version was made, and giving its code back.

Nothing here may fail a put but what the caller said wrong: where the code cannot be known, a remark
says so.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from mstore.backends.checkout import Checkout
from mstore.backends.scratch import scratch_folder
from mstore.capture.work_tree import CapturedCode, work_tree_of
from mstore.discovery import captures
from mstore.errors import InvalidInputError, NotFoundError
from mstore.ids import ObjectId
from mstore.objects import Code, Environment, Log
from mstore.ops.datasets import Given, hash_datasets
from mstore.ops.put import Complete, Description
from mstore.ops.schemas import checked
from mstore.parts import Parts
from mstore.revision import resolve

MAX_LOGS = 64


class _Logs(NamedTuple):
    logs: tuple[Log, ...] = ()
    remarks: tuple[str, ...] = ()


class Wish(NamedTuple):
    """What to take down: ``wanted`` None is what ``$MSTORE_CAPTURE`` says of code and environment.

    ``sources`` are being stored, and no part of the code. With ``once`` the code is that which the
    program was first seen with.
    """

    wanted: bool | None = None
    seeds: Mapping[str, int] | None = None
    sources: Sequence[Path] = ()
    logs: Sequence[Path] = ()
    once: bool = False


class CheckedOut(Struct, frozen=True):
    """The code of a version that was given back; ``source`` is where its commit came from."""

    version: ObjectId
    destination: Path
    commit: str
    tree: str
    source: str
    patched: bool


_codes: dict[Path, CapturedCode] = {}
"""The code of this program by its folder, for those who ask often: it was loaded long ago."""


def take_down(
    parts: Parts, description: Description, datasets: Given, wish: Wish
) -> tuple[Description, Complete | None]:
    """The description with what is taken down, in base units, and held against the schema.

    The code takes longest: what comes second adds it, later and in any thread. InvalidInputError
    names a value, a log, a data set or a seed that is wrong.
    """
    said = checked(parts, description, names=datasets)
    read = _read_logs(wish.logs)
    known = hash_datasets(parts, datasets)
    completed = structs.replace(
        said,
        environment=_environment(wish),
        logs=read.logs,
        datasets=known.names,
        dataset_ids=known.ids,
        remarks=(*read.remarks, *known.remarks),
    )
    return completed, _code_adder(parts, wish)


def _code_adder(parts: Parts, wish: Wish) -> Complete | None:
    """What adds the code around the present working directory; None where there is none."""
    folder = _working_directory() if _is_wanted(wish) else None
    if folder is None or work_tree_of(folder) is None:
        return None

    def add(description: Description) -> Description:
        found = _code(parts, folder, wish)
        remarks = (*description.remarks, *filter(None, [found.remark]))
        return structs.replace(description, code=found.code, remarks=remarks)

    return add


def _is_wanted(wish: Wish) -> bool:
    return captures() if wish.wanted is None else wish.wanted


def _environment(wish: Wish) -> Environment | None:
    """That of this program; where it is not wanted, the seeds alone that were given."""
    if not _is_wanted(wish):
        return _seeds_alone(wish.seeds) if wish.seeds else None
    from mstore.capture.environment import capture_environment  # noqa: PLC0415 - only when wanted

    return capture_environment(seeds=wish.seeds)


def _read_logs(paths: Sequence[Path]) -> _Logs:
    if not paths:
        return _Logs()
    if len(paths) > MAX_LOGS:
        raise InvalidInputError(f"there are {len(paths)} logs, at most {MAX_LOGS} are kept")
    from mstore.capture.logs import parse_log  # noqa: PLC0415 - only when there are logs

    parsed = [parse_log(path) for path in paths]
    remarks = tuple(found.remark for found in parsed if found.remark)
    return _Logs(tuple(found.log for found in parsed), remarks)


def _seeds_alone(seeds: Mapping[str, int]) -> Environment:
    from mstore.capture.environment import checked_seeds  # noqa: PLC0415 - only when there are any

    return Environment(seeds=checked_seeds(seeds))


def _working_directory() -> Path | None:
    with suppress(OSError):  # it was removed
        return Path.cwd()
    return None


def _code(parts: Parts, folder: Path, wish: Wish) -> CapturedCode:
    if wish.once and folder in _codes:
        return _codes[folder]
    from mstore.capture.git import capture_code  # noqa: PLC0415 - only where git has to be run

    found = capture_code(folder, scratch_folder, [Path(parts.backend.location), *wish.sources])
    if wish.once:
        _codes[folder] = found
    return found


def checkout_code(
    parts: Parts,
    revision: str,
    destination: Path,
    *,
    source: str | None = None,
    force: bool = False,
) -> CheckedOut:
    """Write the code that a version was made with to the new folder ``destination``.

    The commit comes from ``source``, a clone or an address; if none is given, from the work tree
    around the working directory if that has it, else from the address that was recorded.
    NotFoundError where no code was kept, or nobody has the commit.
    """
    from mstore.capture.restoring import restore_code  # noqa: PLC0415 - loads what runs git

    target = resolve(parts, revision)
    code = code_of(parts, target.version)
    if code is None:
        raise NotFoundError(
            f"'{target.label}' says nothing of its code",
            hint="code is captured when a version is put from within a git work tree",
        )
    with Checkout(destination, folder=True, force=force, durable=False) as checkout:
        found = restore_code(
            code, checkout.growing, scratch_folder, source=source, around=Path.cwd()
        )
        checkout.place()
    return CheckedOut(
        target.version, destination, code.commit, code.tree, found, patched=bool(code.patch)
    )


def code_of(parts: Parts, version: ObjectId) -> Code | None:
    """The code of a version; None where none was captured."""
    oid = parts.odb.version(version).code
    found = None if oid is None else parts.odb.record(oid)
    return found if isinstance(found, Code) else None
