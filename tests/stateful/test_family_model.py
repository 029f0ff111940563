"""Related models in several stores against a dict, however their chunks come to be stored.

Versions are put that differ a little, so that they are stored as differences; some are deleted,
stripped, made raw or archived, collected, and sent to other stores and back. What a store says it
keeps is what was put, a slim store has nothing else, and every store is sound.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.crash.commands import store_in_steps
from tests.crash.exploring import scratch_folder

import mstore
from mstore.errors import ConflictError, NotFoundError
from mstore.ops.archive import Terms
from mstore.ops.encoding import Policy
from mstore.refs import HEADS
from mstore.store import Store, clone_store

Arrays = dict[str, np.ndarray]
Change = Callable[[np.random.Generator, Arrays], Arrays]

NAMES = st.sampled_from(["bert", "team/t5"])
CODECS: st.SearchStrategy[Policy] = st.sampled_from(["raw", "auto", "small"])
PLACES = st.integers(0, 99)
COLUMNS = 32


def new(rng: np.random.Generator) -> Arrays:
    """A model that is related to none; two of its tensors are large enough to be archived."""
    shapes = {"embed": (40, COLUMNS), "head": (36, 40), "bias": (COLUMNS,)}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def noise(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """Every number changes a little."""
    return {
        name: (value * (1 + 1e-4 * rng.standard_normal(value.shape))).astype(value.dtype)
        for name, value in arrays.items()
    }


def few(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """A few numbers of one tensor change."""
    value = arrays["embed"].copy()
    value.reshape(-1)[rng.integers(0, value.size, 5)] += 1
    return arrays | {"embed": value}


def grown(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """The vocabulary grows by a few rows."""
    more = rng.standard_normal((3, COLUMNS)).astype(arrays["embed"].dtype)
    return arrays | {"embed": np.concatenate([arrays["embed"], more])}


def shrunk(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """The vocabulary loses a row."""
    del rng
    return arrays | {"embed": arrays["embed"][:-1].copy()}


def resized(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """The rows of the head get longer."""
    head = arrays["head"]
    more = rng.standard_normal((len(head), 2)).astype(head.dtype)
    return arrays | {"head": np.concatenate([head, more], axis=1)}


def same(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """Nothing changes."""
    del rng
    return arrays


def retyped(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """All numbers get another width."""
    del rng
    target = np.float32 if arrays["embed"].dtype == np.float16 else np.float16
    return {name: value.astype(target) for name, value in arrays.items()}


def other(rng: np.random.Generator, arrays: Arrays) -> Arrays:
    """A model of its own."""
    del arrays
    return new(rng)


CHANGES: Sequence[Change] = (noise, noise, few, grown, shrunk, resized, same, retyped, other)


@dataclass
class Held:
    """A version of the store: what it holds, and whether its bytes are ``kept``."""

    state: str
    id: str


def equal(found: Arrays, expected: Arrays) -> bool:
    """Whether all arrays agree in every bit."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype
        and found[name].shape == value.shape
        and found[name].tobytes() == value.tobytes()
        for name, value in expected.items()
    )


class FamilyMachine(RuleBasedStateMachine):
    """Puts, and all that gives chunks another form, another place or an end."""

    @initialize(seed=st.integers(0, 1 << 16))
    def start(self, seed: int) -> None:
        """A store with a model and its fine-tune, an empty one, and what is known of them."""
        self.folder = scratch_folder()
        self.store = mstore.init(self.folder / "store")[0]
        self.mirror = mstore.init(self.folder / "mirror")[0]
        self.rng = np.random.default_rng(seed)
        self.contents: dict[str, Arrays] = {}
        self.models: dict[str, dict[int, Held]] = {}
        self.made = 0
        first = new(self.rng)
        self._put(first, "bert", "auto", None)
        self._put(noise(self.rng, first), "bert", "auto", None)

    def teardown(self) -> None:
        """Remove the stores."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def _put(self, arrays: Arrays, name: str, codec: Policy, parents: list[str] | None) -> None:
        result = self.store.put(arrays, name, codec=codec, parents=parents, always=True)
        rows = self.models.setdefault(name, {})
        assert result.number == max(rows, default=0) + 1
        self.contents[result.version.hex()] = arrays
        rows[result.number] = Held("kept", result.version.hex())

    def _versions(self, *states: str) -> dict[str, Held]:
        return {
            f"{name}@{number}": held
            for name, rows in self.models.items()
            for number, held in rows.items()
            if held.state in states
        }

    def _some(self, at: int, *states: str) -> str | None:
        found = list(self._versions(*states))
        return found[at % len(found)] if found else None

    @rule(
        name=NAMES,
        at=PLACES,
        change=st.sampled_from(CHANGES),
        codec=CODECS,
        says_parent=st.booleans(),
    )
    def put(self, name: str, at: int, change: Change, codec: Policy, *, says_parent: bool) -> None:
        """A version made from any that ever was, which it may or may not name."""
        source = list(self.contents)[at % len(self.contents)]
        known = [label for label, held in self._versions("kept").items() if held.id == source]
        parents = known[:1] if says_parent and known else None
        self._put(change(self.rng, self.contents[source]), name, codec, parents)

    def _collect(self, *, now: bool) -> None:
        if now:
            self.store.gc(now=True)

    @rule(at=PLACES, now=st.booleans())
    def delete(self, at: int, *, now: bool) -> None:
        """A version goes, be it the base of others."""
        label = self._some(at, "kept", "stripped")
        if label is not None:
            held = self._versions("kept", "stripped")[label]
            self.store.delete(label)
            held.state = "deleted"
            self._collect(now=now)

    @rule(at=PLACES, now=st.booleans())
    def strip(self, at: int, *, now: bool) -> None:
        """One version keeps its bytes."""
        label = self._some(at, "kept")
        if label is not None:
            stays = self._versions("kept")[label].id
            self.store.strip([label])
            for held in self._versions("kept").values():
                held.state = "kept" if held.id == stays else "stripped"
            self._collect(now=now)

    @rule(at=PLACES)
    def strip_to(self, at: int) -> None:
        """A slim store with one version, and not with what only others have."""
        label = self._some(at, "kept")
        if label is not None:
            path = self._new_folder()
            self.store.strip([label], to=path)
            slim = mstore.open(path)
            self._check(slim)
            kept = self.contents[slim.show(label).id.hex()]
            there = {value.tobytes() for value in kept.values()}
            for other, held in self._versions("kept", "stripped").items():
                values = self.contents[held.id].values()
                if not there.issuperset(value.tobytes() for value in values):
                    with pytest.raises(NotFoundError) as caught:
                        slim.load(other)
                    assert caught.value.kind == "stripped"

    def _new_folder(self) -> Path:
        self.made += 1
        return self.folder / f"made{self.made}"

    @rule(name=NAMES, last=st.integers(1, 2), forget=st.booleans())
    def retain(self, name: str, last: int, *, forget: bool) -> None:
        """The newest versions of a model stay."""
        rows = self.models.get(name, {})
        kept = sorted(number for number, held in rows.items() if held.state == "kept")
        if kept:
            self.store.retain(name, last=last, forget=forget)
            for number in kept[:-last]:
                rows[number].state = "deleted" if forget else "stripped"

    @rule(at=PLACES)
    def materialize(self, at: int) -> None:
        """A version becomes raw."""
        label = self._some(at, "kept")
        if label is not None:
            self.store.materialize([label])

    @rule(alpha=st.sampled_from([1.0, 1.6, 8.0]))
    def archive(self, alpha: float) -> None:
        """All that is kept is stored as is planned."""
        if self._versions("kept"):
            self.store.archive(terms=Terms(alpha=alpha, measure="bytes"))

    @rule(at=PLACES, levels=st.sampled_from([(8,), (8, 16), (12,)]))
    def planes(self, at: int, levels: tuple[int, ...]) -> None:
        """A version is stored in steps."""
        label = self._some(at, "kept")
        if label is not None:
            store_in_steps(self.store, label, levels)

    @rule(now=st.booleans())
    def gc(self, *, now: bool) -> None:
        """What nothing needs is condemned, or deleted at once."""
        self.store.gc(now=now)

    @rule()
    def collect_mirror(self) -> None:
        """The other store is collected too."""
        self.mirror.gc(now=True)
        self._check(self.mirror)

    @rule()
    def push(self) -> None:
        """All versions go to the other store."""
        try:
            self.store.push(self.mirror.path)
        except ConflictError:
            # A clone knows no deleted versions, and may have given their numbers to others.
            if not self.made:
                raise
            self.mirror = mstore.init(self._new_folder())[0]
            self.store.push(self.mirror.path)
        self.mirror = mstore.open(self.mirror.path)
        self._check(self.mirror)

    @rule()
    def pull(self) -> None:
        """What the other store has comes back; what was kept here still is."""
        kept = {label: held.id for label, held in self._versions("kept").items()}
        try:
            self.store.pull(self.mirror.path)
        except ConflictError:
            if not self.made:
                raise
        self._look()
        assert kept.items() <= {label: h.id for label, h in self._versions("kept").items()}.items()

    @rule()
    def clone(self) -> None:
        """A clone takes the place of the store; what was deleted is not in it."""
        path = self._new_folder()
        kept = {label: held.id for label, held in self._versions("kept").items()}
        clone_store(self.store.path, path)
        self.store = mstore.open(path)
        self._look()
        assert kept == {label: held.id for label, held in self._versions("kept").items()}

    def _look(self) -> None:
        """Believe the store in which rows it has."""
        found = self.store.parts.refs.tables(HEADS)
        self.models = {
            name: {n: Held(row.state, row.version.hex()) for n, row in table.rows.items()}
            for name, table in found.items()
        }

    @rule()
    def reopen(self) -> None:
        """The store is opened anew, without its cache."""
        shutil.rmtree(Path(self.store.path) / "cache")
        (Path(self.store.path) / "cache").mkdir()
        self.store = mstore.open(self.store.path)

    @invariant()
    def names_are_as_they_should_be(self) -> None:
        """Every version is in the state that it was brought into."""
        for name, rows in getattr(self, "models", {}).items():
            expected = {n: (h.state, h.id) for n, h in rows.items() if h.state != "deleted"}
            found = {
                row.number: (row.state, row.id.hex())
                for row in (self.store.log(name) if expected else ())
                if row.state != "deleted"
            }
            assert found == expected

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def store_holds_what_was_put(self) -> None:
        """What is kept reads back bit for bit, and all is sound."""
        self._check(self.store)

    def _check(self, store: Store) -> None:
        assert store.fsck(full=True).findings == []
        for model in store.models():
            for row in store.log(model.name):
                if row.state == "deleted":
                    continue
                label = f"{row.name}@{row.number}"
                try:
                    found = store.load(label)
                except NotFoundError as error:
                    # Until gc the bytes may still be there, or others need them.
                    if (row.state, error.kind) != ("stripped", "stripped"):
                        raise
                else:
                    assert equal(found, self.contents[row.id.hex()]), label


TestFamily = FamilyMachine.TestCase
TestFamily.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
