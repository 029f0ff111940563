"""A version in fewer bits, as a new version: the one way in which a number ever changes.

1. The source stays as it is; the new version says from which it was quantised, how, and what the
   greatest error is.
2. What cannot be quantised, or is not asked for, is carried over bit for bit: other tensors,
   files that hold none.
3. Tensors are made one at a time while the files are stored, a few of them are held.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.format.dtypes import DTYPE_BITS, tensor_size
from mstore.format.layout import LiteralPart
from mstore.format.safetensors import build_header, parse_header
from mstore.ids import ObjectId
from mstore.numerics.schemes import SUFFIXES, Member, Scheme, members, quantised_names
from mstore.objects import File, OpaqueFile, Tensor, TensorFile
from mstore.ops.intake import Progress
from mstore.ops.made import Fill, MadeSource, constant
from mstore.ops.payload import Piece, file_pieces, require_payload, tensor_pieces
from mstore.ops.put import Description, PutResult, put
from mstore.ops.read import Reader
from mstore.ops.rounder import Rounder, TensorError, Work, by_error, by_relative_error
from mstore.ops.sources import NamedFile, SourceTree
from mstore.ops.walk import FoundFile, walk_entries, walk_files
from mstore.parts import Parts
from mstore.revision import Resolved, resolve


class QuantiseReport(Struct, frozen=True):
    """What quantising did, or would do; then there is no ``number`` and no ``version``.

    ``seed`` is None where nothing is left to chance; ``carried`` tensors are as they were. The
    greatest errors are those of two tensors, each named. Sizes are bytes: of all files, new to the
    store, and grown on disk.
    """

    source: str
    source_version: ObjectId
    name: str
    number: int | None
    version: ObjectId | None
    unchanged: bool
    scheme: str
    rounding: str
    codebook: str | None
    per_channel: bool
    seed: int | None
    max_error: float
    max_error_in: str
    max_relative_error: float
    max_relative_error_in: str
    clamped: int
    bytes_before: int
    bytes_after: int
    new_bytes: int
    stored_bytes: int
    tensors: tuple[TensorError, ...]
    carried: int
    dry_run: bool


class Selection(NamedTuple):
    """Which tensors, by patterns of their names (``*.weight``): all, unless said."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether a tensor is among them."""
        wanted = not self.include or any(fnmatchcase(name, text) for text in self.include)
        return wanted and not any(fnmatchcase(name, text) for text in self.exclude)


def quantise(
    parts: Parts,
    text: str,
    scheme: Scheme,
    selection: Selection,
    *,
    name: str | None = None,
    author: str = "",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> QuantiseReport:
    """Store a version in fewer bits, as the next version of ``name``.

    InvalidInputError when there is nothing to quantise, or a tensor holds what the scheme cannot:
    then nothing was stored.
    """
    target = resolve(parts, text)
    named = _name(target, scheme, name)
    plan = _Plan(parts, target, scheme, selection)
    stored = None
    if dry_run:
        plan.measure(progress)
    else:
        description = Description(
            message=f"{target.label} as {scheme.name}",
            author=author,
            task=plan.task,
            parents=(target.version.hex(),),
            relation="quantised",
            # Filled while the files are stored: put reads it after them.
            metadata={"quantised": plan.rounder.record},
        )
        stored = put(parts, plan.tree, named, description, progress=progress)
    return _report(plan, target, scheme, named, stored)


def _report(
    plan: "_Plan", target: Resolved, scheme: Scheme, name: str, stored: PutResult | None
) -> QuantiseReport:
    tensors = tuple(plan.rounder.errors[work.key] for work in plan.works)
    worst, relative = min(tensors, key=by_error), min(tensors, key=by_relative_error)
    return QuantiseReport(
        source=target.label,
        source_version=target.version,
        name=name,
        number=stored.number if stored else None,
        version=stored.version if stored else None,
        unchanged=stored is not None and stored.unchanged,
        scheme=scheme.name,
        rounding=scheme.rounding,
        codebook=scheme.codebook,
        per_channel=scheme.per_channel,
        seed=scheme.used_seed,
        max_error=worst.error,
        max_error_in=worst.name,
        max_relative_error=relative.relative_error,
        max_relative_error_in=relative.name,
        clamped=sum(tensor.clamped for tensor in tensors),
        bytes_before=plan.bytes_before,
        bytes_after=sum(file.size for file in plan.tree.files),
        new_bytes=stored.new_bytes if stored else 0,
        stored_bytes=stored.stored_bytes if stored else 0,
        tensors=tensors,
        carried=plan.tensors - len(plan.works),
        dry_run=stored is None,
    )


def _name(target: Resolved, scheme: Scheme, name: str | None) -> str:
    if target.path is not None or target.tensor is not None:
        raise InvalidInputError(
            f"'{target.text}' is a part of a version",
            hint="name the version, and choose tensors with --include",
        )
    if name is None and target.name is None:
        raise InvalidInputError(f"'{target.text}' is no model", hint="say --name NAME")
    return name or f"{target.name}-{scheme.name}"


class _Plan:
    """The files of the new version, and what is known of its tensors once these were read."""

    def __init__(
        self, parts: Parts, target: Resolved, scheme: Scheme, selection: Selection
    ) -> None:
        version = parts.odb.version(target.version)
        self.task, self.bytes_before = version.task, version.size
        self.tensors = version.tensor_count
        self.works: list[Work] = []
        self._parts, self._target = parts, target
        self._scheme, self._selection = scheme, selection
        self.rounder = Rounder(Reader(parts, target.text), target.version, scheme)
        files = [self._file(found) for found in walk_files(parts.odb, version.tree)]
        folders = [
            tuple(path.split("/"))
            for path, entry in walk_entries(parts.odb, version.tree)
            if entry.type == "tree"
        ]
        for work in self.works:
            if 0 in work.tensor.shape:
                # Nobody will ask for its bytes.
                self.rounder.rounded(work)
        self.tree = SourceTree(files, folders, version.single, target.label)
        if not self.works:
            raise InvalidInputError(
                f"'{target.label}' has no tensor that '{scheme.name}' makes different",
                hint=f"see its tensors: mstore tensors {target.label}",
            )

    def measure(self, progress: Progress | None) -> None:
        """Make every tensor once, for its error alone."""
        total = sum(tensor_size(work.tensor.dtype, work.tensor.shape) for work in self.works)
        done = 0
        for work in self.works:
            self.rounder.rounded(work)
            done += tensor_size(work.tensor.dtype, work.tensor.shape)
            if progress is not None:
                progress(done, total, 0)

    def _file(self, found: FoundFile) -> NamedFile:
        fills = self._fills(found.path, found.file)
        source = MadeSource(found.path, fills)
        executable = found.type == "executable"
        return NamedFile(tuple(found.path.split("/")), source.size, executable, source)

    def _carried(self, file: File) -> list[tuple[int, Fill]]:
        return [
            constant(piece.content)
            if isinstance(piece, LiteralPart)
            else (piece.size, partial(self._fill_chunk, piece))
            for piece in file_pieces(self._parts.odb, file)
        ]

    def _fills(self, path: str, file: File) -> list[tuple[int, Fill]]:
        if isinstance(file, OpaqueFile):
            return self._carried(file)
        tensors = {name: self._parts.odb.tensor(ObjectId(oid)) for name, oid in file.tensors}
        works = self._find_works(path, file, tensors)
        self.works += works.values()
        if not works:
            return self._carried(file)
        if file.format != "safetensors":
            raise InvalidInputError(
                f"'{path}' is a {file.format} file, which cannot hold quantised tensors",
                hint="store its tensors as safetensors first, or leave them out with --exclude",
            )
        entries: list[tuple[str, Member, list[tuple[int, Fill]]]] = []
        for name, tensor in tensors.items():
            if name in works:
                entries += self._made(works[name])
            else:
                member = Member("", tensor.dtype, tensor.shape)
                entries.append((name, member, self._chunks(tensor_pieces(tensor))))
        # The widest first, as the safetensors library has them: every tensor is aligned.
        entries.sort(key=lambda entry: -DTYPE_BITS[entry[1].dtype])
        layout = [(name, member.dtype, member.shape) for name, member, _ in entries]
        header = build_header(layout, parse_header(file.header, file.size).metadata)
        return [constant(header), *(fill for _, _, fills in entries for fill in fills)]

    def _find_works(
        self, path: str, file: TensorFile, tensors: dict[str, Tensor]
    ) -> dict[str, Work]:
        done = quantised_names({name: tensor.dtype for name, tensor in tensors.items()})
        kept = {*done, *(name + suffix for name in done for suffix in SUFFIXES)}
        works: dict[str, Work] = {}
        for name, oid in file.tensors:
            tensor = tensors[name]
            made = members(self._scheme, tensor.dtype, tensor.shape)
            if made is None or name in kept or not self._selection.has(name):
                continue
            for member in made:
                if member.suffix and name + member.suffix in tensors:
                    taken = f"tensor '{name}' would need the name '{name}{member.suffix}'"
                    raise InvalidInputError(f"{taken}, which is taken", hint="use --exclude")
            works[name] = Work(path, name, ObjectId(oid), tensor, made)
        return works

    def _made(self, work: Work) -> list[tuple[str, Member, list[tuple[int, Fill]]]]:
        return [
            (work.name + member.suffix, member, [(member.size, partial(self._fill, work, member))])
            for member in work.members
        ]

    def _fill(self, work: Work, member: Member, at: int, buffer: memoryview) -> None:
        if member.suffix:
            content = self.rounder.tables(work)[member.suffix]
        else:
            content = self.rounder.rounded(work).contents[""]
        buffer[:] = content[at : at + len(buffer)]

    def _chunks(self, pieces: Sequence[Piece]) -> list[tuple[int, Fill]]:
        return [(piece.size, partial(self._fill_chunk, piece)) for piece in pieces]

    def _fill_chunk(self, piece: Piece, at: int, buffer: memoryview) -> None:
        require_payload(self._parts, self._target, piece.id)
        if len(buffer) == piece.size:
            self._parts.odb.read_into(piece.id, buffer)
        else:
            buffer[:] = memoryview(self._parts.odb.read(piece.id))[at : at + len(buffer)]
