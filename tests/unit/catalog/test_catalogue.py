"""The catalogue: derived, the same whenever it is made, and never in the way."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.fsio import FileSystem
from mstore.backends.memory import MemoryBackend
from mstore.catalog import opening
from mstore.catalog.catalogue import Catalogue
from mstore.objects import Log, Series
from mstore.ops.put import Description, put
from mstore.ops.sources import scan_paths
from mstore.parts import init_parts
from mstore.store import Store

PROGRAM = "import sys, mstore; print(mstore.open(sys.argv[1]).reindex().versions)"

KILLED = """
import os, signal, sys
import mstore
from mstore.backends.fsio import FileSystem
from mstore.catalog import opening

parts = mstore.open(sys.argv[1]).parts
place = next(opening.places(parts.backend, parts.config.id, FileSystem()))
connection = opening.connect(place)
# Without a cache every page goes to the file at once, and what stood there to the journal before.
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM metric")
connection.execute("UPDATE described SET message = hex(randomblob(9000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def file_of(store: Store) -> Path:
    """Where the catalogue of a store lies."""
    return Path(store.path) / "cache" / "catalog.db"


def dump(store: Store) -> str:
    """The statements that would make the catalogue again."""
    notices: list[str] = []
    with store.catalogue.reading(notices.append) as connection:
        assert notices == []
        return "\n".join(connection.iterdump())


def tables(store: Store) -> dict[str, list[object]]:
    """The rows of every table but those of the index of words, which depend on its past."""
    names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'words%'"
    with store.catalogue.reading([].append) as connection:
        found = [name for (name,) in connection.execute(names) if name != "document"]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in found}  # noqa: S608 - names of tables
        texts = "SELECT version, names, message, tags, notes, card FROM document ORDER BY version"
        return {**rows, "document": connection.execute(texts).fetchall()}


def asked(store: Store, query: str) -> list[tuple[object, ...]]:
    """What a query of the tables gives."""
    with store.catalogue.reading([].append) as connection:
        return connection.execute(query).fetchall()


def said(store: Store) -> tuple[int, tuple[str, ...]]:
    """How many versions a search finds, and what it had to say on the way."""
    report = store.search("limit 100")
    return report.total, report.notices


def change_name(store: Store) -> None:
    """Give a model another name."""
    store.rename("gan", "painter")


def strip_model_card(store: Store) -> None:
    """Strip versions, so that a model card can be read no more."""
    store.retain("det", last=1)


CHANGES: list[Callable[[Store], object]] = [
    lambda store: store.put({"w": np.ones(3, np.float32)}, "new", metrics={"loss": 1.0}),
    lambda store: store.tag("det@2", "prod"),
    lambda store: store.delete_tag("prod"),
    lambda store: store.delete("det@4"),
    lambda store: (store.delete("det@3"), store.undo("det")),
    lambda store: store.note("det@1", "fine", metrics={"val/accuracy": 0.5}, tags=["seen"]),
    lambda store: store.retract("det@1", str(store.note("det@1", "wrong").id)),
    change_name,
    strip_model_card,
    lambda store: store.copy("det@3", "other"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_taken_in(zoo: Store, change: Callable[[Store], object]) -> None:
    """After any change the tables hold what they would if they were made anew."""
    tables(zoo)
    change(zoo)
    after = tables(zoo)
    zoo.reindex()
    assert after == tables(zoo)


def test_a_new_catalogue_is_the_same(zoo: Store) -> None:
    """Deleted, or made anew over an old one, the catalogue is the same to the byte."""
    zoo.note("det@1", "fine", metrics={"loss": float("inf")})
    first = dump(zoo)
    zoo.delete("det@3")
    zoo.undo("det")
    zoo.reindex()
    second = dump(zoo)
    assert second != first
    file_of(zoo).unlink()
    assert dump(zoo) == second


def test_another_program_is_seen(zoo: Store) -> None:
    """What another open store adds is found by the next search."""
    before, _ = said(zoo)
    mstore.open(zoo.path).put({"w": np.ones(2, np.float32)}, "late")
    assert said(zoo) == (before + 1, ())


def test_a_store_that_was_put_back_is_noticed(zoo: Store, tmp_path: Path) -> None:
    """A store that was put back to an older state and went on from there is read again."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", zoo.path, copy], check=True)
    zoo.put({"w": np.ones(2, np.float32)}, "one", message="first")
    other = mstore.open(copy)
    other.put({"w": np.ones(2, np.float32)}, "one", message="second")
    said(zoo)
    subprocess.run(["cp", "-a", file_of(zoo), file_of(other)], check=True)
    (match,) = mstore.open(copy).search("name = one").matches
    assert match.message == "second"


def test_views_can_be_asked_from_outside(zoo: Store) -> None:
    """Every documented view answers the sqlite3 shell, with ids in hex and times in ISO 8601."""
    zoo.note("det@1", "fine")
    zoo.reindex()
    page = (Path(__file__).parents[3] / "docs/guide/search.md").read_text(encoding="utf-8")
    table = page.partition("\n| view |")[2]
    views = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {"models", "versions", "metrics", "parent", "model_version"} <= set(views)
    with closing(sqlite3.connect(f"file:{file_of(zoo)}?mode=ro", uri=True)) as connection:
        for view in views:
            assert connection.execute(f"SELECT * FROM {view}").fetchall() or view == "curves"  # noqa: S608 - names of views
        (row,) = connection.execute("SELECT id, time FROM versions WHERE model = 'gan'")
    assert row[0] == str(zoo.resolve("gan").version)
    assert row[1].endswith("Z")


def test_numbers_that_are_none(zoo: Store) -> None:
    """NaN is shown as what it is, and an infinity is a number."""
    zoo.note("gan", metrics={"loss": float("-inf"), "fid": float("nan")})
    rows = asked(zoo, "SELECT name, value, shown FROM metrics WHERE source = 'note' ORDER BY name")
    assert rows == [("fid", None, "NaN"), ("loss", float("-inf"), "-Inf")]


def test_logs_are_curves(store: Store, write_model: Callable[..., Path]) -> None:
    """A training log is a row for each series, and its end a metric where nothing else says it."""
    steps, values = np.arange(3, dtype="<i8"), np.array([3.0, 1.0, 2.0], "<f8")
    log = Log("csv", (Series("loss", steps.tobytes(), values.tobytes()), Series("none", b"", b"")))
    source = scan_paths([write_model({"w": np.ones(2, np.float32)})])
    put(store.parts, source, "net", Description(logs=(log,), metrics={"acc": 1.0}))
    rows = asked(
        store, "SELECT name, points, first_step, last_step, last, least, greatest FROM curves"
    )
    assert rows == [("loss", 3, 0, 2, 2.0, 1.0, 3.0), ("none", 0, None, None, None, None, None)]
    assert store.search("loss = 2").total == 1


def test_a_model_card_is_searched(store: Store, tmp_path: Path) -> None:
    """The words of a README are found, as long as its bytes are here."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "README.md").write_text("# Bert\nReads **Norwegian** newspapers.\n")
    (folder / "weights.bin").write_bytes(b"norwegian")
    store.put(folder)
    assert [match.name for match in store.search("norwegian newspapers").matches] == ["bert"]
    assert store.search("card ~ norwegian").total == 1


def test_a_damaged_version_is_said(zoo: Store) -> None:
    """A version that cannot be read is named, and the others are searched."""
    said(zoo)
    version = zoo.resolve("gan").version
    location = zoo.parts.odb.find(version)
    assert location is not None
    path = Path(zoo.path) / location.pack_key
    content = bytearray(path.read_bytes())
    content[location.entry.offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    other = mstore.open(zoo.path)
    other.reindex()
    total, (notice,) = said(other)
    assert total == 6
    assert str(version)[:12] in notice


@pytest.mark.parametrize("damage", ["rubbish", "middle", "empty", "folder of another"])
def test_a_damaged_catalogue_is_made_anew(zoo: Store, damage: str) -> None:
    """Whatever is wrong with the file, the search is answered, and why it took longer is said."""
    total, _ = said(zoo)
    path = file_of(zoo)
    content = path.read_bytes()
    match damage:
        case "rubbish":
            path.write_bytes(b"no database at all" * 100)
        case "middle":
            path.write_bytes(content[:4096] + bytes(len(content) - 4096))
        case "empty":
            path.write_bytes(b"")
        case _:
            path.unlink()
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("CREATE TABLE recipes (name TEXT)")
    found, notices = said(mstore.open(zoo.path))
    assert found == total
    assert len(notices) == (0 if damage == "empty" else 1)
    assert said(zoo) == (total, ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("PRAGMA user_version = 1", "is of another version of mstore"),
        ("UPDATE fact SET value = '00' WHERE name = 'store'", "is of another store"),
        ("DROP TABLE metric", "is damaged"),
    ],
)
def test_a_catalogue_of_another_is_made_anew(zoo: Store, change: str, reason: str) -> None:
    """A catalogue of another build or store is not believed, and that is said."""
    total, _ = said(zoo)
    with closing(sqlite3.connect(file_of(zoo))) as connection:
        connection.execute(change)
        connection.commit()
    zoo.note("gan", "something new", metrics={"fid": 3.0})
    found = zoo.search("has val/accuracy or not has val/accuracy")
    assert found.total == total
    assert any(reason.rsplit(maxsplit=1)[-1] in notice for notice in found.notices)


def test_a_link_is_not_followed(zoo: Store, tmp_path: Path) -> None:
    """A catalogue that is a link to another file leaves that file alone."""
    precious = tmp_path / "precious.db"
    with closing(sqlite3.connect(precious)) as connection:
        connection.execute("CREATE TABLE kept (name TEXT)")
    before = precious.read_bytes()
    file_of(zoo).unlink(missing_ok=True)
    file_of(zoo).symlink_to(precious)
    assert said(zoo) == (6, ())
    assert precious.read_bytes() == before
    assert not file_of(zoo).is_symlink()


def test_where_nothing_can_be_written(
    zoo: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store keeps no catalogue, the user's own folder does, else memory; that is said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    cache = Path(zoo.path) / "cache"
    subprocess.run(["rm", "-rf", cache], check=True)
    cache.write_text("in the way")
    total, (notice,) = said(zoo)
    assert (total, "no catalogue can be kept" in notice) == (6, True)
    assert len(list((tmp_path / "own").rglob("*.db"))) == 1

    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    other = mstore.open(zoo.path)
    total, notices = said(other)
    assert (total, len(notices)) == (6, 2)
    assert other.reindex().place == "memory"
    other.put({"w": np.ones(2, np.float32)}, "late")
    assert said(other)[0] == 7


class Elsewhere(FileSystem):
    """A file system of another machine."""

    def is_network(self, path: str) -> bool:
        """Every folder is on it."""
        return bool(path)


def test_nothing_is_kept_on_a_network_file_system(zoo: Store) -> None:
    """On a file system whose locks cannot be relied on, the tables are in memory."""
    catalogue = Catalogue(zoo.parts, Elsewhere())
    assert catalogue.reindex().place == "memory"
    assert not file_of(zoo).exists()


def test_this_disk_is_no_network(tmp_path: Path) -> None:
    """The folder of the tests is taken for local, and one that is not there too."""
    assert not FileSystem().is_network(str(tmp_path))
    assert not FileSystem().is_network(str(tmp_path / "none"))


def test_a_store_in_memory_has_its_catalogue_there() -> None:
    """A store that has no folder is searched as well."""
    parts, _ = init_parts(MemoryBackend())
    store = Store(parts)
    store.put({"w": np.ones(2, np.float32)}, "net")
    assert said(store) == (1, ())


def test_a_lock_is_waited_for(zoo: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program holds the catalogue it is waited for, and that is said."""
    said(zoo)
    zoo.put({"w": np.ones(2, np.float32)}, "late")
    monkeypatch.setattr(opening, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(opening, "LONG_WAIT", 0.02)
    with closing(sqlite3.connect(file_of(zoo), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        total, notices = said(mstore.open(zoo.path))
        other.execute("ROLLBACK")
    assert total == 7
    assert "is locked by another program: waiting" in notices[0]
    assert said(zoo) == (7, ())


def test_programs_that_reindex_at_once(zoo: Store) -> None:
    """Programs that make the catalogue at the same time all succeed, and leave a whole one."""
    line = [sys.executable, "-c", PROGRAM, zoo.path]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [program.communicate()[0] for program in running] == ["6\n"] * 3
    first = dump(zoo)
    zoo.reindex()
    assert dump(zoo) == first


def test_a_killed_reindex_leaves_the_tables(zoo: Store) -> None:
    """A program that is killed while it fills the tables leaves them as they were."""
    before = dump(zoo)
    done = subprocess.run([sys.executable, "-c", KILLED, zoo.path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file_of(zoo).with_name("catalog.db-journal").exists()
    assert dump(mstore.open(zoo.path)) == before
