"""Short trainings with the ``Trainer`` of Hugging Face, stored by the callback."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.frameworks.guide import run_blocks
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from mstore import ExistsError
from mstore.integrations.transformers import MstoreCallback
from mstore.store import Store

pytestmark = pytest.mark.filterwarnings(
    # Remarks of torch about pinned memory and of transformers about what changes soon.
    "ignore::UserWarning",
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)

CONFIG = BertConfig(
    vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=16, num_labels=2,
)  # fmt: skip


class Words(Dataset[dict[str, Any]]):
    """Eight sentences of four tokens."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, at: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor([at, at + 1, at + 2, at + 3]), "labels": at % 2}


def train(
    folder: Path, callback: MstoreCallback, model: Any = None, *, again: str | None = None,
    **given: Any,
) -> Any:  # fmt: skip
    """Train a tiny BERT for three epochs of two steps."""
    torch.manual_seed(0)
    model = model or BertForSequenceClassification(CONFIG)
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, report_to=[], use_cpu=True, seed=0,
        disable_tqdm=True, logging_strategy="epoch", eval_strategy="epoch", learning_rate=0.01,
        **{"save_strategy": "epoch", "num_train_epochs": 3, **given},
    )  # fmt: skip
    words = Words()
    trainer = Trainer(
        model, arguments, train_dataset=words, eval_dataset=words, callbacks=[callback]
    )
    trainer.train(resume_from_checkpoint=again)
    return model


def same(state: Any, other: Any) -> bool:
    """Whether two state dicts are equal, bit for bit."""
    return state.keys() == other.keys() and all(torch.equal(state[n], other[n]) for n in state)


def test_three_epochs_are_three_versions(store: Store, tmp_path: Path) -> None:
    """Each save is a version with its step, results and arguments; the last is the model."""
    model = train(tmp_path, MstoreCallback(store, "bert", tags=("demo",)))
    versions = [row.version for row in reversed(list(store.log("bert")))]
    assert [version.metadata["step"] for version in versions] == [2, 4, 6]
    assert [version.metadata["epoch"] for version in versions] == [1.0, 2.0, 3.0]
    assert all({"loss", "eval_loss"} <= set(version.metrics) for version in versions)
    assert "step" not in versions[0].metrics
    assert versions[0].parameters["learning_rate"] == 0.01
    assert versions[0].tags == ("demo",)
    assert same(store.load("bert", "torch"), model.state_dict())
    assert not same(store.load("bert@1", "torch"), model.state_dict())


def test_training_goes_on_from_what_is_stored(store: Store, tmp_path: Path) -> None:
    """A new trainer begins with the stored weights and optimizer, and counts its steps on."""
    first = train(tmp_path, MstoreCallback(store, "bert")).state_dict()
    begun: list[Any] = []

    class Seen(MstoreCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_train_begin(args, state, control, **kwargs)
            begun.append({n: value.clone() for n, value in kwargs["model"].state_dict().items()})
            begun.append(deepcopy(kwargs["optimizer"].state_dict()))

    torch.manual_seed(5)
    other = BertForSequenceClassification(CONFIG)
    train(tmp_path, Seen(store, "bert", resume=True), other, num_train_epochs=1)
    assert same(begun[0], first)
    kept = store.resume("bert", 6).optimizer
    assert kept is not None
    assert same(begun[1]["state"][0], kept["state"][0])
    assert begun[1]["param_groups"][0]["lr"] > 0
    assert store.resume("bert").step == 8


def test_training_resumed_from_its_own_folder_is_stored_on(store: Store, tmp_path: Path) -> None:
    """The trainer's own checkpoint goes on with the step numbers that it has."""
    train(tmp_path, MstoreCallback(store, "bert"), num_train_epochs=1)
    train(tmp_path, MstoreCallback(store, "bert"), again=str(tmp_path / "checkpoint-2"))
    steps = [row.version.metadata["step"] for row in reversed(list(store.log("bert")))]
    assert steps == [2, 4, 6]


def test_a_run_is_not_begun_twice(store: Store, tmp_path: Path) -> None:
    """A name that has steps is refused before the first step unless it is resumed."""
    train(tmp_path, MstoreCallback(store, "bert"), num_train_epochs=1)
    with pytest.raises(ExistsError, match="steps up to 2"):
        train(tmp_path, MstoreCallback(store, "bert"))
    assert len(list(store.log("bert"))) == 1


def test_the_end_is_stored_where_nothing_was_saved(store: Store, tmp_path: Path) -> None:
    """A trainer that saves nothing by itself still leaves the trained model."""
    callback = MstoreCallback(store, "bert", optimizer=False)
    model = train(tmp_path, callback, save_strategy="no")
    assert store.resume("bert").step == 6
    assert same(store.load("bert", "torch"), model.state_dict())
    assert store.resume("bert").optimizer is None


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/integrations.md shows of it works as printed."""
    run_blocks("transformers", tmp_path)
