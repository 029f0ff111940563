"""Retention: which versions stay is a pure choice; carrying it out marks rows and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mstore
from mstore.best import metric
from mstore.errors import InvalidInputError, NotFoundError
from mstore.ops.gc import Limits
from mstore.ops.retain import Candidate, Retention, select, select_optimizers
from mstore.ops.steplog.rows import companion
from mstore.refs import HEADS
from mstore.store import Store

candidates = st.lists(
    st.builds(
        Candidate,
        st.integers(1, 40),
        st.none() | st.integers(0, 100),
        st.dictionaries(st.sampled_from(["acc", "f1"]), st.floats(), max_size=2),
        st.lists(st.sampled_from(["prod", "best"]), max_size=1).map(tuple),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda candidate: candidate.number,
)
rules = st.builds(
    Retention,
    st.none() | st.integers(1, 10),
    st.none() | st.integers(1, 12),
    st.lists(st.sampled_from(["acc", "acc:min", "f1:max"]), max_size=2).map(tuple),
)


def newest(found: Sequence[Candidate], count: int) -> set[int]:
    """The highest numbers."""
    return set(sorted(candidate.number for candidate in found)[-count:])


@given(candidates, rules)
def test_what_stays_whatever_the_rules(found: list[Candidate], given_rules: Retention) -> None:
    """The newest version and every tagged one stay, and only given versions with a reason."""
    kept = select(found, given_rules)
    assert newest(found, 1) <= kept.keys() <= {candidate.number for candidate in found}
    assert {candidate.number for candidate in found if candidate.tags} <= kept.keys()
    assert all(kept.values())


@given(candidates, st.integers(1, 25))
def test_the_last_stay(found: list[Candidate], count: int) -> None:
    """With ``last`` alone exactly that many of the newest stay, and the tagged ones."""
    tagged = {candidate.number for candidate in found if candidate.tags}
    assert select(found, Retention(last=count)).keys() == newest(found, count) | tagged


@given(candidates, st.integers(1, 12))
def test_every_nth_stays(found: list[Candidate], every: int) -> None:
    """With ``every`` the steps that it divides stay; a version without a step counts by number."""
    divided = {
        candidate.number
        for candidate in found
        if (candidate.number if candidate.step is None else candidate.step) % every == 0
    }
    others = newest(found, 1) | {candidate.number for candidate in found if candidate.tags}
    assert select(found, Retention(every=every)).keys() == divided | others


@given(candidates, st.sampled_from(["min", "max"]))
def test_the_best_stays(found: list[Candidate], direction: str) -> None:
    """No version is better by the metric than the one that stays for it; NaN is never best."""
    kept = select(found, Retention(best=(f"acc:{direction}",)))
    best = [number for number, why in kept.items() if any("best acc" in text for text in why)]
    rated = {
        c.number: c.metrics["acc"] for c in found if not np.isnan(c.metrics.get("acc", np.nan))
    }
    assert bool(best) == bool(rated)
    if rated:
        (number,) = best
        ideal = min(rated.values()) if direction == "min" else max(rated.values())
        assert rated[number] == ideal
        assert number == max(n for n, value in rated.items() if value == ideal)


@given(candidates, rules, st.integers(1, 10))
def test_more_rules_keep_more(found: list[Candidate], given_rules: Retention, last: int) -> None:
    """A rule that is added never makes a version go that others keep."""
    if given_rules.chooses and (given_rules.last is None or given_rules.last <= last):
        more = Retention(last, given_rules.every, given_rules.best)
        assert select(found, given_rules).keys() <= select(found, more).keys()


@given(candidates)
def test_without_a_rule_all_stay(found: list[Candidate]) -> None:
    """Rules for optimizer states alone let every version stay."""
    assert len(select(found, Retention(optimizer_last=1))) == len(found)


@given(
    st.lists(st.none() | st.integers(1, 30), max_size=12),
    st.sets(st.integers(1, 30)),
    st.sets(st.integers(1, 12)),
    st.none() | st.integers(1, 5),
)
def test_which_optimizer_states_stay(
    links: list[int | None], states: set[int], kept: set[int], last: int | None
) -> None:
    """Those of the last kept versions stay, and those that are newer than any version knows."""
    models = [(at, None if link is None else b"%d" % link) for at, link in enumerate(links, 1)]
    held = {number: b"%d" % number for number in states}
    found = select_optimizers(models, held, kept, last)
    used = [(at, link) for at, link in enumerate(links, 1) if link in states]
    mine = [link for at, link in used if at in kept]
    wanted = set(mine[-last if last else 0 :])
    newer = {
        number for number in states if number > max((link or 0 for _, link in used), default=0)
    }
    assert found.keys() == wanted | newer


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("val/acc", ("val/acc", "max")),
        ("val/loss:min", ("val/loss", "min")),
        ("val/loss:max", ("val/loss", "max")),
        ("a:b", ("a:b", "max")),
    ],
)
def test_metrics_say_their_direction(text: str, wanted: tuple[str, str]) -> None:
    """A metric is best at its greatest unless it says otherwise."""
    assert metric(text) == wanted


@pytest.mark.parametrize("text", ["val/loss", "error_rate", "Perplexity"])
def test_a_loss_has_to_say_its_direction(text: str) -> None:
    """Nobody loses the best version because the greatest loss was taken for it."""
    with pytest.raises(InvalidInputError, match="least or greatest"):
        Retention(best=(text,))


@pytest.mark.parametrize("name", ["last", "every", "optimizer_last"])
def test_numbers_begin_at_one(store: Store, name: str) -> None:
    """A number below 1 is refused before anything is looked at."""
    with pytest.raises(InvalidInputError, match=f"{name} is 0"):
        store.retain("run", **{name: 0})


# Carried out


@pytest.fixture
def run(store: Store) -> Store:
    """Ten steps with optimizer states; the second has a tag, the third is the best."""
    for step in range(1, 11):
        rng = np.random.default_rng(step)
        store.checkpoint(
            {"w": rng.standard_normal(30_000, dtype=np.float32)},
            "run",
            step * 10,
            optimizer={"m": rng.standard_normal(30_000, dtype=np.float32)},
            metrics={"acc": 1.0 if step == 3 else step / 100},
        )
    store.flush()
    store.tag("run@2", "prod")
    return store


def states(store: Store, name: str) -> dict[int, str]:
    """The state of each row of a model."""
    return {n: row.state for n, row in store.parts.refs.table(HEADS, name).rows.items()}


def numbers(store: Store, name: str, state: str = "kept") -> list[int]:
    """The numbers of a model's rows in one state."""
    return [number for number, found in states(store, name).items() if found == state]


def test_rules_are_carried_out(run: Store) -> None:
    """What no rule keeps is stripped, with its optimizer state; each that stays says why."""
    report = run.retain("run", last=2, every=50, best=["acc"], optimizer_last=1)
    assert numbers(run, "run") == [2, 3, 5, 9, 10]
    assert numbers(run, "run", "stripped") == [1, 4, 6, 7, 8]
    assert numbers(run, "run/optimizer") == [10]
    why = {row.label: row.reasons for row in report.kept}
    assert why["run@2"] == ("tag prod",)
    assert why["run@3"] == ("best acc (max 1)",)
    assert why["run@10"] == ("every 50", "last 2")
    assert why["run/optimizer@10"] == ("of the last 1",)
    assert [row.label for row in report.removed][:2] == ["run@1", "run@4"]
    assert len(report.removed) == 5 + 9


def test_what_stays_can_be_read_and_the_rest_goes(run: Store) -> None:
    """After gc kept steps resume, stripped ones are described only, and the store is sound."""
    run.retain("run", last=1, optimizer_last=1)
    run.gc(now=True)
    assert run.resume("run").step == 100
    assert run.load("prod")["w"].shape == (30_000,)
    assert run.show("run@4").version.metrics == {"acc": 0.04}
    with pytest.raises(NotFoundError) as caught:
        run.load("run@4")
    assert caught.value.kind == "stripped"
    assert run.fsck(full=True).clean


@pytest.mark.parametrize("forget", [False, True])
def test_a_dry_run_changes_nothing_and_knows_the_bytes(run: Store, *, forget: bool) -> None:
    """A dry run says what the real one does and how much gc then gives back, and writes nothing."""
    before = sorted(Path(run.path).rglob("*"))
    plan = run.retain("run", last=2, optimizer_last=1, forget=forget, dry_run=True)
    assert sorted(Path(run.path).rglob("*")) == before
    assert (plan.dry_run, plan.fate) == (True, "deleted" if forget else "stripped")
    done = run.retain("run", last=2, optimizer_last=1, forget=forget)
    assert (done.kept, done.removed) == (plan.kept, plan.removed)
    assert done.freed_bytes is None
    assert plan.freed_bytes == run.gc(dry_run=True).plan.dead_bytes


def test_bases_of_what_stays_are_not_free(store: Store) -> None:
    """What a kept step is stored as a difference from stays with it, and the dry run knows."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(100_000, dtype=np.float32)
    for step in range(6):
        weights = weights + np.float32(1e-6) * rng.standard_normal(100_000, dtype=np.float32)
        store.checkpoint({"w": weights}, "run", step)
    store.flush()
    packs = store.parts.odb.packs()
    assert any(entry.base for key in packs for entry in store.parts.odb.entries(key))
    freed = store.retain("run", last=1, dry_run=True).freed_bytes
    store.retain("run", last=1)
    assert freed == store.gc(dry_run=True).plan.dead_bytes
    store.gc(now=True, limits=Limits(repack_at=0.0))
    assert np.array_equal(mstore.open(store.path).load("run")["w"], weights)
    assert store.fsck(full=True).clean


def test_forgetting_deletes_rows(run: Store) -> None:
    """With ``forget`` the versions are deleted, and their steps may come again."""
    run.retain("run", last=1, forget=True)
    assert numbers(run, "run", "deleted") == [1, 3, 4, 5, 6, 7, 8, 9]
    run.checkpoint({"w": np.zeros(3)}, "run", 10)
    run.flush()
    assert run.resume("run", 10).label == "run@11"


def test_undo_takes_it_back(run: Store) -> None:
    """Before gc, ``undo`` of both names makes all as it was."""
    before = states(run, "run"), states(run, "run/optimizer")
    run.retain("run", last=1, optimizer_last=1)
    run.undo("run")
    run.undo("run/optimizer")
    assert (states(run, "run"), states(run, "run/optimizer")) == before


def test_twice_is_once(run: Store) -> None:
    """The same rules again find nothing to do and write no slot."""
    run.retain("run", last=2, optimizer_last=1)
    generation = run.parts.refs.table(HEADS, "run").generation
    assert run.retain("run", last=2, optimizer_last=1).removed == ()
    assert run.parts.refs.table(HEADS, "run").generation == generation


def test_optimizer_states_alone(run: Store) -> None:
    """``optimizer_last`` alone drops old optimizer states and no version."""
    run.retain("run", optimizer_last=3)
    assert len(numbers(run, "run")) == 10
    assert numbers(run, companion("run")) == [8, 9, 10]


def test_a_tagged_optimizer_state_stays(run: Store) -> None:
    """A tag keeps an optimizer state too."""
    run.tag("run/optimizer@4", "restart")
    report = run.retain("run", optimizer_last=1)
    assert numbers(run, "run/optimizer") == [4, 10]
    assert ("run/optimizer@4", ("tag restart",)) in [(r.label, r.reasons) for r in report.kept]


def test_a_state_whose_step_is_not_there_yet_stays(run: Store) -> None:
    """The optimizer state of a step that another program is storing is left alone."""
    run.put({"m": np.zeros(3)}, "run/optimizer", metadata={"step": 110, "role": "optimizer"})
    run.retain("run", last=1, optimizer_last=1)
    assert numbers(run, "run/optimizer") == [10, 11]


def test_ordinary_models_have_rules_too(store: Store) -> None:
    """A model without steps keeps its last versions; every n-th counts by number."""
    for seed in range(6):
        store.put({"w": np.full(100, seed)}, "lenet")
    report = store.retain("lenet", every=3)
    assert numbers(store, "lenet") == [3, 6]
    assert [row.step for row in report.kept] == [None, None]


def test_optimizer_states_can_have_rules_of_their_own(run: Store) -> None:
    """The model of optimizer states can be named itself."""
    run.retain("run/optimizer", last=4)
    assert numbers(run, "run/optimizer") == [7, 8, 9, 10]
    assert len(numbers(run, "run")) == 10


def test_rules_that_say_nothing_are_refused(run: Store) -> None:
    """Without any rule nothing is done; an unknown model is not found."""
    with pytest.raises(InvalidInputError, match="nothing says what stays"):
        run.retain("run")
    with pytest.raises(NotFoundError):
        run.retain("nothing", last=1)


def test_stripped_versions_are_no_candidates(run: Store) -> None:
    """What was stripped before neither counts as one of the last nor is touched again."""
    run.retain("run", last=3, forget=True)
    run.delete("run@10")
    report = mstore.open(run.path).retain("run", last=1)
    assert [row.label for row in report.kept if "/" not in row.label] == ["run@2", "run@9"]
