"""clone, push and pull between stores on a real disk."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.local import LocalBackend
from mstore.codecs import DELTA_PCO
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
    UnsupportedError,
)
from mstore.format.pack import Entry, stored_check
from mstore.ids import Kind, ObjectId
from mstore.ops import copying
from mstore.ops.check import check
from mstore.ops.copying import (
    Needs,
    StoreSender,
    Tally,
    carrier_between,
    commit_offer,
    needed_objects,
    needs_of,
    receive,
)
from mstore.ops.gc import run_gc
from mstore.ops.offers import all_offers, select_offers
from mstore.ops.places import places_known
from mstore.ops.sending import Carrier, Recoder
from mstore.ops.shelf import Shelf
from mstore.ops.strip import strip
from mstore.ops.transfer import clone, pull, push
from mstore.ops.walk import roots
from mstore.parts import Parts, Transaction, init_parts, open_parts
from mstore.refs import HEADS, TAGS
from mstore.store import Store
from mstore.testing.filesystems import FaultyFileSystem, KillingFileSystem

Writer = Callable[..., Path]
Arrays = dict[str, np.ndarray]


@pytest.fixture
def source(store: Store, write_model: Writer, weights: dict[str, np.ndarray]) -> Store:
    """A store with three versions of one model, a second model and two tags."""
    for number in range(3):
        store.put(write_model({**weights, "step": np.array(number)}), "lenet")
    notes = write_model(weights).with_name("notes.txt")
    notes.write_text("words " * 50_000)
    store.put([write_model(weights), notes], "team/other")
    store.tag("lenet@2", "prod")
    store.tag("team/other@1", "team/best")
    return store


@pytest.fixture
def target(tmp_path: Path) -> Parts:
    """An empty store to send to."""
    return init_parts(LocalBackend(tmp_path / "target"))[0]


def names_of(parts: Parts) -> dict[str, list[tuple[int, bytes, str]]]:
    """What the models and tags of a store hold."""
    return {
        f"{namespace}/{name}": [(row.number, row.version, row.state) for row in table.rows.values()]
        for namespace in (HEADS, TAGS)
        for name, table in parts.refs.tables(namespace).items()
    }


def contents(parts: Parts) -> dict[ObjectId, bytes]:
    """Every object that the names of a store need, read and verified."""
    held = roots(parts)
    return {oid: parts.odb.read(oid) for oid in needed_objects(parts, Needs(*held))}


def send_all(source: Parts, target: Parts) -> Tally:
    """Bring everything from one store to another."""
    return receive(StoreSender(source), target, all_offers(source), "test")


def put_next(store: Store, write_model: Writer, name: str, value: float) -> None:
    """One more version of a model, with other numbers."""
    store.put(write_model({"weight": np.full(1000, value, np.float32)}), name)


def test_clone_holds_the_same(source: Store, tmp_path: Path) -> None:
    """A clone has the same names, rows, tags and objects, and knows where it came from."""
    made, report = clone(source.path, tmp_path / "clone")
    assert names_of(made) == names_of(source.parts)
    assert contents(made) == contents(source.parts)
    assert made.config.origin == (source.path, source.parts.config.id)
    assert made.config.id != source.parts.config.id
    assert check(made, full=True).findings == []
    assert (report.versions, report.bytes_already) == (4, 0)


def test_clone_again_sends_nothing(source: Store, tmp_path: Path) -> None:
    """Cloning to where the clone is already transfers no object."""
    clone(source.path, tmp_path / "clone")
    _, report = clone(source.path, tmp_path / "clone")
    assert (report.objects, report.bytes_sent, report.versions) == (0, 0, 0)


def test_clone_never_mixes_with_what_is_there(source: Store, tmp_path: Path) -> None:
    """A folder that is not empty, or another store, is not cloned into."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    other, _ = mstore.init(tmp_path / "other")
    for place in (tmp_path / "full", Path(other.path)):
        with pytest.raises(ExistsError):
            clone(source.path, place)


def test_push_sends_only_what_is_missing(
    source: Store, target: Parts, write_model: Writer, weights: dict[str, np.ndarray]
) -> None:
    """After one tensor changed, a push sends that tensor and descriptions."""
    push(source.parts, target.backend.location)
    source.put(write_model({**weights, "fc.bias": np.ones(64, np.float32)}), "lenet")
    report = push(source.parts, target.backend.location, ["lenet"])
    assert report.names == (("lenet", 1),)
    assert 0 < report.bytes_sent < 3000
    assert report.bytes_already > weights["fc.weight"].nbytes
    assert names_of(open_parts(target.backend)) == names_of(source.parts)


def test_push_to_where_more_is_changes_nothing(
    source: Store, write_model: Writer, tmp_path: Path
) -> None:
    """A receiver that is ahead keeps its newer versions."""
    made, _ = clone(source.path, tmp_path / "clone")
    put_next(Store(made), write_model, "lenet", 1.0)
    before = names_of(made)
    report = push(source.parts, made.backend.location, ["lenet"])
    assert report.versions == 0
    assert names_of(made) == before


def test_diverged_models_conflict(source: Store, write_model: Writer, tmp_path: Path) -> None:
    """The same number with different versions is refused by name before anything is sent."""
    made, _ = clone(source.path, tmp_path / "clone")
    put_next(Store(made), write_model, "lenet", 1.0)
    put_next(source, write_model, "lenet", 2.0)
    packs = made.odb.packs()
    with pytest.raises(ConflictError, match="'lenet' has diverged: lenet@4 is version") as caught:
        push(source.parts, made.backend.location)
    assert "--as" in str(caught.value.hint)
    made.odb.refresh()
    assert made.odb.packs() == packs


def test_diverged_model_travels_under_another_name(
    source: Store, write_model: Writer, tmp_path: Path
) -> None:
    """``as_name`` keeps both histories."""
    made, _ = clone(source.path, tmp_path / "clone")
    put_next(Store(made), write_model, "lenet", 1.0)
    put_next(source, write_model, "lenet", 2.0)
    report = push(source.parts, made.backend.location, ["lenet"], as_name="theirs")
    assert report.names == (("theirs", 4),)
    theirs = names_of(made)["heads/theirs"]
    assert theirs == names_of(source.parts)["heads/lenet"]


def test_one_name_is_for_one_model(source: Store, target: Parts) -> None:
    """``as_name`` with several models is refused."""
    with pytest.raises(InvalidInputError, match="is for one model"):
        push(source.parts, target.backend.location, as_name="theirs")


def test_tag_that_stands_elsewhere_stays(source: Store, tmp_path: Path) -> None:
    """A tag that follows its model does not move at the receiver, and is reported."""
    made, _ = clone(source.path, tmp_path / "clone")
    source.tag("lenet@3", "prod")
    report = push(source.parts, made.backend.location)
    assert report.refused_tags == ("prod",)
    assert Store(made).tags()["prod"] == source.resolve("lenet@2").version


def test_tag_asked_for_moves_only_with_force(source: Store, tmp_path: Path) -> None:
    """A tag asked for by name conflicts, and moves with ``force``."""
    made, _ = clone(source.path, tmp_path / "clone")
    source.tag("lenet@3", "prod")
    with pytest.raises(ConflictError, match="tag 'prod'"):
        push(source.parts, made.backend.location, ["prod"])
    report = push(source.parts, made.backend.location, ["prod"], force=True)
    assert report.tags == ("prod",)
    assert Store(made).tags()["prod"] == source.resolve("lenet@3").version


def test_a_name_is_a_model_or_a_tag(source: Store, target: Parts, write_model: Writer) -> None:
    """A model does not arrive under the name of a tag, nor a tag under that of a model."""
    there = Store(target)
    put_next(there, write_model, "prod", 1.0)
    assert push(source.parts, target.backend.location, ["lenet"]).refused_tags == ("prod",)
    there.tag("prod@1", "third")
    with pytest.raises(ConflictError, match="'third' is a tag"):
        push(source.parts, target.backend.location, ["lenet"], as_name="third")


def test_one_version_comes_without_the_bytes_of_others(
    source: Store, target: Parts, tmp_path: Path
) -> None:
    """``pull lenet@2`` brings the bytes of one version and the descriptions of those before."""
    report = pull(target, source.path, ["lenet@2"])
    states = [row.state for row in target.refs.table(HEADS, "lenet").rows.values()]
    assert (states, report.tags) == (["stripped", "kept"], ("prod",))
    assert check(target, full=True).findings == []
    Store(target).get("prod", tmp_path / "out")
    with pytest.raises(NotFoundError) as caught:
        Store(target).get("lenet@1", tmp_path / "never")
    assert caught.value.kind == "stripped"
    assert source.path in str(caught.value.hint)


def test_pull_restores_a_stripped_version_that_is_asked_for(source: Store, tmp_path: Path) -> None:
    """A plain pull leaves stripped versions alone; asked for by number they come back."""
    strip(source.parts, ["lenet@3"], to=tmp_path / "slim")
    slim = mstore.open(tmp_path / "slim")
    assert pull(slim.parts, source.path, ["lenet"]).versions == 0
    assert pull(slim.parts, source.path, ["lenet@1"]).versions == 1
    slim.get("lenet@1", tmp_path / "one")
    source.get("lenet@1", tmp_path / "original")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "original").read_bytes()


def test_a_stripped_version_cannot_be_sent(source: Store, target: Parts) -> None:
    """Asking for bytes that the sender has stripped says so."""
    strip(source.parts, ["lenet@3"])
    with pytest.raises(NotFoundError) as caught:
        push(source.parts, target.backend.location, ["lenet@1"])
    assert caught.value.kind == "stripped"


def test_places_are_remembered_once(source: Store, target: Parts, tmp_path: Path) -> None:
    """Push and pull note the far side, however often; the first is called origin."""
    mstore.init(tmp_path / "third")
    for _ in range(2):
        push(source.parts, target.backend.location)
        push(source.parts, tmp_path / "third")
    assert places_known(source.parts) == [target.backend.location, str(tmp_path / "third")]


def test_a_store_that_takes_no_writes_is_pushed_from(source: Store, target: Parts) -> None:
    """Pushing needs to write at the far side only."""
    files = FaultyFileSystem("open_new", 1, errno.EROFS, sticky=True)
    frozen = open_parts(LocalBackend(Path(source.path), files))
    push(frozen, target.backend.location)
    assert contents(target) == contents(source.parts)


@pytest.mark.parametrize("place", ["https://example.org/store", "s3://bucket/store"])
def test_places_with_other_schemes_are_unsupported(source: Store, place: str) -> None:
    """Only directories are places now, and the error says so."""
    with pytest.raises(UnsupportedError, match="only directories"):
        push(source.parts, place)


def test_a_place_without_a_store_is_not_found(source: Store, tmp_path: Path) -> None:
    """Nothing is made at a place that holds no store."""
    with pytest.raises(NotFoundError) as caught:
        push(source.parts, tmp_path / "nothing")
    assert caught.value.kind == "no-store"
    assert not (tmp_path / "nothing").exists()


def test_a_place_may_hold_the_store_in_a_folder(source: Store, tmp_path: Path) -> None:
    """A folder with ``.mstore`` in it is a place, as is a file URL."""
    mstore.init(tmp_path / "work" / ".mstore")
    report = push(source.parts, f"file://{tmp_path}/work", ["lenet"])
    assert report.place == str(tmp_path / "work" / ".mstore")


def test_a_store_is_not_its_own_place(source: Store) -> None:
    """Pushing to the store itself is refused."""
    with pytest.raises(InvalidInputError, match="the store itself"):
        push(source.parts, source.path)


@pytest.mark.parametrize("text", ["nothing", "lenet@9"])
def test_unknown_revisions_are_not_found(source: Store, target: Parts, text: str) -> None:
    """What the sender does not have is refused before anything is sent."""
    with pytest.raises(NotFoundError):
        push(source.parts, target.backend.location, [text])
    assert target.odb.packs() == []


def test_parts_of_versions_do_not_travel(source: Store, target: Parts) -> None:
    """A path in a version is no version."""
    with pytest.raises(InvalidInputError, match="whole versions"):
        push(source.parts, target.backend.location, ["lenet@1:lenet.safetensors"])


def test_a_damaged_chunk_never_arrives(source: Store, target: Parts) -> None:
    """A flipped bit at the sender is a CorruptError; the receiver gets no name and no bad byte."""
    held = [source.parts.odb.find(oid) for oid in contents(source.parts)]
    worst = max(
        (place for place in held if place is not None and place.entry.kind is Kind.CHUNK),
        key=lambda place: place.entry.stored_size,
    )
    path = Path(source.path) / worst.pack_key
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(worst.entry.offset + 100)
        file.write(b"\xff\x00")
    with pytest.raises(CorruptError, match=str(worst.entry.id)):
        push(source.parts, target.backend.location)
    assert names_of(target) == {}
    target.odb.refresh()
    assert not target.odb.is_live(worst.entry.id)


def test_what_gc_took_meanwhile_is_sent_again(source: Store, target: Parts) -> None:
    """A name is committed only with its objects, even if none of them is there any more."""
    (offer, *_) = select_offers(source.parts, ["lenet"])
    tally = Tally()
    commit_offer(StoreSender(source.parts), target, offer, tally, "test")
    assert tally.objects > 0
    assert contents(target).keys() <= contents(source.parts).keys()


def test_a_writer_that_comes_first_wins(source: Store, target: Parts, write_model: Writer) -> None:
    """A name that another writer makes while objects travel is a conflict, not overwritten."""

    class Late(StoreSender):
        def objects(self, needs: Needs) -> set[ObjectId]:
            put_next(Store(open_parts(target.backend)), write_model, "lenet", 3.0)
            return super().objects(needs)

    with pytest.raises(ConflictError, match="'lenet' has diverged"):
        receive(Late(source.parts), target, select_offers(source.parts, ["lenet"]), "test")
    assert len(target.refs.table(HEADS, "lenet").rows) == 1


def test_progress_counts_to_the_end(source: Store, target: Parts) -> None:
    """Progress ends at the total and tells how much of it was new."""
    told: list[tuple[int, int, int]] = []

    def note(*numbers: int) -> None:
        told.append(numbers)  # type: ignore[arg-type] # three of them

    report = push(source.parts, target.backend.location, progress=note)
    assert told[-1] == (report.bytes_sent, report.bytes_sent, report.bytes_sent)


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a forked child that does ``work``."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def send_until_killed(source: Store, place: Path, step: int) -> None:
    """Send everything to a new store whose disk kills this program at a step."""
    send_all(source.parts, init_parts(LocalBackend(place, KillingFileSystem(step)))[0])


def test_a_killed_transfer_is_continued(
    store: Store, write_model: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every step, a transfer sends again only what was not published."""
    source = store
    put_next(source, write_model, "lenet", 1.0)
    put_next(source, write_model, "lenet", 2.0)
    source.tag("lenet@2", "prod")
    monkeypatch.setattr(copying, "PUBLISH_EVERY", 4000)
    counting = KillingFileSystem(0)
    whole = send_all(source.parts, init_parts(LocalBackend(tmp_path / "whole", counting))[0])
    for step in range(1, counting.done + 1):
        place = tmp_path / f"killed-{step}"
        assert os.WIFSIGNALED(in_child(partial(send_until_killed, source, place, step)))
        target, _ = init_parts(LocalBackend(place))
        there = {entry.id for key in target.odb.packs() for entry in target.odb.entries(key)}
        tally = send_all(source.parts, target)
        assert tally.objects == whole.objects - len(there)
        assert names_of(target) == names_of(source.parts)
        assert contents(target) == contents(source.parts)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_transfer_is_continued(source: Store, tmp_path: Path, error: int) -> None:
    """A failing disk breaks no name, and the transfer goes on when it works again."""
    for at in count(1, 5):
        place = tmp_path / f"{error}-{at}"
        init_parts(LocalBackend(place))
        files = FaultyFileSystem("*", at, error)
        with suppress(MstoreError):
            send_all(source.parts, open_parts(LocalBackend(place, files)))
        if not files.failed:
            break
        target = open_parts(LocalBackend(place))
        assert contents(target).items() <= contents(source.parts).items()
        send_all(source.parts, target)
        assert names_of(target) == names_of(source.parts)
        assert contents(target) == contents(source.parts)


@pytest.fixture
def family(tmp_path: Path, tuned: list[Arrays]) -> Store:
    """A store with a model and three fine-tunes, each a difference from the one before."""
    made, _ = mstore.init(tmp_path / "family")
    for arrays in tuned:
        made.put(arrays, "lenet")
    return made


def size_of(place: str) -> int:
    """Bytes of the packs of a store."""
    return sum(file.stat().st_size for file in Path(place, "objects").iterdir())


def chunk_entries(parts: Parts) -> dict[ObjectId, Entry]:
    """The chunks that a store's live packs hold."""
    parts.odb.refresh()
    entries = (entry for key in parts.odb.packs() for entry in parts.odb.entries(key))
    return {entry.id: entry for entry in entries if entry.kind is Kind.CHUNK}


def depths(parts: Parts) -> set[int]:
    """How long the chains of a store's chunks are."""
    return {parts.odb.depth(oid) for oid in chunk_entries(parts)}


def assert_holds(parts: Parts, revision: str, arrays: Arrays) -> None:
    """Each tensor of a version has the very bits of an array, and the store is sound."""
    found = Store(parts).load(revision)
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())
    findings = check(parts, full=True).findings
    assert [found for found in findings if found.kind != "leftover"] == []


def test_a_clone_is_as_small(family: Store, tmp_path: Path, tuned: list[Arrays]) -> None:
    """A clone keeps every codec and every base, and so the size of the store within 5 %."""
    made, _ = clone(family.path, tmp_path / "clone")
    kept = {oid: (e.codec, e.base, e.stored_size) for oid, e in chunk_entries(made).items()}
    assert kept == {
        oid: (e.codec, e.base, e.stored_size) for oid, e in chunk_entries(family.parts).items()
    }
    assert depths(made) == {0, 1, 2, 3}
    assert size_of(made.backend.location) == pytest.approx(size_of(family.path), rel=0.05)
    for number, arrays in enumerate(tuned, 1):
        assert_holds(made, f"lenet@{number}", arrays)


def test_a_fine_tune_travels_as_a_difference(
    family: Store, target: Parts, tuned: list[Arrays]
) -> None:
    """Where the receiver has the version before, only the difference from it is sent."""
    push(family.parts, target.backend.location, ["lenet@3"])
    before = size_of(target.backend.location)
    push(family.parts, target.backend.location, ["lenet@4"])
    grown = size_of(target.backend.location) - before
    assert grown < 0.8 * before
    assert depths(target) == {0, 1}
    assert_holds(target, "lenet@4", tuned[3])


def test_a_base_that_nobody_needs_stays_behind(
    family: Store, target: Parts, tuned: list[Arrays]
) -> None:
    """One version comes without its bases, coded alone, in about the bytes of a first version."""
    pull(target, family.path, ["lenet@4"])
    assert depths(target) == {0}
    assert len(chunk_entries(target)) == len(tuned[3])
    alone = sum(entry.stored_size for entry in chunk_entries(target).values())
    first = sum(e.stored_size for e in chunk_entries(family.parts).values() if e.base is None)
    assert alone == pytest.approx(first, rel=0.05)
    assert_holds(target, "lenet@4", tuned[3])


def test_a_base_that_pays_travels_too(store: Store, target: Parts, tuned: list[Arrays]) -> None:
    """A base that nobody asked for is sent where it makes the differences from it worth it."""
    for arrays in tuned:
        store.put(arrays, "lenet", parents=["lenet@1"] if arrays is not tuned[0] else None)
    pull(target, store.path, ["lenet@2", "lenet@3", "lenet@4"])
    sent = sum(entry.stored_size for entry in chunk_entries(target).values())
    first = sum(e.stored_size for e in chunk_entries(store.parts).values() if e.base is None)
    assert depths(target) == {0, 1}
    assert sent < 0.9 * 3 * first
    run_gc(target, now=True)
    for number in (2, 3, 4):
        assert_holds(target, f"lenet@{number}", tuned[number - 1])


def test_chains_end_at_the_receiver(tmp_path: Path, target: Parts) -> None:
    """A difference whose base is at the end of a long chain there is sent without a base."""
    rng = np.random.default_rng(0)
    states = [{"w": rng.standard_normal(4096, dtype=np.float32)}]
    for _ in range(9):
        step = rng.standard_normal(4096, dtype=np.float32) * np.float32(1e-5)
        states.append({"w": states[-1]["w"] + step})
    for arrays in states[:9]:
        Store(target).put(arrays, "chain")
    assert max(depths(target)) == 8
    other, _ = mstore.init(tmp_path / "other")
    for arrays in states[8:]:
        other.put(arrays, "lenet")
    assert depths(other.parts) == {0, 1}
    push(other.parts, target.backend.location)
    assert max(depths(target)) == 8
    assert_holds(target, "lenet@2", states[9])


def test_a_damaged_difference_never_arrives(family: Store, target: Parts) -> None:
    """A flipped bit in a difference, or in what it starts from, is found before it is written."""
    worst = max(
        (entry for entry in chunk_entries(family.parts).values() if entry.base is None),
        key=lambda entry: entry.stored_size,
    )
    place = family.parts.odb.find(worst.id)
    assert place is not None
    path = Path(family.path) / place.pack_key
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(worst.offset + worst.stored_size // 2)
        file.write(b"\x55\xaa\x55")
    with pytest.raises(CorruptError, match=str(worst.id)):
        push(family.parts, target.backend.location)
    assert names_of(target) == {}
    assert check(target, full=True).findings == []


def test_another_copy_will_do(family: Store, target: Parts, tuned: list[Arrays]) -> None:
    """Where one copy at the sender is damaged, the object is read from another one."""
    chunks = chunk_entries(family.parts)
    oid = max(chunks, key=lambda oid: chunks[oid].raw_size)
    with Transaction(family.parts) as transaction:
        transaction.writer.add_again(oid, family.parts.odb.read(oid))
        (key,) = transaction.writer.publish()
    path = Path(family.path) / key
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(4096 + 77)
        file.write(b"\x55\xaa\x55")
    push(family.parts, target.backend.location)
    for number, arrays in enumerate(tuned, 1):
        assert_holds(target, f"lenet@{number}", arrays)


def test_bases_that_gc_takes_are_sent_again(
    family: Store, target: Parts, tuned: list[Arrays]
) -> None:
    """A gc of the receiver after each batch takes what no name needs yet; all arrives anyway."""
    sender = StoreSender(family.parts)
    needs = needs_of((o.namespace, row) for o in all_offers(family.parts) for row in o.rows)
    carrier = carrier_between(sender, target, needs)
    waiting = carrier.plan(sender.objects(needs))
    while waiting:
        with Transaction(target) as transaction:
            carrier.send(transaction.writer, waiting, Tally().add, limit=1)
            transaction.publish()
        run_gc(target, now=True)
    send_all(family.parts, target)
    for number, arrays in enumerate(tuned, 1):
        assert_holds(target, f"lenet@{number}", arrays)


def test_packs_that_the_sender_condemns_are_read_there(
    family: Store, target: Parts, tuned: list[Arrays]
) -> None:
    """A gc of the sender that condemns what travels changes neither its form nor its bytes."""
    sender = StoreSender(family.parts)
    offers = all_offers(family.parts)
    needs = needs_of((offer.namespace, row) for offer in offers for row in offer.rows)
    oids = sender.objects(needs)
    carrier = carrier_between(sender, target, needs)
    waiting = carrier.plan(oids)
    other = mstore.open(family.path)
    other.delete("lenet")
    assert other.gc().condemned
    with Transaction(target) as transaction:
        carrier.send(transaction.writer, waiting, Tally().add, limit=1 << 30)
        transaction.publish()
    assert depths(target) == {0, 1, 2, 3}
    other.undo("lenet")
    send_all(family.parts, target)
    assert_holds(target, "lenet@4", tuned[3])


def test_a_condemned_base_counts_as_absent(
    family: Store, target: Parts, tuned: list[Arrays]
) -> None:
    """What only condemned packs of the receiver hold is no base for what is sent."""
    push(family.parts, target.backend.location, ["lenet@3"])
    Store(target).delete("lenet")
    run_gc(target)
    push(family.parts, target.backend.location, ["lenet@4"], as_name="again")
    run_gc(target, now=True)
    assert target.odb.packs(condemned=True) == []
    assert_holds(target, "again@4", tuned[3])


def test_bases_in_a_circle_do_not_travel(family: Store, target: Parts) -> None:
    """Two chunks that start from one another are refused, and no name is written."""
    one, two = sorted(chunk_entries(family.parts).values(), key=lambda e: e.raw_size)[-2:]
    stored = bytes(100)
    circle, _ = mstore.init(Path(family.path).with_name("circle"))
    with Transaction(circle.parts) as transaction:
        for entry, base in ((one, two), (two, one)):
            made = Entry(
                entry.id, Kind.CHUNK, DELTA_PCO, 0, 100, 1000, stored_check(stored), base.id
            )
            transaction.writer.add_stored(made, stored)
        transaction.publish()
    shelf = Shelf(circle.parts.odb)
    assert shelf.chain(one.id) == ()
    carrier = Carrier(shelf, target.odb, Recoder([circle.parts.odb], tuple))
    with Transaction(target) as transaction, pytest.raises(CorruptError, match="circle"):
        carrier.send(transaction.writer, carrier.plan({one.id, two.id}), Tally().add, 1 << 20)


def test_a_killed_transfer_of_differences_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every third step, nothing visible lacks its base, and it goes on from there."""
    rng = np.random.default_rng(0)
    source, _ = mstore.init(tmp_path / "source")
    arrays = {"w": rng.standard_normal(2048, dtype=np.float32)}
    states = []
    for _ in range(3):
        change = rng.standard_normal(2048, dtype=np.float32) * np.float32(1e-5)
        arrays = {"w": arrays["w"] + change}
        states.append(arrays)
        source.put(arrays, "lenet")
    monkeypatch.setattr(copying, "PUBLISH_EVERY", 9000)
    counting = KillingFileSystem(0)
    send_all(source.parts, init_parts(LocalBackend(tmp_path / "whole", counting))[0])
    assert depths(open_parts(LocalBackend(tmp_path / "whole"))) == {0, 1, 2}
    for step in range(1, counting.done + 1, 3):
        place = tmp_path / f"killed-{step}"
        assert os.WIFSIGNALED(in_child(partial(send_until_killed, source, place, step)))
        target, _ = init_parts(LocalBackend(place))
        assert all(map(target.odb.is_live, chunk_entries(target)))
        send_all(source.parts, target)
        assert size_of(str(place)) < 1.1 * size_of(str(tmp_path / "whole")) + 20_000
        for number, held in enumerate(states, 1):
            assert_holds(target, f"lenet@{number}", held)


def test_numbers_of_a_deleted_model_travel(source: Store, target: Parts, tmp_path: Path) -> None:
    """A clone gives no number of a model that was deleted before, so what it adds can be pushed."""
    source.put({"w": np.ones(3, np.float32)}, "gone")
    source.delete("gone")
    source.gc(now=True)
    for other in (mstore.clone(source.path, tmp_path / "clone")[0], Store(target)):
        report = other.pull(source.path)
        assert "gone" not in dict(report.names)
        assert "gone" not in [row.name for row in other.models()]
        number = other.put({"w": np.full(3, 2, np.float32)}, "gone").number
        assert number == len(source.parts.refs.table("heads", "gone").rows) + 1
        assert dict(other.push(source.path, "gone").names) == {"gone": 1}
        source.delete("gone")
    assert source.fsck(full=True).clean
    assert other.fsck(full=True).clean


def test_a_deleted_model_is_in_nobodys_way(source: Store, target: Parts) -> None:
    """What the receiver has under that name, or one like it, stays, and all else travels."""
    taken = {"w": np.ones(3, np.float32)}
    for name in ("tagged", "Cased", "other"):
        source.put({"w": np.zeros(3, np.float32)}, name)
        source.delete(name)
    there = Store(target)
    there.put(taken, "mine", tags=["tagged"])
    there.put(taken, "cased")
    there.put(taken, "other")
    source.push(target.backend.location)
    assert_holds(target, "other@1", taken)
    assert_holds(target, "cased@1", taken)
    assert_holds(target, "tagged", taken)
    assert names_of(target).keys() >= names_of(source.parts).keys() - {
        "heads/tagged",
        "heads/Cased",
    }


def test_a_new_name_is_for_the_model_that_is_left(store: Store, target: Parts) -> None:
    """Models that were deleted do not count where one model gets another name."""
    arrays = {"w": np.ones(3, np.float32)}
    for name in ("one", "gone"):
        store.put(arrays, name)
    store.delete("gone")
    store.push(target.backend.location, as_name="renamed")
    assert_holds(target, "renamed@1", arrays)
