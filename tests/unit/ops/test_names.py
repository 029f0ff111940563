"""Names move and history stays."""

import numpy as np
import pytest

from mstore.errors import ConflictError, InvalidInputError, NotFoundError
from mstore.store import Store


def put(store: Store, name: str, value: int) -> None:
    """One more version of a tiny model."""
    store.put({"w": np.full(4, value, np.float32)}, name)


def value(store: Store, revision: str) -> int:
    """What ``put`` was given."""
    return int(store.load(revision)["w"][0])


@pytest.fixture
def lenet(store: Store) -> Store:
    """A store with three versions of lenet."""
    for number in (1, 2, 3):
        put(store, "lenet", number)
    return store


def test_revisions_name_versions(lenet: Store) -> None:
    """A name, a number, a parent, a hash, its prefix and the model hash are understood."""
    version = lenet.resolve("lenet@2").version
    assert value(lenet, "lenet") == 3
    assert value(lenet, "lenet@1") == 1
    assert value(lenet, "lenet~1") == value(lenet, "lenet@3~") == 2
    assert value(lenet, "lenet~2") == value(lenet, "lenet~~") == 1
    assert value(lenet, str(version)) == value(lenet, str(version)[:10]) == 2
    assert value(lenet, f"blake3:{version}") == 2
    model_hash = lenet.show("lenet@2").version.model_hash
    assert model_hash is not None
    assert value(lenet, model_hash.hex()) == 2


@pytest.mark.parametrize("text", ["resnet", "lenet@9", "lenet~3", "0123456789abcdef", "lenet@0"])
def test_unknown_revision_is_not_found(lenet: Store, text: str) -> None:
    """A name, number, ancestor or hash that is not there is said to be missing."""
    with pytest.raises(NotFoundError):
        lenet.resolve(text)


@pytest.mark.parametrize("text", ["", "lenet@x", "a b", "lenet[0]", "blake3:xyz", "lenet@@1"])
def test_malformed_revision_is_invalid(lenet: Store, text: str) -> None:
    """A text that is no revision is refused as such."""
    with pytest.raises(InvalidInputError):
        lenet.resolve(text)


def test_tag_moves_and_undo_brings_it_back(lenet: Store) -> None:
    """A tag means what it was last given; undo gives the meaning before."""
    lenet.tag("lenet@1", "prod")
    lenet.tag("lenet@3", "prod")
    assert value(lenet, "prod") == 3
    lenet.undo("prod")
    assert value(lenet, "prod") == 1


def test_tag_and_model_cannot_share_a_name(lenet: Store) -> None:
    """A tag with a model's name is refused, and a model with a tag's name."""
    with pytest.raises(ConflictError):
        lenet.tag("lenet@1", "lenet")
    lenet.tag("lenet@1", "prod")
    with pytest.raises(ConflictError):
        put(lenet, "prod", 1)


def test_a_deleted_model_does_not_take_its_name_back_from_a_tag(lenet: Store) -> None:
    """A tag may have the name of a deleted model; then no model can be put under it."""
    put(lenet, "other", 1)
    lenet.delete("other")
    lenet.tag("lenet", "other")
    with pytest.raises(ConflictError, match="is a tag"):
        put(lenet, "other", 2)


def test_names_that_differ_in_case_are_refused(lenet: Store) -> None:
    """A name that only differs in case from an existing one is refused."""
    with pytest.raises(ConflictError, match="LeNet"):
        put(lenet, "LeNet", 1)


def test_delete_one_version_keeps_the_numbers(lenet: Store) -> None:
    """Deleting one version leaves the others their numbers, and its number is not used again."""
    lenet.delete("lenet@2")
    with pytest.raises(NotFoundError, match="deleted"):
        lenet.resolve("lenet@2")
    put(lenet, "lenet", 4)
    assert [row.number for row in lenet.log("lenet") if row.state == "kept"] == [4, 3, 1]


def test_undo_of_delete_restores(lenet: Store) -> None:
    """Undo after delete gives the version back; undo again deletes it again."""
    lenet.delete("lenet@2")
    lenet.undo("lenet")
    assert value(lenet, "lenet@2") == 2
    lenet.undo("lenet")
    with pytest.raises(NotFoundError):
        lenet.resolve("lenet@2")


def test_undo_of_put_hides_the_version(lenet: Store) -> None:
    """Undo after put makes the version before the newest one again."""
    lenet.undo("lenet")
    assert value(lenet, "lenet") == 2


def test_delete_of_tagged_version_is_refused(lenet: Store) -> None:
    """A version that a tag means cannot be deleted before the tag."""
    lenet.tag("lenet@2", "prod")
    with pytest.raises(ConflictError, match="prod"):
        lenet.delete("lenet@2")
    with pytest.raises(ConflictError, match="prod"):
        lenet.delete("lenet")
    lenet.delete("prod")
    lenet.delete("lenet")
    assert lenet.models() == []


def test_dry_run_of_delete_changes_nothing(lenet: Store) -> None:
    """A dry run names the versions and leaves them."""
    assert lenet.delete("lenet", dry_run=True).labels == ("lenet@1", "lenet@2", "lenet@3")
    assert value(lenet, "lenet") == 3


def test_rename_keeps_numbers_and_undo_renames_back(lenet: Store) -> None:
    """All versions move to the new name; undo of either name moves them back."""
    lenet.rename("lenet", "lenet5")
    assert value(lenet, "lenet5@2") == 2
    with pytest.raises(NotFoundError):
        lenet.resolve("lenet")
    lenet.undo("lenet5")
    assert value(lenet, "lenet@2") == 2
    lenet.rename("lenet", "lenet5")
    lenet.undo("lenet")
    assert value(lenet, "lenet") == 3


def test_rename_onto_a_taken_name_is_refused(lenet: Store) -> None:
    """A name in use is not taken over."""
    put(lenet, "other", 1)
    with pytest.raises(ConflictError):
        lenet.rename("lenet", "other")


def test_revert_makes_a_new_version_with_old_files(lenet: Store) -> None:
    """Revert adds version 4 with the files of version 1, its parent version 3."""
    assert lenet.revert("lenet@1").labels == ("lenet@4",)
    assert value(lenet, "lenet") == 1
    shown = lenet.show("lenet")
    assert [(kin.relation, kin.label) for kin in shown.parents] == [("reverted", "lenet@3")]


def test_history_beyond_a_full_slot_is_read(store: Store) -> None:
    """A name with more changes than a full slot's distance keeps every version."""
    for number in range(1, 140):
        put(store, "long", number)
    assert value(store, "long@1") == 1
    assert value(store, "long@65") == 65
    assert len(store.log("long")) == 139


def test_undo_never_makes_a_name_both_model_and_tag(lenet: Store) -> None:
    """A deleted tag is not brought back while a model has its name, nor a model over a tag."""
    put(lenet, "old", 1)
    lenet.delete("old")
    lenet.tag("lenet@1", "old")
    lenet.undo("old")
    with pytest.raises(NotFoundError):
        lenet.resolve("old")
    lenet.undo("old")
    assert value(lenet, "old") == 1
    with pytest.raises(ConflictError, match="model"):
        lenet.tag("lenet@2", "old")


def test_dry_run_of_delete_foretells_what_gc_frees(store: Store) -> None:
    """What a dry run says is, to the byte, what gc reports as freed afterwards."""
    for number in (1, 2):
        weights = {"w": np.random.default_rng(number).random(50_000)}
        store.put(weights, "m", parents=[], codec="raw")
    would = store.delete("m@1", dry_run=True)
    store.delete("m@1")
    freed = store.gc(dry_run=True).plan.freed
    assert would.freed_bytes == sum(each.stored_bytes for each in freed) > 400_000
