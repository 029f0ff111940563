"""The whole Store against a dict: whatever is done to names, what is kept reads back the same."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mstore
from mstore.errors import ConflictError, NotFoundError

NAMES = st.sampled_from(["lenet", "resnet", "team/bert"])
TAGS = st.sampled_from(["prod", "best"])
VALUES = st.integers(0, 5)


@dataclass
class Model:
    """What a name should hold: the value of each version, None when deleted."""

    versions: dict[int, int | None] = field(default_factory=dict)

    @property
    def present(self) -> dict[int, int]:
        """The versions that are not deleted."""
        return {n: value for n, value in self.versions.items() if value is not None}


class StoreMachine(RuleBasedStateMachine):
    """Puts, names, gc and reopening, in any order."""

    @initialize()
    def start(self) -> None:
        """An empty store and an empty dict."""
        self.folder = Path(tempfile.mkdtemp(prefix="mstore-model-"))
        self.store = mstore.init(self.folder / "store")[0]
        self.models: dict[str, Model] = {}
        self.tags: dict[str, int] = {}

    def teardown(self) -> None:
        """Remove the store."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(name=NAMES, value=VALUES)
    def put(self, name: str, value: int) -> None:
        """The next version, or none when nothing changed."""
        model = self.models.setdefault(name, Model())
        result = self.store.put({"w": np.full(1000, value, np.float32)}, name)
        newest = max(model.present, default=0)
        if newest and model.present[newest] == value:
            assert result.unchanged
            return
        assert result.number == max(model.versions, default=0) + 1
        model.versions[result.number] = value

    @rule(name=NAMES, number=st.integers(1, 6))
    def delete(self, name: str, number: int) -> None:
        """Delete one version, unless a tag means it."""
        model = self.models.get(name, Model())
        try:
            self.store.delete(f"{name}@{number}")
        except NotFoundError:
            assert number not in model.present
        except ConflictError:
            assert model.present[number] in self.tags.values()
        else:
            assert number in model.present
            model.versions[number] = None

    @rule(name=NAMES, tag=TAGS)
    def tag(self, name: str, tag: str) -> None:
        """A tag on the newest version."""
        present = self.models.get(name, Model()).present
        try:
            self.store.tag(name, tag)
        except NotFoundError:
            assert not present
        else:
            self.tags[tag] = present[max(present)]

    @rule(tag=TAGS)
    def delete_tag(self, tag: str) -> None:
        """Take a tag away."""
        try:
            self.store.delete(tag)
        except NotFoundError:
            assert tag not in self.tags
        else:
            del self.tags[tag]

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        """All versions move, onto a free name only."""
        source, target = self.models.get(old, Model()), self.models.get(new, Model())
        try:
            self.store.rename(old, new)
        except NotFoundError:
            assert not source.present
        except ConflictError:
            assert target.present
        else:
            self.models[new] = Model(target.versions | source.versions)
            self.models[old] = Model(dict.fromkeys(source.versions))

    @rule(name=NAMES, number=st.integers(1, 6))
    def revert(self, name: str, number: int) -> None:
        """A new version with the files of an old one."""
        model = self.models.get(name, Model())
        try:
            self.store.revert(f"{name}@{number}")
        except NotFoundError:
            assert number not in model.present
        else:
            model.versions[max(model.versions) + 1] = model.present[number]

    @rule(now=st.booleans())
    def gc(self, *, now: bool) -> None:
        """Collect what is deleted, at once or later."""
        self.store.gc(now=now)

    @rule()
    def reopen(self) -> None:
        """Forget the caches and open anew."""
        shutil.rmtree(Path(self.store.path) / "cache")
        (Path(self.store.path) / "cache").mkdir()
        self.store = mstore.open(self.store.path)

    @invariant()
    def everything_kept_reads_back(self) -> None:
        """Every version that is not deleted, and every tag, gives its value."""
        for name, model in getattr(self, "models", {}).items():
            for number, value in model.present.items():
                assert self.store.load(f"{name}@{number}")["w"][0] == value
        for tag, value in getattr(self, "tags", {}).items():
            assert self.store.load(tag)["w"][0] == value

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def store_is_sound(self) -> None:
        """A full check finds nothing."""
        assert self.store.fsck(full=True).findings == []


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
