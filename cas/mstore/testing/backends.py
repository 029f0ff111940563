"""What every backend must do, as a suite that its author inherits (needs pytest).

::

    class TestMine(BackendTests):
        def make(self, folder: Path) -> Backend:
            return MyBackend(folder / "store")
"""

import abc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstore.backends.base import Backend
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)

PACK = "objects/" + "a" * 64 + ".pack"
SLOT = "refs/heads/lenet/0000000000000001"
NEXT_SLOT = "refs/heads/lenet/0000000000000002"

BAD_KEYS = ("", "/etc/passwd", "objects/../config", "./config", "a//b", "a/", "..", "a\0b", "a\\b")

WRITERS = 8


def publish(backend: Backend, key: str, content: bytes) -> bool:
    """Publish ``content`` under ``key``."""
    with backend.draft() as draft:
        draft.write(content)
        return draft.publish(key)


class BackendTests(abc.ABC):
    """The conformance suite: inherit it, say how a backend is made, and name the class Test…."""

    @abc.abstractmethod
    def make(self, folder: Path) -> Backend:
        """A new, empty backend, not yet prepared; ``folder`` is empty and free to use."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        """A prepared backend."""
        backend = self.make(tmp_path)
        backend.prepare()
        return backend

    def test_free_bytes_are_some_or_unknown(self, backend: Backend) -> None:
        """How much can still be written is a number, or nobody knows."""
        free = backend.free_bytes()
        assert free is None or free >= 0

    def test_prepare_twice_is_harmless(self, backend: Backend) -> None:
        """Preparing again changes nothing."""
        backend.create("config", b"1")
        backend.prepare()
        assert backend.read("config") == b"1"

    def test_an_unprepared_place_reads_as_empty(self, tmp_path: Path) -> None:
        """Looking into a place where nothing is finds nothing."""
        backend = self.make(tmp_path)
        assert list(backend.list("objects")) == []
        assert list(backend.list_prefixes("refs/heads")) == []
        assert list(backend.names("objects")) == []
        assert list(backend.leases()) == []

    def test_it_has_a_location(self, backend: Backend) -> None:
        """A message can say where the backend is."""
        assert backend.location

    @pytest.mark.parametrize("size", [0, 1, 4095, (1 << 20) + 1, 3 << 20])
    def test_published_bytes_are_read_back(self, backend: Backend, size: int) -> None:
        """What is published is read back."""
        content = bytes(range(256)) * (size // 256 + 1)
        assert publish(backend, PACK, content[:size])
        backend.sync("objects")
        assert backend.read(PACK) == content[:size]
        assert backend.size(PACK) == size

    def test_a_draft_is_the_sum_of_its_writes(self, backend: Backend) -> None:
        """Small and large writes follow one another, and buffers may be reused."""
        parts = [b"a" * 10, b"b" * (2 << 20), b"", b"c" * (1 << 20), b"d"]
        buffer = bytearray(2 << 20)
        with backend.draft() as draft:
            for part in parts:
                buffer[: len(part)] = part
                draft.write(memoryview(buffer)[: len(part)])
            assert draft.size == sum(map(len, parts))
            draft.publish(PACK)
        assert backend.read(PACK) == b"".join(parts)

    def test_an_unpublished_draft_is_nowhere(self, backend: Backend) -> None:
        """A draft that is left leaves nothing behind."""
        with backend.draft() as draft:
            draft.write(b"x" * 5000)
        assert list(backend.list("objects")) == []
        assert list(backend.list("tmp")) == []

    def test_a_published_draft_leaves_only_its_key(self, backend: Backend) -> None:
        """After publishing there is one file."""
        publish(backend, PACK, b"x")
        assert list(backend.names("objects")) == [PACK.removeprefix("objects/")]
        assert list(backend.list("tmp")) == []

    def test_a_closed_draft_takes_no_bytes(self, backend: Backend) -> None:
        """Writing to a discarded draft is refused."""
        draft = backend.draft()
        draft.discard()
        with pytest.raises(StorageError):
            draft.write(b"x" * (2 << 20))
        with pytest.raises(StorageError):
            draft.publish(PACK)

    def test_a_name_is_given_once(self, backend: Backend) -> None:
        """The second to publish a name is told that it is there."""
        assert publish(backend, PACK, b"first")
        assert not publish(backend, PACK, b"other")
        assert backend.read(PACK) == b"first"

    def test_a_twin_of_another_size_is_told(self, backend: Backend) -> None:
        """Another size under the name is an error, after which the draft can be published."""
        publish(backend, PACK, b"damaged")
        with backend.draft() as draft:
            draft.write(b"whole")
            with pytest.raises(ExistsError):
                draft.publish(PACK)
            assert backend.move(PACK, "quarantine/damaged.pack")
            assert draft.publish(PACK)
        assert backend.read(PACK) == b"whole"

    def test_racing_to_publish_has_one_winner(self, backend: Backend) -> None:
        """Of many who publish one name at the same time, one is told that it did."""
        assert race(lambda number: publish(backend, PACK, b"%d" % number)).count(True) == 1

    def test_create_is_exclusive(self, backend: Backend) -> None:
        """A file that exists is not created again, whatever its size."""
        assert backend.create("epoch/0000000000000001", b"")
        assert not backend.create("epoch/0000000000000001", b"other")
        assert backend.read("epoch/0000000000000001") == b""

    def test_racing_to_create_has_one_winner(self, backend: Backend) -> None:
        """Of many who create one file at the same time, one is told that it did."""
        won = race(lambda number: backend.create("config", b"%d" % number))
        assert won.count(True) == 1
        assert backend.read("config") == b"%d" % won.index(True)

    def test_cache_files_are_replaced(self, backend: Backend) -> None:
        """A file under cache/ takes on the newest bytes."""
        backend.replace_cache("cache/index", b"old and long")
        backend.replace_cache("cache/index", b"new")
        assert backend.read("cache/index") == b"new"
        assert backend.read("cache/index", 1, 3) == b"ew"

    def test_only_cache_files_are_replaced(self, backend: Backend) -> None:
        """Replacing anything else is refused."""
        with pytest.raises(InvalidInputError):
            backend.replace_cache("config", b"new")

    def test_ranges(self, backend: Backend) -> None:
        """A range is half open and ends with the file."""
        publish(backend, PACK, b"0123456789")
        assert backend.read(PACK, 3) == b"3456789"
        assert backend.read(PACK, 3, 5) == b"34"
        assert backend.read(PACK, 8, 100) == b"89"
        assert backend.read(PACK, 10, 20) == b""
        assert backend.read(PACK, 20, 30) == b""

    def test_read_into_fills_the_buffer(self, backend: Backend) -> None:
        """Reading into a buffer gives exactly as many bytes as it has room for."""
        publish(backend, PACK, b"0123456789")
        buffer = bytearray(4)
        backend.read_into(PACK, 2, buffer)
        assert buffer == b"2345"
        backend.read_into(PACK, 0, memoryview(buffer)[1:3])
        assert buffer == b"2015"

    def test_read_into_beyond_the_end_is_corrupt(self, backend: Backend) -> None:
        """A file that ends too early is corrupt."""
        publish(backend, PACK, b"0123456789")
        with pytest.raises(CorruptError):
            backend.read_into(PACK, 8, bytearray(3))

    def test_many_threads_read(self, backend: Backend) -> None:
        """Threads that read many files at once each get their own bytes."""
        keys = [f"objects/{number:064x}.pack" for number in range(100)]
        for number, key in enumerate(keys):
            publish(backend, key, b"%64d" % number)

        def read(number: int) -> bool:
            buffer = bytearray(64)
            backend.read_into(keys[number % 100], 0, buffer)
            return int(buffer) == number % 100

        with ThreadPoolExecutor(WRITERS) as pool:
            assert all(pool.map(read, range(1000)))

    def test_a_map_is_private(self, backend: Backend) -> None:
        """Writing to a map never reaches the file."""
        publish(backend, PACK, b"0123456789")
        view = backend.map(PACK)
        view[0] = ord("x")
        assert bytes(view) == b"x123456789"
        assert backend.read(PACK) == b"0123456789"

    def test_a_map_outlives_its_file(self, backend: Backend) -> None:
        """A map can be read after the file was removed."""
        publish(backend, PACK, b"0123456789")
        view = backend.map(PACK)
        backend.remove(PACK)
        assert bytes(view) == b"0123456789"

    def test_an_empty_file_is_mapped(self, backend: Backend) -> None:
        """The map of an empty file is empty."""
        publish(backend, PACK, b"")
        assert bytes(backend.map(PACK)) == b""

    @pytest.mark.parametrize("verb", ["read", "size", "map"])
    def test_what_is_missing_is_not_found(self, backend: Backend, verb: str) -> None:
        """Reading what is not there is a NotFoundError."""
        with pytest.raises(NotFoundError):
            getattr(backend, verb)("objects/none.pack")

    def test_reading_a_range_of_nothing_is_not_found(self, backend: Backend) -> None:
        """So is reading into a buffer."""
        with pytest.raises(NotFoundError):
            backend.read_into("objects/none.pack", 0, bytearray(1))

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_no_key_leads_out(self, backend: Backend, key: str) -> None:
        """What is not a plain relative path is refused by every verb."""
        verbs: list[Callable[[str], object]] = [
            backend.read,
            backend.size,
            backend.map,
            backend.remove,
            lambda key: backend.create(key, b""),
            lambda key: backend.move(key, "objects/x"),
            lambda key: backend.move("objects/x", key),
            lambda key: backend.share(key, "objects/x"),
            lambda key: publish(backend, key, b""),
        ]
        for verb in verbs:
            with pytest.raises(InvalidInputError):
                verb(key)

    def test_lists_are_of_one_level_and_sorted(self, backend: Backend) -> None:
        """A list has the files directly under a prefix, by name, with their sizes."""
        for key in ("objects/b", "objects/a", "objects/c/d", "config"):
            publish(backend, key, key.encode())
        items = list(backend.list("objects"))
        assert [(item.key, item.size) for item in items] == [("objects/a", 9), ("objects/b", 9)]
        assert [item.key for item in backend.list("")] == ["config"]
        assert sorted(backend.names("objects")) == ["a", "b", "c"]

    def test_prefixes_hold_something(self, backend: Backend) -> None:
        """A prefix is listed from its first file to its last."""
        assert list(backend.list_prefixes("refs/heads")) == []
        publish(backend, "refs/heads/b/1", b"")
        publish(backend, "refs/heads/a/1", b"")
        assert list(backend.list_prefixes("refs/heads")) == ["refs/heads/a", "refs/heads/b"]
        backend.remove("refs/heads/a/1")
        assert list(backend.list_prefixes("refs/heads")) == ["refs/heads/b"]

    def test_times_are_of_one_clock(self, backend: Backend) -> None:
        """A later file is not older."""
        publish(backend, "objects/a", b"")
        publish(backend, "objects/b", b"")
        first, second = backend.list("objects")
        assert 0 < first.modified <= second.modified

    def test_moving(self, backend: Backend) -> None:
        """A moved file is at its new key only; moving what is gone says so."""
        publish(backend, PACK, b"x")
        assert backend.read(PACK, 0, 1) == b"x"
        assert backend.move(PACK, "condemned/0000000000000001/x.pack")
        with pytest.raises(NotFoundError):
            backend.read(PACK, 0, 1)
        assert backend.read("condemned/0000000000000001/x.pack") == b"x"
        assert not backend.move(PACK, "condemned/0000000000000001/x.pack")
        backend.sync("objects", "condemned/0000000000000001")

    def test_moving_replaces(self, backend: Backend) -> None:
        """What is at the target of a move gives way."""
        publish(backend, "objects/a", b"a")
        publish(backend, "objects/b", b"b")
        assert backend.move("objects/a", "objects/b")
        assert backend.read("objects/b") == b"a"

    def test_sharing(self, backend: Backend) -> None:
        """A shared file is at both keys and outlives either."""
        publish(backend, "condemned/1/x", b"x")
        assert backend.share("condemned/1/x", "objects/x")
        assert backend.share("condemned/1/x", "objects/x")
        backend.remove("condemned/1/x")
        assert backend.read("objects/x") == b"x"
        assert not backend.share("condemned/1/x", "objects/y")

    def test_moving_onto_its_twin(self, backend: Backend) -> None:
        """A shared file that is moved onto its other name has only that one left."""
        publish(backend, "objects/x", b"x")
        backend.share("objects/x", "condemned/1/x")
        assert backend.move("objects/x", "condemned/1/x")
        assert list(backend.list("objects")) == []
        assert backend.read("condemned/1/x") == b"x"

    def test_removing_twice_is_harmless(self, backend: Backend) -> None:
        """Removing what is gone does nothing."""
        publish(backend, PACK, b"x")
        backend.remove(PACK)
        backend.remove(PACK)
        assert list(backend.list("objects")) == []

    def test_syncing_what_is_missing_is_harmless(self, backend: Backend) -> None:
        """A prefix that holds nothing can be synced."""
        backend.sync("refs/heads/none", "objects", "condemned/7")

    def test_a_lease_commits_once(self, backend: Backend) -> None:
        """A committed slot is there, and its lease is spent."""
        with backend.lease(3) as lease:
            lease.commit(SLOT, b"slot")
            with pytest.raises(StorageError):
                lease.commit(NEXT_SLOT, b"slot")
        assert backend.read(SLOT) == b"slot"
        assert [item.key for item in backend.list("refs/heads/lenet")] == [SLOT]

    def test_a_lost_race_can_be_run_again(self, backend: Backend) -> None:
        """A lease whose slot was taken commits the next one, with other bytes."""
        with backend.lease(0) as first:
            first.commit(SLOT, b"first")
        with backend.lease(0) as second:
            with pytest.raises(ExistsError):
                second.commit(SLOT, b"second, and longer")
            second.commit(NEXT_SLOT, b"2nd")
        assert backend.read(SLOT) == b"first"
        assert backend.read(NEXT_SLOT) == b"2nd"

    def test_a_commit_is_compare_and_swap(self, backend: Backend) -> None:
        """Many writers who take the next free slot lose no commit and share none."""

        def commit(number: int) -> bool:
            with backend.lease(0) as lease:
                for slot in range(WRITERS):
                    try:
                        lease.commit(f"refs/heads/lenet/{slot:016x}", b"%d" % number)
                    except ExistsError:
                        continue
                    return True
            return False

        assert all(race(commit))
        found = {backend.read(item.key) for item in backend.list("refs/heads/lenet")}
        assert found == {b"%d" % number for number in range(WRITERS)}

    def test_a_broken_lease_commits_nothing(self, backend: Backend) -> None:
        """Once its lease is broken, a writer cannot commit, however late it tries."""
        with backend.lease(0) as lease:
            backend.break_lease(lease.name)
            with pytest.raises(ConflictError):
                lease.commit(SLOT, b"late")
        assert list(backend.list_prefixes("refs/heads")) == []
        assert list(backend.leases()) == []

    def test_breaking_races_with_committing(self, backend: Backend) -> None:
        """A commit that returns is there; one that is refused is not."""
        for number in range(50):
            key = f"refs/heads/race/{number:016x}"
            with backend.lease(0) as lease:
                breaker = threading.Thread(target=backend.break_lease, args=(lease.name,))
                breaker.start()
                try:
                    lease.commit(key, b"slot")
                except ConflictError:
                    breaker.join()
                    with pytest.raises(NotFoundError):
                        backend.read(key)
                else:
                    breaker.join()
                    assert backend.read(key) == b"slot"

    def test_leases_are_seen(self, backend: Backend) -> None:
        """A lease is listed with its epoch, alive, until it is dropped."""
        with backend.lease(2), backend.lease(1) as lease:
            states = backend.leases()
            assert [(state.epoch, state.alive) for state in states] == [(1, True), (2, True)]
            assert states[0].name == lease.name
            assert lease.epoch == 1
            assert 0 <= states[0].age < 60  # noqa: PLR2004 - a minute is plenty for one call
        assert list(backend.leases()) == []

    def test_dropping_twice_is_harmless(self, backend: Backend) -> None:
        """A dropped lease can be dropped again and commits nothing."""
        lease = backend.lease(0)
        lease.drop()
        lease.drop()
        with pytest.raises(StorageError):
            lease.commit(SLOT, b"late")

    def test_committed_slots_survive_their_lease(self, backend: Backend) -> None:
        """Breaking or dropping a lease after its commit leaves the slot as it is."""
        with backend.lease(0) as lease:
            lease.commit(SLOT, b"slot")
            backend.break_lease(lease.name)
        assert backend.read(SLOT) == b"slot"

    def test_only_leases_are_broken(self, backend: Backend) -> None:
        """What is not the name of a lease cannot be broken; one that is gone can."""
        with pytest.raises(InvalidInputError):
            backend.break_lease("../config")
        backend.break_lease("0000000000000000-0000000000000000")

    def test_a_lock_is_held_by_one(self, backend: Backend) -> None:
        """A held lock is refused, and is free again after its block, even after an error."""
        with backend.exclusive("gc"), pytest.raises(ConflictError), backend.exclusive("gc"):
            pass
        with pytest.raises(KeyError), backend.exclusive("gc"):
            raise KeyError
        with backend.exclusive("gc"):
            assert list(backend.leases()) == []


def race(run: Callable[[int], bool]) -> list[bool]:
    """What ``run(0)``, ``run(1)``… give when they start at the same time."""
    start = threading.Barrier(WRITERS)

    def together(number: int) -> bool:
        start.wait()
        return run(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(together, range(WRITERS)))
