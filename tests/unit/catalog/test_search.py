"""Search: three-valued answers, every field, lineage, order, and what is listed apart."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mstore
from mstore.catalog.syntax import QueryError
from mstore.errors import InvalidInputError
from mstore.latency import KINDS, Operation, Processor, Work
from mstore.ops.estimate import record_work
from mstore.store import Store

EXAMPLE = (
    "task = 'object-detection' and val/accuracy > 0.9 and memory < 100MB "
    "and derived from resnet18 order by val/accuracy desc limit 5"
)


def found(store: Store, text: str) -> list[str]:
    """The labels of the matches, in order."""
    return [match.labels[0] for match in store.search(text).matches]


def lacks(store: Store, text: str) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """The versions that lack values, by the values."""
    return {group.values: group.labels for group in store.search(text).lacking}


def test_the_example_of_the_guide(zoo: Store) -> None:
    """A search with every kind of condition finds one version and says what others lack."""
    assert found(zoo, EXAMPLE) == ["det@1"]
    assert lacks(zoo, EXAMPLE) == {("memory",): ("det@2",), ("val/accuracy",): ("det@4",)}


def test_the_sentence_of_the_guide(zoo: Store) -> None:
    """An English sentence is shown as what it was understood as, then answered the same way."""
    report = zoo.search(
        "Object detection model on imagenet dataset with accuracy>90% and memory footprint<100MB "
        "and can perform inference on a 1GHz processor"
    )
    assert report.query == (
        "task = 'object-detection' and dataset = 'imagenet' and accuracy > 0.9 "
        "and memory < 100 MB and runs on 1 GHz"
    )
    assert report.remarks == ("'accuracy' means 'val/accuracy'",)
    assert [match.labels[0] for match in report.matches] == ["det@1"]
    lacking = {label: group.values for group in report.lacking for label in group.labels}
    assert lacking["det@2"] == ("latency@1GHz", "memory")
    assert lacking.keys() == {"det@2", "gan@1"}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("name = gan", ["gan@1"]),
        ("name like 'd%' and number between 2 and 3", ["det@2", "det@3"]),
        ("number in [3, 4]", ["det@3", "det@4"]),
        ("task = 'Image Classification'", ["resnet18@1"]),
        ("author != bob", ["resnet18@1"]),
        ("tag = prod or tag = toy", ["det@1", "gan@1"]),
        ("not tag = prod and name = det", ["det@2", "det@3", "det@4"]),
        ("dataset = coco", ["det@4"]),
        ("framework = JAX", ["gan@1"]),
        ("format = safetensors and dtype = f32 and name = gan", ["gan@1"]),
        ("params = 4 and weights = 16 and tensors = 1 and files = 1 and name = gan", ["gan@1"]),
        ("lr = 0.1", ["det@1"]),
        ("param.opt.name = adam", ["det@2"]),
        ("meta.framework = jax", ["gan@1"]),
        ("has memory", ["det@1", "det@3", "det@4"]),
        ("val/accuracy exists and not has memory", ["det@2", "resnet18@1"]),
        ("~ 'CATS naively'", ["gan@1"]),
        ("message ~ paint*", ["gan@1"]),
        ("file ~ 'model tensors' and name = gan", ["gan@1"]),
        ("relation = 'derived' and memory < 2MB", ["det@3", "det@4"]),
        ("derived from resnet18", ["det@1", "det@2", "det@3", "det@4"]),
        ("derived from det@2", ["det@3", "det@4"]),
        ("derived from prod", ["det@2", "det@3", "det@4"]),
        ("ancestor of det@2", ["det@1", "resnet18@1"]),
        ("parent of det@2", ["det@1"]),
        ("child of resnet18", ["det@1"]),
        ("runs on 1GHz within 20ms", ["det@1"]),
        ("runs on 1GHz within 19ms", []),
        ("time >= 2020 and time < 2020-02", []),
        ("time > 2020-01-31T12:00 and name = gan", ["gan@1"]),
        ("val/accuracy != 0.7", ["det@1", "det@2", "det@3"]),
        ("val/accuracy = nan", []),
        ("accuracy on imagenet > 0.94", ["det@2"]),
        ("*/accuracy > 0.94", ["det@2"]),
        ("order by val/accuracy desc", ["det@2", "det@1", "resnet18@1", "det@3", "det@4", "gan@1"]),
        ("order by val/accuracy limit 4", ["resnet18@1", "det@1", "det@2", "det@3"]),
        ("order by task, name desc limit 2", ["resnet18@1", "det@1"]),
    ],
)
def test_fields(zoo: Store, text: str, labels: list[str]) -> None:
    """Each field, operator and direction finds the versions that it should."""
    assert found(zoo, text) == labels


def test_memory_is_at_least_the_weights(store: Store) -> None:
    """Where nobody has measured the memory, the weights alone may settle the question."""
    store.put({"w": np.zeros(1000, np.float32)}, "net")
    assert found(store, "memory > 3kB") == ["net@1"]
    assert lacks(store, "memory > 4kB") == {("memory",): ("net@1",)}
    assert store.search("memory < 4kB").lacking == ()
    assert lacks(store, "memory <= 4kB") == {("memory",): ("net@1",)}
    assert store.search("memory between 1 and 3.9kB or memory in [1, 2]").lacking == ()


def test_a_measured_value_wins_over_an_estimate(zoo: Store) -> None:
    """An estimate counts only where no note, version or log has the value."""
    for label in ("det@1", "det@2"):
        zoo.note(label, metrics={"memory": 5e6}, topic="estimate")
    assert found(zoo, "memory = 5MB") == ["det@2"]
    zoo.note("det@2", metrics={"memory": 6e6})
    assert found(zoo, "memory = 6MB") == ["det@2"]


def test_a_traced_pass_answers_for_any_clock(zoo: Store) -> None:
    """A pass that was traced is scaled to the clock; a deadline within its interval stays open."""
    speeds = dict.fromkeys(KINDS, 1e9), dict.fromkeys(KINDS, 1e-9)
    work = Work((Operation("matmul", 1, 1_000_000_000, 1),), 0)
    record_work(zoo.parts, "det@2", work, Processor(1e9, *speeds, 1e12, 1e12))
    assert found(zoo, "runs on 1GHz within 2.5s") == ["det@1", "det@2"]
    assert "det@2" in found(zoo, "runs on 500MHz within 5s and name = det")
    assert lacks(zoo, "name = det and number = 2 and runs on 1GHz within 1s") == {
        ("latency@1GHz",): ("det@2",)
    }
    assert found(zoo, "not runs on 1GHz within 1ms") == ["det@1", "det@2"]


def test_notes_are_searched(zoo: Store) -> None:
    """Results, tags and words that were said later are found, until they are taken back."""
    said = {"metrics": {"accuracy": 0.5}, "dataset": "cifar", "split": "test"}
    note = zoo.note("det@4", "confuses buses", tags=["reviewed"], **said)
    for text in ("accuracy on cifar = 0.5", "cifar/test/accuracy = 0.5", "tag = reviewed"):
        assert found(zoo, text) == ["det@4"]
    assert found(zoo, "note ~ buses and dataset = cifar") == ["det@4"]
    zoo.retract("det@4", str(note.id))
    assert found(zoo, "tag = reviewed or ~ buses") == []


def test_a_team_schema_is_not_searched(zoo: Store) -> None:
    """What mstore keeps for itself under its own name is not a model that people look for."""
    zoo.put({"w": np.ones(1, np.float32)}, "mstore/schema", message="fields")
    assert found(zoo, "~ fields or name like 'mstore/%'") == []


@pytest.mark.parametrize(
    ("text", "marked", "hint"),
    [
        ("val/acuracy > 0.9", "val/acuracy", "did you mean 'val/accuracy'?"),
        ("derived from resnet8", "resnet8", "did you mean 'resnet18'?"),
        ("memory < 20ms", "20ms", "as in: memory < 1 B"),
        ("memory < big", "big", None),
        ("time > yesterday", "yesterday", None),
        ("time > 2026-13", "2026-13", None),
        ("~ '--'", "'--'", None),
    ],
)
def test_what_means_nothing_is_marked(zoo: Store, text: str, marked: str, hint: str | None) -> None:
    """A name, unit or date that is not known is marked, and the nearest name is told."""
    with pytest.raises(QueryError) as refused:
        zoo.search(text)
    error = refused.value
    assert text[error.start : error.stop] == marked
    if hint:
        assert error.hint == hint


def test_a_team_says_what_its_metrics_are_in(tmp_path: Path) -> None:
    """A field of the store's own schema is searched for in its unit, and refused in another."""
    store, _ = mstore.init(tmp_path / "store")
    path = tmp_path / "fields.toml"
    path.write_text('[fields."run/*"]\ntype = "joules"\n', encoding="utf-8")
    store.set_schema(path)
    store.put({"w": np.ones(4)}, name="lenet", metrics={"run/energy": 2000.0})
    report = store.search("run/energy > 1.5 kJ")
    assert [match.labels[0] for match in report.matches] == ["lenet@1"]
    assert [(column.name, column.unit) for column in report.columns] == [("run/energy", "joules")]
    with pytest.raises(QueryError, match="'run/energy' is in joules, and '20ms' in seconds"):
        store.search("run/energy > 20ms")


def test_values_are_bound(zoo: Store) -> None:
    """Text that looks like SQL or like a query of words is a value like any other."""
    for value in (
        "x'' OR 1=1 --",
        'a" OR b',
        "NEAR(a b)",
        "{names}: x",
        "'; DROP TABLE metric; --",
    ):
        text = value.replace("'", "''")
        for query in (
            f"name = '{text}'",
            f"~ '{text}'",
            f"message like '{text}'",
            f"id = '{text}'",
        ):
            assert found(zoo, query) == []
    assert found(zoo, "name = gan") == ["gan@1"]


def test_the_plan_is_shown(zoo: Store) -> None:
    """On request each part says its SQL, how SQLite goes about it, and what it found."""
    whole, left, right = zoo.search("memory < 2MB and not name = gan", explain=True).steps[:3]
    assert (whole.true, whole.unknown, left.true, left.unknown) == (2, 2, 2, 3)
    assert "metric_by_name" in left.plan[0]
    assert "?" in left.query
    assert "2MB" not in left.query
    assert (right.condition, right.true, right.depth) == ("not name = 'gan'", 5, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_any_text_is_answered_or_refused(zoo: Store, text: str) -> None:
    """No text brings a search down."""
    try:
        report = zoo.search(text)
    except InvalidInputError:
        return
    assert report.total <= report.searched


METRICS = ("a", "b", "c")
Known = dict[str, float]
ATOMS = st.tuples(
    st.sampled_from(METRICS), st.sampled_from(("=", "!=", "<", "<=", ">", ">=")), st.integers(0, 3)
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(("and", "or")), inner, inner)
    ),
    max_leaves=8,
)


def written(condition: tuple[object, ...]) -> str:
    """A condition in the language of searches."""
    match condition:
        case ("not", inner):
            return f"not ({written(inner)})"  # type: ignore[arg-type]  # a nested condition
        case ("and" | "or" as word, left, right):
            return f"({written(left)}) {word} ({written(right)})"  # type: ignore[arg-type]  # as above
        case _:
            return "{} {} {}".format(*condition)


def kleene(condition: tuple[object, ...], known: Known) -> bool | None:
    """The truth of a condition for one version; None for what its values do not tell."""
    match condition:
        case ("not", inner):
            truth = kleene(inner, known)  # type: ignore[arg-type]  # a nested condition
            return None if truth is None else not truth
        case ("and" | "or" as word, left, right):
            both = {kleene(left, known), kleene(right, known)}  # type: ignore[arg-type]  # as above
            decisive = word == "or"
            return decisive if decisive in both else None if None in both else not decisive
        case (name, sign, number):
            value = known.get(str(name))
            assert isinstance(number, int)
            return None if value is None else compare(value, str(sign), number)
    raise AssertionError(condition)


def compare(value: float, sign: str, number: int) -> bool:
    """A comparison as Python has it, NaN included."""
    truths = {"=": value == number, "!=": value != number, "<": value < number}
    return {**truths, "<=": value <= number, ">": value > number, ">=": value >= number}[sign]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Known]]:
    """Versions with every subset of three metrics, one of them with NaN and infinities."""
    store, _ = mstore.init(tmp_path_factory.mktemp("sparse") / "store")
    rng = np.random.default_rng(5)
    known: dict[str, Known] = {}
    for number in range(1, 25):
        values = [0.0, 1.0, 2.0, 3.0, np.nan, np.inf, -np.inf]
        metrics = {name: float(rng.choice(values)) for name in METRICS if rng.random() < 0.6}
        tensors = {"w": np.full(2, number, np.float32)}
        store.put(tensors, "net", metrics=metrics)
        known[f"net@{number}"] = metrics
    store.put({"w": np.zeros(2, np.float32)}, "all", metrics=dict.fromkeys(METRICS, 1.0))
    known["all@1"] = dict.fromkeys(METRICS, 1.0)
    return store, known


@given(CONDITIONS)
def test_three_values_are_exact(
    sparse: tuple[Store, dict[str, Known]], condition: tuple[object, ...]
) -> None:
    """True, not known and what is lacked are what Kleene's tables give for each version alone."""
    store, known = sparse
    report = store.search(written(condition))
    truths = {label: kleene(condition, values) for label, values in known.items()}
    assert {match.labels[0] for match in report.matches} == {
        label for label, truth in truths.items() if truth
    }
    lacking = {label: group.values for group in report.lacking for label in group.labels}
    assert lacking.keys() == {label for label, truth in truths.items() if truth is None}
    for label, values in lacking.items():
        assert values
        assert not set(values) & known[label].keys()
