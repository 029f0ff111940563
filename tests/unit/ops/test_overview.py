"""Overviews: layers, curves, comparisons, lists and spreads."""

import math
import struct
import tracemalloc
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest

from mstore.errors import InvalidInputError, NotFoundError
from mstore.objects import Code, Environment, Log, Series
from mstore.ops.counts import KEY
from mstore.ops.curves import Curve
from mstore.ops.listing import sorted_rows
from mstore.ops.put import Description, put
from mstore.ops.scores import best_of, direction_of, headline, measured
from mstore.ops.sources import scan_arrays
from mstore.schema import Field, Schema
from mstore.store import Store

Arrays = dict[str, np.ndarray]


def small(seed: int) -> Arrays:
    """A model of one tensor."""
    return {"a.weight": np.random.default_rng(seed).standard_normal(6).astype(np.float32)}


def series(name: str, points: list[tuple[int, float]]) -> Series:
    """A series of a log."""
    steps, values = zip(*points, strict=True)
    count = len(points)
    return Series(name, struct.pack(f"<{count}q", *steps), struct.pack(f"<{count}d", *values))


@pytest.mark.parametrize(
    ("name", "quantity", "split", "direction"),
    [
        ("val/loss", "loss", "val", "min"),
        ("train_loss", "loss", "train", "min"),
        ("validation/accuracy", "accuracy", "val", "max"),
        ("eval_loss", "loss", "eval", "min"),
        ("loss", "loss", "", "min"),
        ("perplexity", "perplexity", "", "min"),
        ("trainer", "trainer", "", "max"),
    ],
)
def test_a_metric_says_its_split_and_direction(
    name: str, quantity: str, split: str, direction: str
) -> None:
    """A name is taken apart at its split; of losses, errors and perplexities less is better."""
    assert measured(name) == (quantity, split)
    assert direction_of(name) == direction


def test_a_schema_says_more_than_a_name() -> None:
    """A direction that is told counts before the one that the name suggests."""
    team = Schema((Field("loss", "number", direction="higher"),))
    assert direction_of("loss", team) == "max"


def test_nan_is_never_best() -> None:
    """NaN and nothing are not best, and of nothing else nothing is; equal ones are all best."""
    assert best_of("loss", [math.nan, 1.0, None, 0.5]) == (3,)
    assert best_of("accuracy", [2.0, 2.0, 1.0]) == (0, 1)
    assert best_of("accuracy", [math.nan, None]) == ()


@pytest.mark.parametrize("metric", ["epoch", "train/learning_rate", "grad_norm"])
def test_no_value_of_a_setting_is_best(metric: str) -> None:
    """What trainers log beside their metrics is never marked, and the last to be a headline."""
    assert best_of(metric, [1.0, 8.0]) == ()
    assert headline({metric: 8, "train/loss": 1}) == "train/loss"


def test_the_headline_is_measured_and_no_loss() -> None:
    """An accuracy on val says more than a loss, and that more than training."""
    assert headline({"train/accuracy": 1, "val/loss": 1, "val/accuracy": 1}) == "val/accuracy"
    assert headline({"train/accuracy": 1, "val/loss": 1}) == "val/loss"
    assert headline({}) is None


def test_parameters_of_layers_add_up(store: Store, weights: Arrays) -> None:
    """The parameters of the layers are those of all tensors, scalars and empty ones included."""
    store.put(weights, "lenet")
    found = store.overview("lenet")
    total = sum(prod(array.shape) for array in weights.values())
    assert found.parameter_count == total == sum(layer.parameter_count for layer in found.layers)
    assert {layer.name: layer.tensors for layer in found.layers}["fc"] == 2
    assert store.listing()[0].parameter_count == total


@pytest.mark.parametrize("name", ["small.gguf", "small.onnx"])
def test_parameters_of_every_format_are_counted(store: Store, name: str) -> None:
    """A list counts the parameters of files that are no safetensors as an overview does."""
    store.put(Path(__file__).parents[2] / "fixtures" / name, "model")
    found = store.overview("model").parameter_count
    assert store.listing()[0].parameter_count == found > 0


def test_an_overview_has_what_was_captured(store: Store) -> None:
    """Code, environment and logs of a version are in its overview; a patch by its size only."""
    log = Log("tensorboard", (series("val/loss", [(0, 2.0), (10, 0.5), (20, 0.7)]),))
    made = Description(
        code=Code(commit="1" * 40, branch="main", patch=b"12345"),
        environment=Environment(python="3.12.1", packages={"torch": "2.13.0"}),
        logs=(log,),
    )
    put(store.parts, scan_arrays(small_tensors(), "model"), "lenet", made)
    found = store.overview("lenet")
    assert found.shown.code is not None
    assert found.shown.environment is not None
    assert (found.shown.code.branch, found.shown.code.patch_bytes) == ("main", 5)
    assert found.shown.environment.packages == {"torch": "2.13.0"}
    (curve,) = found.curves
    assert (curve.metric, curve.source, curve.steps) == ("val/loss", "tensorboard", (0, 10, 20))
    assert curve.best == 1


def small_tensors() -> dict[str, object]:
    """A model of one tensor, as what is scanned."""
    from mstore import adapters  # noqa: PLC0415 - the adapters are only needed here

    return adapters.tensors(small(0))


def test_notes_are_everywhere(store: Store) -> None:
    """What is said of a version later is in its overview, the list, curves and comparisons."""
    for seed in range(2):
        store.put(small(seed), "lenet", metrics={"loss": 1.0 - seed})
    store.note("lenet@1", metrics={"accuracy": 0.8}, dataset="cats", split="test", tags=["good"])
    store.note("lenet@2", metrics={"accuracy": 0.9}, dataset="cats", split="test")
    store.note("lenet@2", metrics={"accuracy": 0.7}, dataset="cats", split="test")
    row = store.listing("lenet")[1]
    assert (row.metrics["cats/test/accuracy"], row.tags) == (0.8, ("good",))
    scores = store.overview("lenet@1").scores
    assert [(s.metric, s.dataset, s.split, s.value) for s in scores] == [
        ("loss", "", "", 1.0),
        ("accuracy", "cats", "test", 0.8),
    ]
    (result,) = store.compare("lenet@1", "lenet@2", dataset="cats").results
    assert (result.dataset, result.values, result.best) == ("cats:test", (0.8, 0.7), (0,))
    assert {curve.metric for curve in store.curves("lenet")} == {"loss", "cats/test/accuracy"}


def test_curves_over_versions_and_steps(store: Store) -> None:
    """A metric goes over the numbers of versions, or over their steps where all have one."""
    for seed, loss in enumerate((3.0, math.nan, 1.0)):
        store.put(
            small(seed),
            "lenet",
            metrics={"val/loss": loss, "once": 1.0} if not seed else {"val/loss": loss},
        )
        store.checkpoint(small(9 + seed), "run", 100 * seed, metrics={"val/loss": loss})
    store.close()
    (versions,) = store.curves("lenet")
    (steps,) = store.curves("run", metrics=("loss",))
    assert (versions.axis, versions.steps, versions.best) == ("version", (1, 2, 3), 2)
    assert (steps.axis, steps.steps, steps.best) == ("step", (0, 100, 200), 2)
    assert math.isnan(versions.values[1])


def test_a_learning_rate_has_no_best(store: Store) -> None:
    """What trainers log beside their metrics is drawn without a best step."""
    for seed in range(2):
        store.put(small(seed), "lenet", metrics={"learning_rate": 0.1})
    assert store.curves("lenet")[0].best is None


def test_no_curve_is_an_error_that_says_what_there_is(store: Store) -> None:
    """Nothing to draw, an unknown metric and a part of a version are errors with a hint."""
    store.put(small(0), "lenet", metrics={"loss": 1.0})
    with pytest.raises(NotFoundError, match="no curves in lenet"):
        store.curves("lenet")
    store.put(small(1), "lenet", metrics={"loss": 2.0})
    with pytest.raises(NotFoundError, match="no curve of 'f1' in lenet") as caught:
        store.curves("lenet", metrics=("f1",))
    assert caught.value.hint == "there is: loss"
    with pytest.raises(InvalidInputError, match="is a file or a tensor"):
        store.curves("lenet:model.safetensors")


def test_a_comparison_marks_differences_and_bests(store: Store) -> None:
    """Settings that differ are told from those that do not; each row has its best versions."""
    store.put(small(0), "a", params={"lr": 0.1, "batch": 8}, metrics={"loss": 2.0, "acc": math.nan})
    store.put(small(1), "b", params={"lr": 0.2, "batch": 8}, metrics={"loss": 1.0, "acc": 0.5})
    store.put(small(2), "c", params={"batch": 8}, metrics={"acc": 0.5})
    found = store.compare("a", "b", "c")
    settings = {setting.name: setting for setting in found.settings}
    assert settings["lr"].values == (0.1, 0.2, None)
    assert (settings["lr"].differs, settings["batch"].differs) == (True, False)
    results = {result.metric: result for result in found.results}
    assert (results["loss"].direction, results["loss"].best) == ("min", (1,))
    assert (results["acc"].direction, results["acc"].best) == ("max", (1, 2))
    with pytest.raises(NotFoundError, match="measured on 'cats'"):
        store.compare("a", "b", dataset="cats")


def test_rows_are_sorted_and_unknown_values_come_last(store: Store) -> None:
    """A list is sorted by any metric or parameter; NaN and nothing stand at its end both ways."""
    for seed, value in enumerate((0.5, math.nan, 0.9)):
        store.put(small(seed), "lenet", metrics={"acc": value}, params={"lr": seed})
    store.put(small(7), "lenet")
    rows = store.listing("lenet")
    assert [row.number for row in sorted_rows(rows, "acc")][:2] == [1, 3]
    assert [row.number for row in sorted_rows(rows, "acc", reverse=True)][:2] == [3, 1]
    assert {row.number for row in sorted_rows(rows, "acc", reverse=True)[2:]} == {2, 4}
    assert [row.number for row in sorted_rows(rows, "number")] == [1, 2, 3, 4]
    with pytest.raises(InvalidInputError, match="'f1' to sort by") as caught:
        sorted_rows(rows, "f1")
    assert "acc" in str(caught.value.hint)


def test_counts_are_remembered_and_never_believed(store: Store) -> None:
    """Counts come from the cache when it is whole, and from the headers when it is not."""
    for seed in range(70):
        store.put(small(seed), "lenet")
    wanted = [row.parameter_count for row in store.listing("lenet")]
    cache = Path(store.path) / KEY
    kept = cache.read_bytes()
    assert len(kept) == 70 * 40 + 32
    cache.write_bytes(bytes(len(kept)))
    assert [row.parameter_count for row in store.listing("lenet")] == wanted == [6] * 70
    cache.write_bytes(b"short")
    assert [row.parameter_count for row in store.listing("lenet")] == wanted


def test_spreads_are_of_what_is_stored(store: Store, weights: Arrays) -> None:
    """Every tensor has the spread of its numbers; a stripped version has none and says so."""
    store.put(weights, "lenet")
    found = store.spreads("lenet")
    for row in store.tensors("lenet"):
        array = weights[row.name]
        assert found[row.id].elements == array.size
        if array.size:
            assert found[row.id].greatest == array.max()
    store.put(small(1), "lenet")
    store.strip(["lenet@2"])
    store.gc(now=True)
    store.gc(now=True)
    with pytest.raises(NotFoundError, match="stripped"):
        store.spreads("lenet@1")


def test_spreads_take_little_memory(store: Store, write_model: Callable[..., Path]) -> None:
    """A tensor of 48 MiB is read with less than 32 MiB at hand."""
    array = np.random.default_rng(5).standard_normal((3 << 20, 4), dtype=np.float32)
    store.put(write_model({"a": array}), "large", codec="raw")
    store.spreads("large")
    tracemalloc.start()
    found = store.spreads("large")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (spread,) = found.values()
    assert spread.elements == array.size
    assert peak < 32 << 20


def test_two_models_are_drawn_over_each_other(store: Store) -> None:
    """Curves of several models come in the order in which they were asked for."""
    for name in ("b", "a"):
        for seed in range(2):
            store.put(small(seed), name, metrics={"loss": seed}, always=True)
    found: list[Curve] = store.curves("b", "a")
    assert [curve.label for curve in found] == ["b", "a"]
