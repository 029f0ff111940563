"""What every adapter must do, as tests to inherit.

A plugin's test module says no more than::

    class TestMine(AdapterTests):
        framework = "mine"

        def model(self): ...
        def answer(self, model): ...
"""

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mstore import adapters
from mstore.adapters import Framework
from mstore.errors import InvalidInputError, UnsupportedError
from mstore.objects import Version
from mstore.ops.put import PutResult
from mstore.store import Store, init_store

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""The dtypes that frameworks have, and the bytes of an element."""

SHAPES: tuple[tuple[int, ...], ...] = ((3, 5), (7,), (), (0, 4))


class AdapterTests(ABC):
    """Set ``framework`` to the adapter's name, and say how to make and how to ask a model."""

    framework: ClassVar[str]
    remembers: ClassVar[bool] = True
    """Whether what ``load`` gives can be remembered: Python must be able to watch it."""

    @abstractmethod
    def model(self) -> Any:  # noqa: ANN401 - a model of any framework
        """A small model; the same one every time."""

    @abstractmethod
    def answer(self, model: Any) -> bytes:  # noqa: ANN401 - as above
        """Everything that can be seen of a model, above all what it predicts, bit for bit."""

    def target(self) -> Any:  # noqa: ANN401 - as above
        """A model like ``model()`` with other numbers, for ``into``; None where there is none."""
        return None

    def misfit(self) -> Any:  # noqa: ANN401 - as above
        """A model that ``model()`` does not fit into, where there is a ``target``."""
        return None

    @property
    def adapter(self) -> Framework:
        """The adapter under test."""
        return adapters.framework(self.framework)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """An empty store."""
        return init_store(tmp_path / "store")[0]

    @pytest.fixture
    def put(self, store: Store) -> PutResult:
        """The model, stored as ``lenet``."""
        return store.put(self.model(), "lenet")

    @pytest.mark.parametrize("dtype", SIZES)
    def test_arrays_keep_their_bits(self, dtype: str) -> None:
        """Any bits of a dtype pass through the framework's arrays, or the dtype is refused."""
        for shape in SHAPES:
            content = _content(dtype, shape)
            try:
                array = self.adapter.array(dtype, shape, memoryview(bytearray(content)))
            except UnsupportedError:
                return
            (tensor,) = self.adapter.tensors({"w": array})
            assert tensor[:3] == ("w", dtype, shape)
            assert bytes(tensor.content) == content
            outline = self.adapter.outline("w", array)
            copied = bytearray(outline.size)
            outline.copy_into(memoryview(copied))
            assert outline[:4] == ("w", dtype, shape, len(content))
            assert copied == content

    def test_the_model_is_recognised(self) -> None:
        """A model says by its class whose it is; a dict of arrays is nobody's."""
        model = self.model()
        if not isinstance(model, dict):
            assert adapters.framework_of(model) == self.framework

    def test_the_model_is_given_back(self, store: Store, put: PutResult) -> None:
        """A model that was stored answers as it did, bit for bit."""
        loaded = store.load("lenet", self.framework, into=self.target())
        assert self.answer(loaded) == self.answer(self.model())
        assert put.size_bytes > 0

    def test_an_equal_model_is_no_new_version(self, store: Store, put: PutResult) -> None:
        """Neither the same model nor the one that was loaded makes another version."""
        again = store.put(self.model(), "lenet")
        loaded = store.load("lenet", self.framework, into=self.target())
        assert (again.unchanged, again.version) == (True, put.version)
        assert store.put(loaded, "lenet").unchanged

    def test_what_was_loaded_is_the_parent(self, store: Store, put: PutResult) -> None:
        """A model that was loaded and is put under another name came from there."""
        loaded = store.load("lenet", self.framework, into=self.target())
        version = self._version(store, store.put(loaded, "tuned"))
        expected = [bytes(put.version)] if self.remembers else []
        assert [parent.id for parent in version.parents] == expected

    def test_a_model_is_filled_or_refused(self, store: Store, put: PutResult) -> None:
        """A model of another form is named and stays as it was; without one, none is taken."""
        misfit = self.misfit()
        if misfit is None:
            with pytest.raises(InvalidInputError):
                store.load("lenet", self.framework, into=object())
            return
        before = self.answer(misfit)
        with pytest.raises(InvalidInputError, match="lenet"):
            store.load("lenet", self.framework, into=misfit)
        assert self.answer(misfit) == before
        assert put.number == 1

    @pytest.mark.parametrize("value", [object(), 7, "text", None])
    def test_what_is_no_model_is_refused(self, value: object) -> None:
        """Nothing but a model is taken, and nothing but an array is a tensor."""
        with pytest.raises(InvalidInputError):
            self.adapter.take(value)
        with pytest.raises(InvalidInputError):
            adapters.tensors({"w": value})

    @staticmethod
    def _version(store: Store, put: PutResult) -> Version:
        return store.parts.odb.version(put.version)


def _content(dtype: str, shape: tuple[int, ...]) -> bytes:
    count = 1
    for length in shape:
        count *= length
    source = random.Random(dtype)  # noqa: S311 - the same every time
    content = source.randbytes(count * SIZES[dtype])
    return bytes(byte & 1 for byte in content) if dtype == "BOOL" else content
