"""The step log: states copied at once, stored in the background, given back as they were."""

import errno
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mstore
from mstore import adapters
from mstore.backends.fsio import FileSystem
from mstore.errors import (
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from mstore.ops.gc import Limits
from mstore.ops.steplog.host import Host
from mstore.ops.steplog.nested import MAX_NESTING, flatten, restore
from mstore.store import Store, open_store
from mstore.testing.filesystems import FaultyFileSystem, InterceptingFileSystem

PATIENCE = 30.0


def numbers(seed: int, size: int = 3000) -> dict[str, np.ndarray]:
    """The state of a step: one tensor that changes and one that does not."""
    rng = np.random.default_rng(seed)
    return {"own": rng.standard_normal(size, dtype=np.float32), "same": np.arange(100)}


def steps(store: Store, run: str = "run") -> list[int]:
    """The steps of a run, oldest first."""
    rows = [row.version for row in reversed(store.log(run))]
    return [row.metadata["step"] for row in rows if row is not None]


class GatedFileSystem(InterceptingFileSystem):
    """Lets no fsync be done before ``gate`` is open."""

    def __init__(self, inner: FileSystem | None = None) -> None:
        super().__init__(inner)
        self.gate = threading.Event()

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Wait at the gate, then do the call."""
        if name == "fsync":
            assert self.gate.wait(PATIENCE)
        return call(**arguments)


@pytest.fixture
def gated(store: Store) -> Iterator[tuple[Store, threading.Event]]:
    """A store whose disk stands still until the gate is opened."""
    files = GatedFileSystem()
    opened = open_store(store.path, files=files)
    yield opened, files.gate
    files.gate.set()
    opened.close()


# Nested states


def leaves() -> st.SearchStrategy[Any]:
    """Plain values and arrays of a few dtypes."""
    arrays = st.builds(
        lambda shape, dtype: np.arange(math.prod(shape)).reshape(shape).astype(dtype),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.sampled_from(["float32", "int64", "uint8", "bool"]),
    )
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    return plain | arrays


def nested() -> st.SearchStrategy[Any]:
    """Dicts, lists and tuples of them, keys of any kind that a state may have."""
    keys = st.text(max_size=3) | st.integers(-3, 3) | st.none() | st.sampled_from(["tuple", "dict"])
    return st.recursive(
        leaves(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=12,
    )


def is_same(one: Any, other: Any) -> bool:
    """Equal in type and value, NaN to NaN and arrays by their bytes."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        same_keys = [*map(repr, one)] == [*map(repr, other)]
        return same_keys and is_same([*one.values()], [*other.values()])
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return bool(repr(one) == repr(other))


@given(st.dictionaries(st.text(max_size=3), nested(), max_size=3))
@settings(deadline=None)
def test_nested_states_come_back(state: dict[str, Any]) -> None:
    """Any nesting of dicts, lists, tuples, plain values and arrays is given back as it was."""
    flat = flatten(state)
    copies = {copy.name: copy for copy in Host().copy(flat.outlines)}
    assert len(copies) == len(flat.outlines)

    def array(framework: str, name: str) -> object:
        found = copies[name]
        return mstore.adapters.framework(framework).array(found.dtype, found.shape, found.content)

    assert is_same(restore(flat.text, array), state)


def test_touching_memory_ahead_spoils_nothing() -> None:
    """A first copy of many MiB, half of whose memory another thread touches, is a true copy."""
    rng = np.random.default_rng(0)
    arrays = {str(at): rng.integers(0, 256, 3_000_001, np.uint8) for at in range(5)}
    host = Host()
    for _ in range(2):
        copies = host.copy([adapters.outline(name, array) for name, array in arrays.items()])
        assert all(copy.content == arrays[copy.name].data for copy in copies)
        arrays = {name: array[::-1].copy() for name, array in arrays.items()}


def test_an_optimizer_is_readable(store: Store) -> None:
    """The text beside the tensors is the state itself, with names where tensors were."""
    store.checkpoint(numbers(1), "run", 1, optimizer={"lr": 0.1, "state": {0: np.zeros(3)}})
    store.flush()
    text = bytearray()
    store.cat("run/optimizer:trainer.json", text.extend)
    state = {"dict": [[0, {"tensor": ["numpy", "optimizer/state/0"]}]]}
    assert json.loads(text) == {"optimizer": {"lr": 0.1, "state": state}}


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": object()}}, "'a/b' is a object"),
        ({"a": {(1, 2): 3}}, "key (1, 2) in 'a'"),
        ({"a": [{1, 2}]}, "'a/0' is a set"),
    ],
)
def test_what_cannot_be_stored_is_named(state: dict[str, Any], place: str) -> None:
    """A value or key that a state cannot hold is refused, and its place said."""
    with pytest.raises(InvalidInputError) as caught:
        flatten(state)
    assert place in str(caught.value)


def test_a_state_inside_itself_is_refused() -> None:
    """A cycle ends at the greatest depth of nesting."""
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        flatten(state)
    deep: Any = 1
    for _ in range(MAX_NESTING - 1):
        deep = [deep]
    assert flatten({"": deep}).text.count(b"[") == MAX_NESTING - 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[1]",
        b'{"a": {"tensor": 1}}',
        b'{"a": {"bytes": "!"}}',
        b'{"a": {"dict": [[1]]}}',
        b'{"a": {"float": "x"}}',
        b'{"a": {"float": "1.5"}}',
        b'{"a": {"tuple": "ab"}}',
        b'{"a": {"dict": ["ab"]}}',
        b'{"a": {"tensor": "ab"}}',
        b'{"a": {"dict": [[[], 1]]}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_damaged_text_is_corrupt(text: bytes) -> None:
    """Text that no state was flattened to is refused as corrupt, whatever is wrong with it."""
    with pytest.raises(CorruptError):
        restore(text, lambda _, name: name)


# Copies


def test_the_state_is_copied_at_once(gated: tuple[Store, threading.Event]) -> None:
    """What training does to a tensor after ``checkpoint`` has returned is not in the step."""
    store, gate = gated
    state = numbers(1)
    before = state["own"].copy()
    pending = store.checkpoint(state, "run", 1)
    state["own"][:] = 0
    assert not pending.done()
    gate.set()
    assert pending.result(PATIENCE).number == 1
    assert np.array_equal(store.load("run")["own"], before)


def test_every_layout_of_a_tensor_is_copied(store: Store) -> None:
    """Strided, transposed, conjugated, empty, scalar and foreign-endian values are stored right."""
    rng = np.random.default_rng(1)
    matrix = torch.tensor(rng.standard_normal((6, 8)), dtype=torch.bfloat16)
    state = {
        "strided": matrix[:, ::2],
        "transposed": matrix.T,
        "conjugated": torch.tensor([1 + 2j, 3 - 1j]).conj(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    store.checkpoint(state, "run", 1)
    store.flush()
    loaded = store.resume("run").model
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    store.checkpoint({"big": np.arange(9, dtype=">i4"), "f": matrix.float().numpy().T}, "other", 1)
    store.flush()
    assert np.array_equal(store.load("other")["big"], np.arange(9))
    assert np.array_equal(store.load("other")["f"], matrix.float().numpy().T)


def test_memory_is_used_again(store: Store) -> None:
    """However many steps there are, copies are made in no more places than may wait."""
    for step in range(12):
        store.checkpoint(numbers(step), "run", step)
    store.flush()
    assert store._steps is not None
    assert len(store._steps._idle_hosts) <= 2
    store.close()
    assert store._steps._idle_hosts == []
    assert steps(store) == list(range(12))


def test_a_third_copy_waits(gated: tuple[Store, threading.Event]) -> None:
    """With two copies in memory ``checkpoint`` holds its caller until one is stored."""
    store, gate = gated
    for step in range(2):
        assert store.checkpoint(numbers(step), "run", step).waited < 5
    late = []
    third = threading.Thread(
        target=lambda: late.append(store.checkpoint(numbers(2), "run", 2)), daemon=True
    )
    third.start()
    third.join(0.3)
    assert third.is_alive()
    assert store._steps is not None
    assert [pending.step for pending in store._steps._in_memory] == [0, 1]
    gate.set()
    third.join(PATIENCE)
    assert late[0].waited >= 0.25
    assert late[0].held < late[0].waited
    store.flush()
    assert steps(store) == [0, 1, 2]


def test_one_copy_can_be_enough(gated: tuple[Store, threading.Event]) -> None:
    """With ``waiting=1`` there is never a second copy."""
    store, gate = gated
    store.checkpoint(numbers(0), "run", 0, waiting=1)
    threading.Timer(0.3, gate.set).start()
    assert store.checkpoint(numbers(1), "run", 1, waiting=1).waited >= 0.2
    store.flush()
    assert store._steps is not None
    assert len(store._steps._idle_hosts) == 1
    with pytest.raises(InvalidInputError, match="at least one copy"):
        store.checkpoint(numbers(2), "run", 2, waiting=0)


# Steps


def test_a_step_is_a_version(store: Store) -> None:
    """Each step is the next version of its run, and says which step it is."""
    for step in (10, 20, 30):
        store.checkpoint(numbers(step), "run", step, metrics={"loss": 1 / step}, params={"lr": 1})
    store.flush()
    newest, *_ = store.log("run")
    assert newest.version is not None
    assert (newest.number, newest.version.message) == (3, "step 30")
    assert newest.version.metadata == {"step": 30, "role": "model", "framework": "numpy"}
    assert (newest.version.metrics, newest.version.parameters) == ({"loss": 1 / 30}, {"lr": 1})
    assert [row.name for row in store.models()] == ["run"]


def test_steps_keep_their_order(store: Store) -> None:
    """Steps of two runs are stored in the order in which they were handed over."""
    for step in range(8):
        store.checkpoint(numbers(step, 40_000 if step % 2 else 10), f"run{step % 3}", step)
    store.flush()
    assert [steps(store, f"run{run}") for run in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_result_means_durable(store: Store) -> None:
    """What ``result`` gives is there for whoever opens the store afterwards."""
    result = store.checkpoint(numbers(1), "run", 1).result(PATIENCE)
    found = mstore.open(store.path).resolve("run")
    assert (found.version, found.number) == (result.version, result.number)


def test_a_step_is_not_stored_twice(store: Store) -> None:
    """A step that the run has, or that is on its way, is refused unless ``always``."""
    store.checkpoint(numbers(1), "run", 1)
    with pytest.raises(ExistsError, match="has step 1 already"):
        store.checkpoint(numbers(2), "run", 1)
    store.flush()
    again = mstore.open(store.path)
    with pytest.raises(ExistsError, match="has step 1 already"):
        again.checkpoint(numbers(2), "run", 1)
    again.checkpoint(numbers(2), "run", 1, always=True)
    again.close()
    assert steps(store) == [1, 1]
    assert np.array_equal(store.resume("run", 1).model["own"], numbers(2)["own"])


def test_a_deleted_step_may_come_again(store: Store) -> None:
    """After its version was deleted a step may be stored once more."""
    store.checkpoint(numbers(1), "run", 1)
    store.flush()
    store.delete("run@1")
    store.checkpoint(numbers(2), "run", 1)
    store.flush()
    assert store.resume("run", 1).label == "run@2"


def test_another_program_was_first(store: Store) -> None:
    """A step that another program stores meanwhile is not stored again, and that is said."""
    other = mstore.open(store.path)
    store.checkpoint(numbers(1), "run", 1)
    store.flush()
    other.checkpoint(numbers(2), "run", 2)
    other.flush()
    store.checkpoint(numbers(2), "run", 2)
    with pytest.raises(ExistsError, match="step 2 of 'run' was not stored"):
        store.flush()
    assert steps(store) == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": -1},
        {"step": 1.5},
        {"run": "no such/ name"},
        {"run": "run/optimizer"},
        {"metadata": {"step": 3}},
        {"state": {"w": "text"}},
        {"state": {1: np.zeros(1)}},
        {"optimizer": {"f": print}},
    ],
)
def test_wrong_input_is_refused_at_once(store: Store, wrong: dict[str, Any]) -> None:
    """What cannot be a step is refused by ``checkpoint`` itself, and nothing is stored."""
    words = {"state": numbers(1), "run": "run", "step": 1, **wrong}
    with pytest.raises(InvalidInputError):
        store.checkpoint(**words)
    store.close()
    assert store.models() == []


def test_whole_numbers_of_every_kind_are_steps(store: Store) -> None:
    """A step may come as a NumPy integer or a tensor."""
    store.checkpoint(numbers(1), "run", np.int64(5))  # type: ignore[arg-type]  # as users do
    store.checkpoint(numbers(2), "run", torch.tensor(6))  # type: ignore[arg-type]  # as users do
    store.flush()
    assert steps(store) == [5, 6]


# What goes wrong


@pytest.fixture
def full(store: Store) -> Store:
    """The store on a disk that takes nothing more."""
    files = FaultyFileSystem("write", 1, errno.ENOSPC, sticky=True)
    return open_store(store.path, files=files)


def test_errors_come_to_the_caller(full: Store) -> None:
    """What went wrong with a step is raised by ``flush``, once, with its name."""
    full.checkpoint(numbers(1), "run", 7)
    with pytest.raises(StorageError, match="step 7 of 'run' was not stored"):
        full.flush()
    full.flush()
    assert full.models() == []


def test_the_next_checkpoint_raises_and_takes_nothing(full: Store) -> None:
    """``checkpoint`` raises what went wrong before, and its own step may be given again."""
    first = full.checkpoint(numbers(1), "run", 1)
    while not first.done():
        time.sleep(0.01)
    with pytest.raises(StorageError, match="step 1 of"):
        full.checkpoint(numbers(2), "run", 2)
    full.checkpoint(numbers(2), "run", 2)
    with pytest.raises(StorageError, match="step 2 of"):
        full.close()


def test_an_error_that_was_seen_is_not_raised_again(full: Store) -> None:
    """Who asks a step for its result hears of its error, and nobody after."""
    pending = full.checkpoint(numbers(1), "run", 1)
    with pytest.raises(StorageError):
        pending.result(PATIENCE)
    full.flush()


def test_every_lost_step_is_named(store: Store) -> None:
    """Where several steps went wrong the one error names them all."""
    files = GatedFileSystem(FaultyFileSystem("fsync", 1, errno.EIO, sticky=True))
    broken = open_store(store.path, files=files)
    broken.checkpoint(numbers(1), "run", 1)
    broken.checkpoint(numbers(1), "run", 2)
    files.gate.set()
    with pytest.raises(StorageError) as caught:
        broken.flush()
    assert "step 1 of 'run' was not stored" in str(caught.value)
    assert "step 2 of 'run' was not stored" in caught.value.__notes__[0]


def test_a_full_disk_that_is_freed_goes_on(store: Store) -> None:
    """After an error the next steps are stored as if nothing had happened."""
    flaky = open_store(store.path, files=FaultyFileSystem("write", 1, errno.ENOSPC))
    pending = flaky.checkpoint(numbers(1), "run", 1)
    with pytest.raises(StorageError):
        pending.result(PATIENCE)
    flaky.checkpoint(numbers(1), "run", 1)
    flaky.close()
    assert steps(store) == [1]
    assert store.fsck(full=True).clean


def test_a_with_block_stores_everything(store: Store) -> None:
    """At the end of a ``with`` block every step is durable, and errors are raised."""
    with mstore.open(store.path) as opened:
        opened.checkpoint(numbers(1), "run", 1)
    assert steps(store) == [1]
    broken = open_store(store.path, files=FaultyFileSystem("write", 1, errno.ENOSPC, sticky=True))
    with pytest.raises(StorageError, match="step 2"), broken:
        broken.checkpoint(numbers(2), "run", 2)


# The end of the program


def run_program(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code that begins as every program here does; fails when it hangs."""
    start = "import os, sys, mstore, numpy as np\nstore = mstore.open(sys.argv[1])\n"
    line = [sys.executable, "-c", start + code, *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE * 2
    )


def test_a_program_that_ends_stores_everything(store: Store) -> None:
    """A program that ends without closing the store loses none of its steps."""
    code = "for i in range(8): store.checkpoint({'w': np.full(200_000, i)}, 'run', i)"
    done = run_program(code, store.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(store) == list(range(8))


def test_a_program_that_fails_stores_everything(store: Store) -> None:
    """So does a program that ends by an exception of its own."""
    code = "store.checkpoint({'w': np.ones(200_000)}, 'run', 1)\nraise SystemExit(3)"
    assert run_program(code, store.path).returncode == 3
    assert steps(store) == [1]


def test_an_error_at_the_end_is_shown(store: Store) -> None:
    """What goes wrong after the last line of a program stands in its error output."""
    code = """
from mstore.store import open_store
from mstore.testing.filesystems import FaultyFileSystem
store = open_store(sys.argv[1], files=FaultyFileSystem("write", 1, 28, sticky=True))
store.checkpoint({'w': np.ones(9)}, 'run', 1)
del store
"""
    assert "step 1 of 'run' was not stored" in run_program(code, store.path).stderr


def test_a_forked_child_does_not_wait(store: Store) -> None:
    """A child forked while steps are on their way ends by itself and stores none of them."""
    code = """
import multiprocessing
store.checkpoint({'w': np.ones(3_000_000)}, 'run', 1)
child = multiprocessing.get_context("fork").Process(target=print, args=("child",))
child.start()
child.join(20)
assert child.exitcode == 0, child.exitcode
pid = os.fork()
if pid == 0:
    try:
        store.checkpoint({'w': np.ones(3)}, 'run', 2)
    except mstore.InvalidInputError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    done = run_program(code, store.path)
    assert (done.returncode, done.stdout.count("child")) == (0, 1), done.stderr
    assert "forked" in done.stdout
    assert steps(store) == [1]


# Resuming


@pytest.fixture
def run(store: Store) -> Store:
    """A run of three steps with an optimizer state each."""
    for step in (10, 20, 30):
        store.checkpoint(
            numbers(step),
            "run",
            step,
            optimizer={"state": {0: numbers(step + 1)}, "groups": [{"betas": (0.9, 0.99)}]},
            trainer={"epoch": step // 10, "random": np.arange(step)},
            metrics={"loss": 1 / step},
        )
    store.flush()
    return store


def test_a_step_comes_back_as_it_was_given(run: Store) -> None:
    """Weights, optimizer, trainer, metrics and step are those of the step asked for."""
    found = run.resume("run", 20)
    assert (found.label, found.step, found.metrics) == ("run@2", 20, {"loss": 1 / 20})
    assert np.array_equal(found.model["own"], numbers(20)["own"])
    groups = [{"betas": (0.9, 0.99)}]
    assert is_same(found.optimizer, {"state": {0: numbers(21)}, "groups": groups})
    assert is_same(found.trainer, {"epoch": 2, "random": np.arange(20)})


def test_the_newest_is_resumed_by_default(run: Store) -> None:
    """Without a step it is the newest; any revision of a step will do."""
    run.tag("run@1", "good")
    assert run.resume("run").step == 30
    assert run.resume("run~1").step == 20
    assert run.resume("good").step == 10


def test_load_gives_the_weights_alone(run: Store) -> None:
    """The optimizer is no part of the model: ``load`` and ``tensors`` do not show it."""
    assert list(run.load("run")) == ["own", "same"]
    assert [row.name for row in run.models()] == ["run", "run/optimizer"]


def test_the_weights_can_come_alone(run: Store) -> None:
    """Without ``training`` nothing else is read."""
    found = run.resume("run", training=False)
    assert (found.optimizer, found.trainer) == (None, None)


def test_a_missing_step_names_others(run: Store) -> None:
    """Who asks for a step that is not there is told which are near it."""
    with pytest.raises(NotFoundError, match="has no step 24") as caught:
        run.resume("run", 24)
    assert caught.value.hint == "it has steps 10, 20, 30"
    with pytest.raises(NotFoundError):
        run.resume("nothing", 1)


def test_an_ordinary_version_is_no_step(store: Store) -> None:
    """A version that was put in another way cannot be resumed from."""
    store.put(numbers(1), "run")
    with pytest.raises(InvalidInputError, match="is no checkpoint"):
        store.resume("run")


def test_a_dropped_optimizer_is_said(run: Store) -> None:
    """Where the optimizer state was dropped resuming fails, and says how to get the weights."""
    run.retain("run", optimizer_last=1)
    run.gc(now=True)
    with pytest.raises(NotFoundError, match="optimizer state of 'run@2'") as caught:
        run.resume("run", 20)
    assert "training=False" in str(caught.value.hint)
    assert run.resume("run", 20, training=False).step == 20
    assert run.resume("run").optimizer is not None


def test_torch_goes_on_as_if_it_had_not_stopped(store: Store) -> None:
    """A model, AdamW and its schedule resumed from a step reach the same weights, bit for bit."""

    def begin() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        model = torch.nn.Linear(8, 3)
        return model, torch.optim.AdamW(model.parameters(), amsgrad=True)

    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, start: int) -> None:
        for step in range(start, 10):
            optimizer.zero_grad()
            model(torch.randn(4, 8)).square().mean().backward()
            optimizer.step()
            if start == 0:
                store.checkpoint(
                    model.state_dict(),
                    "run",
                    step + 1,
                    optimizer=optimizer.state_dict(),
                    trainer={"random": torch.get_rng_state()},
                )

    model, optimizer = begin()
    train(model, optimizer, 0)
    store.flush()
    again, its_optimizer = begin()
    found = store.resume("run", 4)
    again.load_state_dict(found.model)
    assert found.optimizer is not None
    assert found.trainer is not None
    its_optimizer.load_state_dict(found.optimizer)
    torch.set_rng_state(found.trainer["random"])
    train(again, its_optimizer, 4)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def test_gc_beside_a_training_run_takes_nothing(store: Store) -> None:
    """Collecting while steps are stored leaves every step readable."""
    for step in range(10):
        store.checkpoint(numbers(step), "run", step, optimizer={"m": numbers(step + 100)["own"]})
        if step % 3 == 0:
            mstore.open(store.path).gc(now=True)
    store.flush()
    assert steps(store) == list(range(10))
    for step in range(10):
        assert np.array_equal(store.resume("run", step).model["own"], numbers(step)["own"])
    assert store.fsck(full=True).clean


def test_a_broken_lease_is_taken_again(gated: tuple[Store, threading.Event]) -> None:
    """A gc that breaks the lease of a step delays it, and does not lose it."""
    store, gate = gated
    other = mstore.open(store.path)
    other.put(numbers(1), "old")
    other.delete("old")
    pending = store.checkpoint(numbers(2), "run", 2)
    while not other.parts.backend.leases():
        time.sleep(0.01)
    assert other.gc(now=True, limits=Limits(lease_ttl=-1)).broken_leases
    gate.set()
    assert pending.result(PATIENCE).number == 1
    assert np.array_equal(other.load("run")["own"], numbers(2)["own"])
    assert other.fsck(full=True).clean


def test_files_of_a_run(store: Store, tmp_path: Path) -> None:
    """The optimizer's version holds a safetensors file and its text, the model's one file."""
    store.checkpoint(numbers(1), "run", 1, optimizer={"m": np.zeros(3)})
    store.flush()
    assert [row.path for row in store.show("run").files] == ["model.safetensors"]
    paths = [row.path for row in store.show("run/optimizer").files]
    assert paths == ["optimizer.safetensors", "trainer.json"]
    assert store.get("run/optimizer", tmp_path / "out").files == 2
