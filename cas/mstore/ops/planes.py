"""Storing tensors so that their leading bits can be read without the others (SPEC §8.7).

A chunk becomes a few entries: the leading bits, then one for each further step, then the rest.
Each is the base of the one before it, so gc, fsck and transfers treat them as any bases. Chunks
that are stored as a difference from others stay so unless their version is named: they are
smaller that way, and are read whole.

Loads NumPy: it is imported when somebody wants planes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise

from msgspec import Struct

from mstore.codecs import PLANES, ZSTD, Coded, codec, planes
from mstore.errors import InvalidInputError, NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.ids import Buffer, Kind, ObjectId, hash_chunk
from mstore.objects import Tensor, TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.bases import MAX_DEPTH
from mstore.ops.encoding import FLOATS
from mstore.ops.leading import steps_of
from mstore.ops.payload import Piece, require_payload, tensor_pieces
from mstore.ops.places import stripped_error
from mstore.ops.recode import Change, Recoded, Step, Stepped, recode
from mstore.ops.walk import roots, split_ids, walk_files, walk_version
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

LEVELS = 8, 16
"""Bits after which there is a step, where nobody says otherwise."""
MIN_TENSOR = 64 << 10
"""Bytes of the smallest tensor that is worth reading in parts."""

_BYTE = 8
_MAX_LEVEL = 63
_MIN_CHUNK = 4 << 10
_SAMPLE = 16 << 10
_MAX_GAIN = 0.97


class PlanesReport(Struct, frozen=True):
    """What was stored in planes, or would be.

    ``tensors`` were not before, of ``tensors_total`` that can be. ``bytes_before`` and
    ``bytes_after`` are what the chunks of all of these take with their bases, ``leading_bytes``
    what of it is read for the first level; with ``dry_run`` both are 0. ``written_bytes`` went to
    new packs, ``condemned_bytes`` come back when gc deletes the old.
    """

    levels: tuple[int, ...]
    tensors: int
    tensors_total: int
    bytes_before: int
    bytes_after: int
    leading_bytes: int
    written_bytes: int
    condemned: tuple[str, ...]
    condemned_bytes: int
    dry_run: bool


def store_planes(
    parts: Parts,
    revisions: Sequence[str],
    levels: Sequence[int] = LEVELS,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> PlanesReport:
    """Store the tensors of some versions, or of all, with a step after each number of bits.

    A revision may be a part of a version, as for ``chosen_tensors``. InvalidInputError for levels
    that do not ascend and for rows; NotFoundError where no tensor has the name, and (kind
    "stripped") for a version whose bytes are not here; ConflictError when a gc runs.
    """
    steps = check_levels(levels)
    everything = not revisions
    found = (
        t for t in chosen_tensors(parts, revisions) if steps[0] < _BYTE * FLOATS.get(t.dtype, 0)
    )
    tensors = [t for t in found if not everything or _is_alone(parts.odb, t)]
    changed = [tensor for tensor in tensors if not _is_done(parts, tensor, steps)]
    chunks = _chunks(tensors)
    before, _ = _stored(parts.odb, chunks)
    done, after, leading = Recoded((), 0, (), 0), 0, 0
    if not dry_run:
        if changed:
            todo = _all_changes(changed, steps)
            # In planes they take about as much as they do now.
            expected, _ = _stored(parts.odb, _chunks(changed))
            done = recode(parts, todo, expected=expected, progress=progress)
        after, leading = _stored(parts.odb, chunks)
    return PlanesReport(
        levels=steps,
        tensors=len(changed),
        tensors_total=len(tensors),
        bytes_before=before,
        bytes_after=after,
        leading_bytes=leading,
        written_bytes=done.written_bytes,
        condemned=done.condemned,
        condemned_bytes=done.condemned_bytes,
        dry_run=dry_run,
    )


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """``levels``; InvalidInputError unless they are a few that ascend from 1 to 63 at most."""
    ascend = all(first < second for first, second in pairwise(levels))
    if not levels or not ascend or levels[0] < 1 or levels[-1] > _MAX_LEVEL:
        listed = ",".join(map(str, levels))
        raise InvalidInputError(
            f"levels '{listed}' are not ascending numbers of bits from 1 to {_MAX_LEVEL}",
            hint="give such as 8,16",
        )
    if len(levels) > MAX_DEPTH:
        raise InvalidInputError(f"{len(levels)} levels are too many, at most are {MAX_DEPTH}")
    return tuple(levels)


def chosen_tensors(parts: Parts, revisions: Sequence[str]) -> Iterator[Tensor]:
    """The tensors that have enough bytes, each once: those of some versions, or of all.

    ``lenet:#fc*.weight`` chooses among the tensors of a version by a pattern of their names, and
    ``lenet:model.safetensors`` those of one file. Errors as ``store_planes``.
    """
    seen: set[ObjectId] = set()
    for target in [_chosen(parts, text) for text in revisions] or _every_kept(parts):
        for oid in _tensor_ids(parts, target):
            tensor = parts.odb.tensor(oid)
            if oid in seen or tensor_size(tensor.dtype, tensor.shape) < MIN_TENSOR:
                continue
            seen.add(oid)
            for chunk in split_ids(tensor.chunks) if revisions else ():
                require_payload(parts, target, chunk)
            yield tensor


def _every_kept(parts: Parts) -> list[Resolved]:
    return [Resolved(str(version), version) for version in sorted(roots(parts).kept)]


def _chosen(parts: Parts, text: str) -> Resolved:
    found = resolve(parts, text)
    if found.rows is not None:
        raise InvalidInputError(
            f"'{text}' are rows of a tensor, only whole tensors are stored anew",
            hint=f"leave the rows out: {text.rpartition('[')[0]}",
        )
    if found.state == "stripped":
        raise stripped_error(parts, found.label, found.version)
    return found


def _tensor_ids(parts: Parts, target: Resolved) -> list[ObjectId]:
    """The tensors of a version that its path and the pattern of its tensors leave."""
    if target.path is None and target.tensor is None:
        kinds = walk_version(parts, target.version)
        return [oid for kind, oid in kinds if kind is Kind.TENSOR]
    found = [
        ObjectId(oid)
        for file in walk_files(parts.odb, parts.odb.version(target.version).tree)
        if target.path in {None, file.path} and isinstance(file.file, TensorFile)
        for name, oid in file.file.tensors
        if target.tensor is None or fnmatchcase(name, target.tensor)
    ]
    if not found:
        raise NotFoundError(
            f"'{target.text}' names no tensor", hint=f"see them: mstore tensors {target.label}"
        )
    return found


def _chunks(tensors: Sequence[Tensor]) -> set[ObjectId]:
    return {oid for tensor in tensors for oid in split_ids(tensor.chunks)}


def _is_alone(odb: ObjectDatabase, tensor: Tensor) -> bool:
    """Whether no chunk of a tensor is stored as a difference from another."""
    links = (link for oid in split_ids(tensor.chunks) for link in odb.chain(oid))
    return all(link.entry.base is None or link.entry.codec == PLANES for link in links)


def _is_done(parts: Parts, tensor: Tensor, levels: Sequence[int]) -> bool:
    """Whether every chunk of a tensor is stored with these steps."""
    return all(_has_steps(parts.odb, piece, tensor, levels) for piece in tensor_pieces(tensor))


def _has_steps(odb: ObjectDatabase, piece: Piece, tensor: Tensor, levels: Sequence[int]) -> bool:
    sizes = [piece.size, *_low_sizes(piece.size, FLOATS[tensor.dtype], levels)]
    if piece.size < _MIN_CHUNK:
        return True
    steps = [place.entry for place in steps_of(odb, piece.id)]
    below = steps[-1].base
    if below is not None and odb.is_lent(below):
        # What is elsewhere has the steps that it was given with.
        sizes = sizes[: len(steps)]
    return [entry.raw_size for entry in steps] == sizes


def _low_sizes(size: int, width: int, levels: Sequence[int]) -> list[int]:
    """Bytes of the low chunks of a chunk of ``size`` bytes, one after another."""
    count, low_bits = size // width, _BYTE * width - levels[0]
    whole = planes.low_size(count, low_bits, low_bits)
    starts = {planes.low_size(count, low_bits, level - levels[0]) for level in levels}
    return [whole - start for start in sorted(starts) if start < whole]


def _all_changes(tensors: Collection[Tensor], levels: Sequence[int]) -> Iterator[Change]:
    for tensor in tensors:
        width = FLOATS[tensor.dtype]
        for piece in tensor_pieces(tensor):
            yield Change(piece.id, piece.size, _Split(width, levels))


class _Split:
    """Makes a chunk into its steps."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        self._width, self._levels = width, levels

    def __call__(self, raw: Buffer) -> Stepped | None:
        if len(raw) < _MIN_CHUNK or len(raw) % self._width:
            return None
        sizes = _low_sizes(len(raw), self._width, self._levels)
        stored, low = planes.split(raw, self._width, self._levels[0])
        steps: list[Step] = []
        forms: list[bytes] = [stored]
        chunks = [low]
        for above, below in pairwise(sizes):
            stored, low = planes.cut(low, above - below)
            forms.append(stored)
            chunks.append(low)
        ids = [hash_chunk(chunk) for chunk in chunks]
        for number, chunk in enumerate(chunks[:-1]):
            coded = Coded(PLANES, forms[number + 1], ids[number + 1])
            steps.append(Step(ids[number], chunk, coded))
        steps.append(Step(ids[-1], low, _rest(low)))
        return Stepped(Coded(PLANES, forms[0], ids[0]), tuple(steps))


def _rest(low: bytes) -> Coded | None:
    """The last low chunk coded where that gains something, as in numbers that were widened."""
    middle = len(low) // 2
    method = codec(ZSTD)
    if len(low) > 2 * _SAMPLE:
        sample = low[:_SAMPLE] + low[middle : middle + _SAMPLE]
        tried = method.encode(sample)
        if tried is None or len(tried) > _MAX_GAIN * len(sample):
            return None
    stored = method.encode(low)
    return None if stored is None else Coded(ZSTD, stored)


def _stored(odb: ObjectDatabase, chunks: Collection[ObjectId]) -> tuple[int, int]:
    """Bytes that chunks take with all their bases, and those of their own entries alone."""
    sizes: dict[ObjectId, int] = {}
    leading = 0
    for oid in chunks:
        steps = steps_of(odb, oid)
        leading += steps[0].entry.stored_size
        sizes |= {place.entry.id: place.entry.stored_size for place in steps}
    return sum(sizes.values()), leading
