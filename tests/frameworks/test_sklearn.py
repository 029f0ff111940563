"""scikit-learn estimators through the store, with the real library."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from tests.frameworks.guide import run_blocks

import mstore
from mstore import InvalidInputError, UnsupportedError
from mstore.store import Store
from mstore.testing.adapters import AdapterTests

DIGITS, LABELS = (part[:200] for part in load_digits(return_X_y=True))
UNSURE = (
    "sklearn.tree._tree.Tree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
)
"""What skops does not take for safe by itself."""


class OwnClassifier(ClassifierMixin, BaseEstimator):
    """An estimator of whoever calls."""

    def fit(self, _x: Any, _y: Any) -> "OwnClassifier":
        """Learn nothing."""
        self.zero_ = np.zeros(3)
        return self


def double(values: Any) -> Any:
    """Twice the values."""
    return values * 2


class TestSklearn(AdapterTests):
    """A pipeline of a scaler and a regression."""

    framework = "sklearn"

    def model(self) -> Any:
        """Scale, then regress."""
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        return pipeline.fit(DIGITS, LABELS)

    def answer(self, model: Any) -> bytes:
        """Give the probabilities of every digit."""
        return model.predict_proba(DIGITS).tobytes()


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(PCA(8, random_state=0), SVC()),
        MLPClassifier((16,), max_iter=30, random_state=0, tol=1),
        KNeighborsClassifier(),
        RandomForestClassifier(5, random_state=0),
        GradientBoostingClassifier(n_estimators=2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_predicts_as_it_did(store: Store, estimator: Any) -> None:
    """Estimators of many kinds come back with the same predictions bit for bit."""
    estimator.fit(DIGITS, LABELS)
    store.put(estimator, "digits")
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "decision_function"
    loaded = store.load("digits", "sklearn", trusted=UNSURE)
    expected = getattr(estimator, method)(DIGITS)
    assert getattr(loaded, method)(DIGITS).tobytes() == expected.tobytes()
    assert loaded.get_params().keys() == estimator.get_params().keys()


def test_text_and_sparse_numbers_come_back(store: Store) -> None:
    """What is no tensor, such as a vocabulary, is kept beside the tensors."""
    texts = ["a tensor is stored", "a name is given", "a chunk is stored"]
    model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(texts, [0, 1, 0])
    store.put(model, "text")
    loaded = store.load("text", "sklearn")
    assert loaded.predict_proba(texts).tobytes() == model.predict_proba(texts).tobytes()


def test_arrays_are_tensors_with_the_names_of_attributes(store: Store) -> None:
    """The arrays of an estimator are found by name, and an equal one has the same model hash."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(DIGITS, LABELS)
    put = store.put(model, "digits")
    loaded = store.load("digits")
    assert (loaded["steps/1/1/coef_"] == model[-1].coef_).all()
    alone = store.put(dict(loaded), "alone")
    versions = [store.parts.odb.version(found.version) for found in (put, alone)]
    assert versions[0].model_hash == versions[1].model_hash


def test_the_order_of_numbers_in_memory_comes_back(store: Store) -> None:
    """An array that had its columns together has them so again: products depend on it."""
    model = LogisticRegression(max_iter=300).fit(DIGITS, LABELS)
    model.coef_ = np.asfortranarray(model.coef_)
    store.put(model, "digits")
    assert store.load("digits", "sklearn").coef_.flags.f_contiguous


@pytest.mark.parametrize(
    ("estimator", "name"),
    [(OwnClassifier(), "OwnClassifier"), (FunctionTransformer(double), "double")],
)
def test_an_unknown_type_is_refused_by_name(store: Store, estimator: Any, name: str) -> None:
    """Classes and functions that skops does not know are named, and loaded when trusted."""
    store.put(estimator.fit(DIGITS, LABELS), "own")
    with pytest.raises(UnsupportedError, match=name) as caught:
        store.load("own", "sklearn")
    assert "trusted" in str(caught.value.hint)
    module = type(estimator).__module__ if name == "OwnClassifier" else double.__module__
    loaded = store.load("own", "sklearn", trusted=[f"{module}.{name}"])
    assert type(loaded) is type(estimator)


def test_a_version_without_an_estimator_is_refused(store: Store) -> None:
    """Arrays alone are no estimator."""
    store.put({"w": np.zeros(3)}, "arrays")
    with pytest.raises(InvalidInputError, match="no estimator"):
        store.load("arrays", "sklearn")


@pytest.mark.parametrize("text", [b"", b"[", b"{}", b'{"__class__": "a"}', b"[" * 100_000])
def test_a_broken_schema_is_corrupt(store: Store, tmp_path: Path, text: bytes) -> None:
    """A schema that skops did not write is refused as what it is."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "sklearn.json").write_bytes(text)
    store.put(tmp_path / "model", "broken")
    with pytest.raises((mstore.CorruptError, UnsupportedError)):
        store.load("broken", "sklearn")


def test_a_schema_that_runs_a_program_is_refused(store: Store, tmp_path: Path) -> None:
    """A schema that asks for a call of the system's is refused, and nothing is called."""
    canary = tmp_path / "canary"
    args = {
        "__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode",
        "content": [{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode",
                     "content": json.dumps(f"touch {canary}"), "is_json": True, "__id__": 3}],
        "__id__": 2,
    }  # fmt: skip
    schema = {
        "__class__": "system", "__module__": "posix", "__loader__": "ReduceNode",
        "__reduce__": {"args": args}, "content": {}, "__id__": 1, "protocol": 2,
        "_skops_version": "0.16.0",
    }  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "sklearn.json").write_text(json.dumps(schema))
    store.put(tmp_path / "model", "evil")
    with pytest.raises((mstore.CorruptError, UnsupportedError)):
        store.load("evil", "sklearn")
    assert not canary.exists()


def test_the_guide_runs(tmp_path: Path) -> None:
    """What docs/guide/frameworks.md shows of the framework works as printed."""
    run_blocks("sklearn", tmp_path)
