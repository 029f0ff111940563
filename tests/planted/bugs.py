"""Bugs that somebody could make: each replaces one function of the store by one that is wrong.

``Bug.plant`` does so inside a ``pytest.MonkeyPatch``; ``Bug.caught_by`` is the check that must
notice.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from tests.planted import checkers
from tests.planted.checkers import Checker

from mstore import revision
from mstore.backends import checkout, drafts, durable, leases, place
from mstore.backends.drafts import LocalDraft
from mstore.backends.durable import close_file, identity
from mstore.backends.failures import again, failure
from mstore.backends.fsio import FileSystem
from mstore.backends.leases import LocalLease
from mstore.backends.local import LocalBackend
from mstore.backends.place import Place
from mstore.codecs import zstd as zstd_codec
from mstore.errors import ConflictError, MstoreError
from mstore.format import names, objects, safetensors, slots
from mstore.odb import chains, check, database, footer, segments, writer
from mstore.odb.segments import Segment
from mstore.odb.writer import PackWriter
from mstore.ops import archive, archive_forms, gc, put, recode, sending, strip, walk
from mstore.ops.check_graph import Graph
from mstore.ops.encoding import Method
from mstore.ops.gc_verdict import Judge
from mstore.ops.homes import Homes
from mstore.ops.shelf import Shelf
from mstore.ops.sources import FileSource
from mstore.parts import Transaction
from mstore.refs import HEADS, Change, RefStore
from mstore.store import storing

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Bug:
    """One bug: what it is called, how to plant it, which check must notice."""

    name: str
    plant: Callable[[Patch], None]
    caught_by: Checker


BUGS: list[Bug] = []


def caught_by(checker: Checker) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Put a bug, named by its docstring, on the list."""

    def note(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        words = (plant.__doc__ or "").splitlines()[0].rstrip(".")
        BUGS.append(Bug(words, plant, checker))
        return plant

    return note


def _nothing(*_: object, **__: object) -> None:
    """Do nothing."""


_PUT, _COLLECT = checkers.CHECKERS[:2]


# Durability


@caught_by(_PUT)
def _drop_pack_fsync(patch: Patch) -> None:
    """The bytes of a pack are not made durable."""

    def seal(self: Any) -> Any:
        self._flush()
        file = identity(self._fs.fstat(self._fd))
        fd, self._fd = self._fd, None
        close_file(self._fs, fd)
        return file

    patch.setattr(LocalDraft, "_seal", seal)


@caught_by(_PUT)
def _drop_slot_fsync(patch: Patch) -> None:
    """The bytes of a slot are not made durable."""

    def rewrite(self: Any, fd: int, key: str, content: bytes) -> None:
        del key
        self._fs.truncate(fd, 0)
        durable.write_all_at(self._fs, fd, content, 0)

    patch.setattr(LocalLease, "_rewrite", rewrite)


def _sync_all_but(patch: Patch, left_out: str) -> None:
    before = Place.sync

    def sync(self: Any, prefixes: Any) -> None:
        before(self, [prefix for prefix in prefixes if not prefix.startswith(left_out)])

    patch.setattr(Place, "sync", sync)


@caught_by(_PUT)
def _drop_sync_of_packs(patch: Patch) -> None:
    """The names of packs are not made durable."""
    _sync_all_but(patch, "objects")


@caught_by(_PUT)
def _drop_sync_of_slots(patch: Patch) -> None:
    """The names of slots are not made durable."""
    _sync_all_but(patch, "refs")


@caught_by(_COLLECT)
def _drop_sync_of_condemned(patch: Patch) -> None:
    """Condemning leaves the folder of packs unsynced, and an epoch begins all the same."""

    def condemn(self: Any) -> None:
        prefix = f"condemned/{gc.current_epoch(self.backend):016x}"
        for pack in self._doomed():
            self.backend.remove(pack.key)
            self.report.condemned.append(f"{prefix}/{pack.key}")

    patch.setattr(gc._Run, "_condemn", condemn)
    patch.setattr(PackWriter, "publish", _publish_unsynced)


def _publish_unsynced(self: Any) -> list[str]:
    with self._unbroken():
        self._seal()
    return list(self._keys)


@caught_by(checkers.survives_crash_after_reuse)
def _drop_sync_for_reuse(patch: Patch) -> None:
    """Only who wrote a pack syncs the folder, not who relies on another's."""

    def publish(self: Any) -> list[str]:
        with self._unbroken():
            self._seal()
            if False in [self._index.is_live(oid) for oid in self._added]:
                self._backend.sync("objects")
        return list(self._keys)

    patch.setattr(PackWriter, "publish", publish)


@caught_by(checkers.survives_crash_after_an_unsynced_slot)
def _follow_unsynced_slots(patch: Patch) -> None:
    """A slot is linked though the one before may not be durable."""
    before = LocalBackend.sync

    def sync(self: Any, *prefixes: str) -> None:
        before(self, *[prefix for prefix in prefixes if not prefix.startswith("refs/")])

    patch.setattr(LocalBackend, "sync", sync)


@caught_by(checkers.survives_crash_in_a_new_folder)
def _sync_only_the_last_folder(patch: Patch) -> None:
    """The folder of a new name is not made durable itself."""
    patch.setattr(place, "_upwards", lambda prefix: iter([prefix]))


@caught_by(_PUT)
def _link_before_fsync(patch: Patch) -> None:
    """A pack gets its name before its bytes are durable."""
    before = LocalDraft._seal

    def seal(self: Any) -> Any:
        self._flush()
        return identity(self._fs.fstat(self._fd))

    def forget(self: Any) -> None:
        if self._fd is not None:
            before(self)
        if self._has_name:
            drafts.forget_name(self._fs, self._path)
            self._has_name = False

    patch.setattr(LocalDraft, "_seal", seal)
    patch.setattr(LocalDraft, "_forget", forget)


@caught_by(_PUT)
def _slot_before_objects(patch: Patch) -> None:
    """The name changes before what it needs is published."""
    commit = Transaction.commit

    def commit_first(self: Any, *arguments: Any) -> Any:
        table = commit(self, *arguments)
        self.writer.publish()
        return table

    patch.setattr(Transaction, "publish", _nothing)
    patch.setattr(Transaction, "commit", commit_first)


@caught_by(checkers.tells_of_failed_fsync)
def _swallow_failed_fsync(patch: Patch) -> None:
    """A failed fsync is let pass."""

    @contextmanager
    def durable_anyway(self: Any, subject: str) -> Iterator[None]:
        del self, subject
        with suppress(OSError):
            yield

    patch.setattr(Place, "durable", durable_anyway)


@caught_by(checkers.tells_of_failed_fsync)
def _trust_after_failed_fsync(patch: Patch) -> None:
    """After a failed fsync the program goes on writing."""

    @contextmanager
    def durable_once(self: Any, subject: str) -> Iterator[None]:
        del self
        try:
            yield
        except OSError as error:
            raise failure(error, "make durable", subject) from error

    patch.setattr(Place, "durable", durable_once)


@caught_by(checkers.stores_what_it_is_given)
def _write_once(patch: Patch) -> None:
    """A write that moved less than it was given is not continued."""

    def write_some(fs: FileSystem, fd: int, content: Any) -> None:
        fs.write(fd, memoryview(content).cast("B"))

    patch.setattr(drafts, "write_all", write_some)


@caught_by(checkers.bears_interruptions)
def _fail_when_interrupted(patch: Patch) -> None:
    """An interrupted call counts as failed."""
    for module in (drafts, durable, leases, place):
        patch.setattr(module, "again", lambda call, *words, **named: call(*words, **named))


# Bytes


@caught_by(checkers.loads_no_damaged_bytes)
def _load_unverified(patch: Patch) -> None:
    """A mapped tensor is not verified when it is loaded."""
    patch.setattr("mstore.ops.read.heal_all", _nothing)


@caught_by(checkers.loads_no_damaged_bytes)
def _read_unverified(patch: Patch) -> None:
    """What was read into a buffer is not hashed."""
    patch.setattr(database, "verify_raw", _nothing)


@caught_by(checkers.refuses_wrong_bases)
def _accept_a_wrong_base(patch: Patch) -> None:
    """What was decoded from a base is believed, whatever the base was."""
    before = chains.verify

    def verify(key: str, entry: Any, raw: Any) -> None:
        if entry.base is None:
            before(key, entry, raw)

    patch.setattr(chains, "verify", verify)
    patch.setattr(database, "verify_raw", verify)


@caught_by(checkers.sends_no_damaged_bytes)
def _send_unverified(patch: Patch) -> None:
    """What a transfer sends as it is stored is not hashed."""
    patch.setattr(database, "verify_raw", _nothing)


@caught_by(checkers.verifies_what_comes_in)
def _write_unverified(patch: Patch) -> None:
    """What comes from elsewhere is stored under the id it is said to have."""

    def add(self: Any, kind: Any, oid: bytes, content: Any) -> Any:
        return self._add(kind, oid, content, None)

    patch.setattr(PackWriter, "add_payload", add)


@caught_by(checkers.finds_flipped_bits)
def _check_no_entry(patch: Patch) -> None:
    """Checking a whole pack leaves out what its entries hash to."""
    patch.setattr(check, "decode_entry", _nothing)


@caught_by(checkers.finds_swapped_packs)
def _ignore_pack_names(patch: Patch) -> None:
    """A pack's index is believed whatever the pack is called."""
    patch.setattr(footer, "_check_name", _nothing)


@caught_by(checkers.finds_nonzero_padding)
def _ignore_padding(patch: Patch) -> None:
    """Bytes between entries are not looked at."""
    before = check._check_entry

    def check_entry(backend: Any, key: str, position: int, entry: Any, bases: Any) -> Any:
        del position
        return before(backend, key, entry.offset, entry, bases)

    patch.setattr(check, "_check_entry", check_entry)


@caught_by(checkers.finds_a_missing_chunk)
def _look_for_no_chunk(patch: Patch) -> None:
    """Fsck does not ask whether chunks are there."""
    patch.setattr(Graph, "_look_for", _nothing)


@caught_by(checkers.refuses_cut_files)
def _accept_short_reads(patch: Patch) -> None:
    """A read that ends with the file counts as complete."""

    def read_into(self: Any, key: str, start: int, buffer: Any) -> None:
        with self._borrow(key) as fd:
            durable.read_full(self._fs, fd, buffer, start)

    patch.setattr(LocalBackend, "read_into", read_into)


@caught_by(checkers.distrusts_its_cache)
def _trust_the_cache(patch: Patch) -> None:
    """A cached index is believed without its checksum."""

    class Anything:
        """A hash that fits whatever it is held against."""

        def update(self, _: object) -> "Anything":
            return self

        def digest(self) -> Any:
            class Fitting(bytes):
                __slots__ = ()

                def __ne__(self, other: object) -> bool:
                    return False

                __hash__ = bytes.__hash__

            return Fitting(bytes(32))

    patch.setattr(segments, "blake3", lambda _: Anything())


@caught_by(checkers.distrusts_its_cache)
def _search_one_row_off(patch: Patch) -> None:
    """The search of a cached index ends before the last row."""
    before = Segment._rows_of
    patch.setattr(Segment, "_rows_of", lambda self, number: before(self, number) - 1)


@caught_by(checkers.stores_what_it_is_given)
def _place_one_off(patch: Patch) -> None:
    """An entry's row points beside its bytes."""
    from mstore.odb.packing import OpenPack  # noqa: PLC0415 - only needed here

    before = OpenPack.add

    def add(self: Any, entry: Any, stored: Any) -> None:
        before(self, entry, stored)
        last = self._entries[-1]
        self._entries[-1] = last._replace(offset=max(16, last.offset - 64))

    patch.setattr(OpenPack, "add", add)


# Names


@caught_by(checkers.commits_once)
def _rename_over_slots(patch: Patch) -> None:
    """A slot is renamed into place over one that is there."""

    def give_name(fs: FileSystem, source: str, target: str, *_: Any, **__: Any) -> bool:
        fs.rename(source, target)
        return True

    patch.setattr(leases, "give_name", give_name)


@caught_by(checkers.loses_no_race_for_a_name)
def _decide_once(patch: Patch) -> None:
    """Who loses a race for a slot writes the same rows to the next."""
    before = RefStore.commit

    def commit(self: Any, lease: Any, namespace: str, name: str, change: Any) -> Any:
        decided = functools.cache(lambda: change(self.find(namespace, name)))
        return before(self, lease, namespace, name, lambda _: decided())

    patch.setattr(RefStore, "commit", commit)


@caught_by(checkers.loses_no_model_to_two_renames)
def _look_before_the_lease(patch: Patch) -> None:
    """A rename asks whether the name is free before it has its lease, and never again."""

    def rename(parts: Any, old: str, new: str, **_: Any) -> None:
        if parts.refs.find(HEADS, new) is not None:
            raise ConflictError(f"name '{new}' is taken")
        with Transaction(parts) as transaction:
            rows = tuple(parts.refs.table(HEADS, old).rows.values())
            transaction.commit(HEADS, new, lambda _: Change(rows, "rename"))
        ended = tuple(msgspec.structs.replace(row, state="deleted") for row in rows)
        with Transaction(parts) as transaction:
            transaction.commit(HEADS, old, lambda _: Change(ended, "rename"))

    patch.setattr("mstore.ops.names.rename", rename)


@caught_by(checkers.finds_flipped_bits_of_slots)
def _believe_slots(patch: Patch) -> None:
    """A slot's hash is not held against its bytes."""
    patch.setattr(slots, "_verified_body", lambda content, _: bytes(content[8:-32]))


@caught_by(checkers.refuses_names_that_differ_in_case)
def _allow_twins(patch: Patch) -> None:
    """Names may differ in case only."""
    patch.setattr(RefStore, "_refuse_twin", _nothing)


@caught_by(checkers.refuses_ambiguous_hashes)
def _take_any_match(patch: Patch) -> None:
    """Of several versions whose hashes begin alike, any is taken."""

    def by_hash(parts: Any, text: str, digits: str) -> Any:
        found = sorted(oid for oid, _ in parts.odb.prefix(digits))
        return revision._named(parts, text, found[0])

    patch.setattr(revision, "_by_hash", by_hash)


@caught_by(checkers.makes_versions_of_changes)
def _take_all_as_unchanged(patch: Patch) -> None:
    """Every put of a name that exists counts as unchanged."""
    patch.setattr(put, "_unchanged", lambda _, before, __: before and before.head)


# Collecting


@caught_by(checkers.keeps_what_is_committed_meanwhile)
def _mark_once(patch: Patch) -> None:
    """Gc does not mark a second time."""
    patch.setattr(gc, "needed_objects", functools.cache(gc.needed_objects))


@caught_by(checkers.waits_for_writers)
def _ignore_leases(patch: Patch) -> None:
    """Gc waits for nobody."""
    patch.setattr(gc._Run, "_look_at_leases", lambda _, epoch, **__: epoch)


@caught_by(checkers.stops_writers_it_did_not_wait_for)
def _break_no_lease(patch: Patch) -> None:
    """Gc does not break the leases that it does not wait for."""
    patch.setattr(LocalBackend, "break_lease", _nothing)


@caught_by(checkers.reuses_nothing_condemned)
def _reuse_condemned(patch: Patch) -> None:
    """Writers take condemned objects for live ones."""
    patch.setattr(writer, "is_live", lambda index, oid, _: bool(index.copies(oid)))


@caught_by(checkers.keeps_what_others_are_based_on)
def _forget_bases(patch: Patch) -> None:
    """What a chunk is a difference from counts as needed by its own version alone."""
    patch.setattr(Homes, "_add_bases", _nothing)


@caught_by(checkers.bases_on_nothing_condemned)
def _base_on_condemned(patch: Patch) -> None:
    """A writer takes a condemned chunk for a base."""
    before = PackWriter.lacks

    def lacks(self: Any, oid: bytes) -> bool:
        return before(self, oid) and not any(copy.base is None for copy in self._index.copies(oid))

    def check_base(self: Any, oid: bytes, raw: Any, coded: Any) -> None:
        del oid, raw
        assert coded is None or not lacks(self, coded.base)

    patch.setattr(PackWriter, "_check_chunk", check_base)


@caught_by(checkers.reuses_nothing_without_its_base)
def _reuse_without_base(patch: Patch) -> None:
    """A difference counts as there, whether its base is or not."""

    def is_listed(index: Any, oid: bytes, _: Any = ()) -> bool:
        return any(index.is_live_pack(copy.pack) for copy in index.copies(oid))

    patch.setattr(writer, "is_live", is_listed)
    patch.setattr(database, "is_live", is_listed)


@caught_by(checkers.recodes_only_what_reads_back)
def _recode_unread(patch: Patch) -> None:
    """The old form of a chunk is condemned before the new one was read back."""
    patch.setattr(recode, "_read_back", _nothing)


@caught_by(checkers.turns_differences_round_safely)
def _recode_into_a_circle(patch: Patch) -> None:
    """What was raw becomes a difference from its own difference, and the old form is let go."""

    def settle_wrongly(edges: Any, plan: Any) -> Any:
        forms = archive_forms.settle(edges, plan)
        for oid, form in forms.items():
            if form.base is None:
                base = next(other for other, each in forms.items() if each.base == oid)
                method = forms[base].method
                forms[oid] = form._replace(base=base, method=method, is_now=False)
        return forms

    patch.setattr(archive, "settle", settle_wrongly)
    patch.setattr(archive, "require_ends", _nothing)
    patch.setattr(recode, "_read_back", _nothing)
    patch.setattr(recode, "_require_ends", _nothing)


@caught_by(checkers.decodes_against_the_right_base)
def _base_on_another_chunk(patch: Patch) -> None:
    """Every chunk says that it is a difference from the first one of its base."""
    before = Method.encode

    def encode(self: Any, raw: Any, base: Any = None) -> Any:
        coded = before(self, raw, base)
        if coded is None or coded.base is None:
            return coded
        return coded._replace(base=first.setdefault("base", coded.base))

    first: dict[str, bytes] = {}
    patch.setattr(Method, "encode", encode)


@caught_by(checkers.sends_bases_before_what_needs_them)
def _send_bases_last(patch: Patch) -> None:
    """A difference is sent before what it is a difference from."""
    before = Shelf.in_order
    patch.setattr(Shelf, "in_order", lambda self, oids: before(self, oids)[::-1])
    patch.setattr(sending.Carrier, "_depth_there", lambda *_: 0)
    patch.setattr(PackWriter, "_check_chunk", _nothing)


@caught_by(checkers.keeps_what_tags_mean)
def _forget_tags(patch: Patch) -> None:
    """Tags are no roots."""
    patch.setattr(walk, "TAGS", HEADS)


@caught_by(checkers.keeps_what_may_be_wanted_back)
def _hold_nothing(patch: Patch) -> None:
    """What is condemned is deleted at once."""
    patch.setattr(Judge, "_reason_to_hold", lambda *_: "")


@caught_by(checkers.collects_nothing_it_cannot_judge)
def _fail_open(patch: Patch) -> None:
    """Gc takes what it cannot read for not needed."""
    before = gc.needed_objects

    def needed(parts: Any) -> Any:
        try:
            return before(parts)
        except MstoreError:
            return set()

    patch.setattr(gc, "needed_objects", needed)


@caught_by(checkers.leaves_unfinished_work_alone)
def _clear_all_of_tmp(patch: Patch) -> None:
    """Gc removes temporary files of living writers."""
    patch.setattr(gc._Run, "_dead_tmp", lambda self: list(self.backend.list("tmp")))


@caught_by(checkers.strips_only_what_is_not_kept)
def _keep_nothing(patch: Patch) -> None:
    """A strip keeps nothing."""
    patch.setattr(strip, "_kept_versions", lambda *_: set())


# Input


@caught_by(checkers.refuses_bad_headers)
def _take_the_last_twin(patch: Patch) -> None:
    """Of two tensors of one name the last counts."""
    import json  # noqa: PLC0415 - only needed here

    patch.setattr(safetensors, "_decode_json", json.JSONDecoder().decode)


@caught_by(checkers.refuses_bad_headers)
def _allow_holes(patch: Patch) -> None:
    """Tensors need not cover a file exactly."""
    patch.setattr(safetensors, "_check_cover", _nothing)


@caught_by(checkers.refuses_other_forms)
def _allow_other_forms(patch: Patch) -> None:
    """An object need not be in canonical form."""

    def decode(kind: Any, content: Any) -> Any:
        return objects._DECODERS[kind].decode(content)

    patch.setattr(checkers, "decode_object", decode)
    patch.setattr(objects, "decode_object", decode)


@caught_by(checkers.refuses_bombs)
def _decode_whatever_comes(patch: Patch) -> None:
    """A frame is decoded to whatever size it has."""

    def read(stored: Any, size: int) -> Any:
        return zstd_codec.zstd.decompress(stored)[:size]

    patch.setattr(zstd_codec, "read_frame", read)


@caught_by(checkers.notices_changing_files)
def _ignore_changes(patch: Patch) -> None:
    """A file may change while it is read."""
    patch.setattr(FileSource, "finish", _nothing)


@caught_by(checkers.refuses_links_and_twins)
def _allow_twin_files(patch: Patch) -> None:
    """Names in a folder may differ in case only."""
    patch.setattr(names, "fold_name", lambda name: name)


def _scan_following(scan: Callable[..., Any], paths: Any, *, follow: bool) -> Any:
    del follow
    return scan(paths, follow=True)


@caught_by(checkers.refuses_links_and_twins)
def _follow_given_links(patch: Patch) -> None:
    """Symbolic links in a folder are followed."""
    patch.setattr(storing, "scan_paths", functools.partial(_scan_following, storing.scan_paths))


@caught_by(checkers.writes_only_below_its_destination)
def _follow_links_below(patch: Patch) -> None:
    """Files that are written out follow symbolic links."""

    def step(self: Any, name: str, dir_fd: int) -> int:
        return again(self._fs.open_folder, name, dir_fd=dir_fd, follow=True)

    patch.setattr(checkout.Checkout, "_step", step)
