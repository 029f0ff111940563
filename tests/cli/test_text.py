"""What each command says to people, in a pipe."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import mstore as library


def test_put_says_the_version_and_what_it_took(mstore: Any) -> None:
    """A put prints NAME@N HASH, then tensors, files, bytes, bytes new, bytes stored, the share."""
    mstore("init")
    mstore.write_model("lenet.safetensors", 1)
    first, second = mstore.lines("put", "lenet.safetensors")
    name, hex_id = first.split()
    assert name == "lenet@1"
    assert len(hex_id) == 64
    assert second.startswith("2 tensors in 1 file, 9.4 KiB; ")
    assert " new, " in second
    assert re.search(r" stored \([0-9.]+ %\)$", second)


def test_put_of_an_unchanged_model_says_so(stocked: Any) -> None:
    """A put of what is stored already makes no version; with --always it makes one."""
    first, second = stocked.lines("put", "lenet.safetensors")
    assert first.startswith("lenet@3 ")
    assert second.startswith("unchanged: no new version was made")
    assert stocked.lines("put", "lenet.safetensors", "--always")[0].startswith("lenet@4 ")


def test_put_keeps_everything_that_is_said(mstore: Any) -> None:
    """What the options of put say of a version is what show shows."""
    mstore("init")
    mstore("put", mstore.write_model("base.safetensors", 1))
    Path("meta.json").write_text('{"framework": {"name": "torch"}}', encoding="utf-8")
    words = ["--name", "team/tuned", "-m", "two\nlines", "--parent", "base@1"]
    words += ["--relation", "fine-tuned", "--param", "lr=0.1", "--param", "opt=adam"]
    words += ["--param", 'id="7"', "--param", "nesterov=true", "--param", "shape=[1]"]
    words += ["--metric", "val/accuracy=0.5", "--metric", "loss=nan", "--dataset", "mnist"]
    words += ["--task", "digits", "--tag", "best", "--meta", "meta.json", "--author", "Ada"]
    mstore("put", mstore.write_model("tuned.safetensors", 1, head=2), *words)
    shown = mstore.json("show", "best")
    said = shown["version"]
    assert (shown["names"], shown["tags"]) == (["team/tuned@1"], ["best"])
    assert (shown["parents"][0]["label"], shown["parents"][0]["relation"]) == (
        "base@1",
        "fine-tuned",
    )
    expected = {"lr": 0.1, "opt": "adam", "id": "7", "nesterov": True, "shape": "[1]"}
    assert said["parameters"] == expected
    assert said["metrics"] == {"val/accuracy": 0.5, "loss": "NaN"}
    assert said["metadata"] == {"framework": {"name": "torch"}}
    assert (said["task"], said["datasets"], said["author"]) == ("digits", ["mnist"], "Ada")
    assert said["message"] == "two\nlines"


def test_several_paths_are_one_folder(mstore: Any) -> None:
    """Files that are put together come back together in one folder."""
    mstore("init")
    mstore.write_model("a.safetensors", 1)
    Path("config.json").write_text("{}", encoding="utf-8")
    mstore("put", "a.safetensors", "config.json", "--name", "both")
    mstore("get", "both", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.safetensors", "config.json"]


def test_get_without_destination_writes_here(stocked: Any) -> None:
    """A version of one file comes back under its own name in the working directory."""
    given = Path("lenet.safetensors").read_bytes()
    Path("lenet.safetensors").unlink()
    assert stocked.lines("get", "lenet") == ["lenet.safetensors: 1 file, 9.4 KiB"]
    assert Path("lenet.safetensors").read_bytes() == given


def test_get_of_a_folder_without_destination_is_named_after_the_model(mstore: Any) -> None:
    """A version of a folder comes back as a folder with the last part of the model's name."""
    mstore("init")
    mstore.write_model("out/a.safetensors", 1)
    mstore("put", "out", "--name", "team/lenet")
    mstore("get", "team/lenet@1")
    assert Path("lenet/a.safetensors").read_bytes() == Path("out/a.safetensors").read_bytes()


def test_cat_writes_the_bytes_of_rows(stocked: Any) -> None:
    """The rows that cat writes are those that the library loads."""
    wanted = library.open(".mstore").load("lenet")["head"][2:5].tobytes()
    result = stocked("cat", "lenet:lenet.safetensors#head[2:5]")
    assert result.stdout_bytes == wanted
    assert stocked.json("cat", "lenet:lenet.safetensors#head[2:5]")["size_bytes"] == len(wanted)


def test_cat_writes_a_file(stocked: Any) -> None:
    """The file that cat writes is the file that was put."""
    result = stocked("cat", "lenet@3:lenet.safetensors")
    assert result.stdout_bytes == Path("lenet.safetensors").read_bytes()


def test_list_is_an_aligned_table(stocked: Any) -> None:
    """A list has one line for each model, under its headers."""
    headers, row = stocked.lines("list")
    assert headers.split()[:3] == ["MODEL", "STATE", "HASH"]
    assert row.startswith("lenet@3 ")
    assert row.endswith("epoch 2")
    assert headers.index("MESSAGE") == row.index("epoch 2")


def test_list_of_an_empty_store_says_what_to_do(mstore: Any) -> None:
    """An empty store answers with the command that stores a model."""
    mstore("init")
    assert mstore.lines("list") == ["no models yet; store one: mstore put PATH"]


def test_log_lists_newest_first(stocked: Any) -> None:
    """A log has the newest version on top and the tags beside their version."""
    _, newest, _, oldest = stocked.lines("log", "lenet")
    assert newest.startswith("lenet@3 ")
    assert oldest.startswith("lenet@1 ")
    assert " prod " in oldest


def test_log_draws_a_graph(stocked: Any) -> None:
    """With --graph each version has a star, and says which foreign version it came from."""
    stocked("put", stocked.write_model("other.safetensors", 9))
    stocked("put", "lenet.safetensors", "--always", "--parent", "lenet@1", "--parent", "other@1")
    lines = stocked.lines("log", "lenet", "--graph")
    assert [line.replace("|", "").split()[:2] for line in lines if "*" in line] == [
        ["*", f"lenet@{number}"] for number in (4, 3, 2, 1)
    ]
    assert "<- derived" in lines[0]


def test_show_tells_everything(stocked: Any) -> None:
    """The text of show has the names, tags, author, parameters, metrics, message and files."""
    text = stocked("show", "prod").stdout
    for piece in ("(lenet@1)", "prod", "Tester", "epoch = 0", "acc = 0.5", "    epoch 0"):
        assert piece in text
    assert "lenet.safetensors  9.4 KiB        2" in text


def test_desc_is_show(stocked: Any) -> None:
    """The command desc is another name of show."""
    assert stocked("desc", "lenet").stdout == stocked("show", "lenet").stdout


def test_show_cannot_steer_the_terminal(stocked: Any) -> None:
    """Control characters in a message are written as escapes."""
    stocked("put", "lenet.safetensors", "--always", "-m", "red\x1b[31m")
    assert "red\\x1b[31m" in stocked("show", "lenet").stdout


def test_tensors_lists_types_and_shapes(stocked: Any) -> None:
    """The tensors of a version stand with their file, type, shape and bytes."""
    rows = [line.split() for line in stocked.lines("tensors", "lenet")[1:]]
    assert [row[:6] for row in rows] == [
        ["lenet.safetensors", "body", "F32", "64x32", "8.0", "KiB"],
        ["lenet.safetensors", "head", "F32", "10x32", "1.2", "KiB"],
    ]


def test_tags_are_made_moved_listed_and_deleted(stocked: Any) -> None:
    """A tag stands for one version at a time, until it is deleted."""
    stocked("tag", "lenet@2", "prod", "-m", "passed review")
    second = stocked.json("show", "lenet@2")["id"]
    row = stocked.lines("tag")[1].split()
    assert row[:4] == ["prod", "lenet@2", second[:12], "Tester"]
    assert row[-2:] == ["passed", "review"]
    stocked("tag", "--delete", "prod")
    assert stocked.lines("tag") == ["no tags yet; make one: mstore tag REV TAG"]


def test_names_move_and_history_stays(stocked: Any) -> None:
    """Rename, delete, undo and revert say which versions they touched."""
    would, freed = stocked.lines("delete", "lenet@2", "--dry-run")
    assert would == "would delete lenet: lenet@2"
    assert freed.startswith("gc could then free ")
    assert stocked.lines("delete", "lenet@2") == ["deleted lenet: lenet@2"]
    assert stocked.lines("undo", "lenet") == ["undone: delete lenet: lenet@2"]
    assert stocked.lines("revert", "lenet@1")[0].endswith(": lenet@4")
    assert stocked.lines("rename", "lenet", "team/lenet")[0].startswith("renamed team/lenet: ")
    assert stocked.lines("list")[1].startswith("team/lenet@4 ")


def test_du_gives_exclusive_and_shared_bytes(stocked: Any) -> None:
    """Each version has a line with its size and what deleting it would free."""
    headers, *rows = stocked.lines("du")
    assert headers.split() == ["VERSION", "HASH", "SIZE", "EXCLUSIVE", "SHARED", "FREED"]
    assert sorted(row.split()[0] for row in rows) == ["lenet@1", "lenet@2", "lenet@3"]
    assert [row.split()[0] for row in stocked.lines("du", "prod")[1:]] == ["lenet@1"]


def test_why_names_the_version_and_the_tensor(stocked: Any) -> None:
    """The reason for a tensor is the version that holds it and the tensor's place in it."""
    tensor = stocked.json("tensors", "lenet@2")["tensors"][1]["id"]
    (line,) = stocked.lines("why", tensor[:12])
    assert "lenet@2:lenet.safetensors#head" in line


def test_identify_names_a_stray_file(stocked: Any) -> None:
    """A copy of a stored file is recognised."""
    (line,) = stocked.lines("identify", "lenet.safetensors")
    assert line.startswith("lenet@3")
    assert line.endswith("(same bytes)")


def test_identify_gives_the_nearest(stocked: Any) -> None:
    """A file that no version equals has exit code 3 and the number of tensors that agree."""
    stocked.write_model("stray.safetensors", 1, head=77)
    lines = stocked.lines("identify", "stray.safetensors", code=3)
    assert lines[0] == "no version is exactly this"
    assert lines[1].endswith("1 of 2 tensors agree")


def test_gc_says_whose_bytes_are_dead_and_why(stocked: Any) -> None:
    """A dry run says which deleted version the bytes were of, and removes nothing."""
    assert stocked.lines("gc", "--dry-run")[0] == "nothing is dead: every stored byte is needed"
    stocked("delete", "lenet@2")
    before = sorted(Path(".mstore/objects").iterdir())
    lines = stocked.lines("gc", "--dry-run")
    assert any(line.split()[:2] == ["lenet@2", "deleted"] for line in lines)
    assert any("would be condemned" in line for line in lines)
    assert sorted(Path(".mstore/objects").iterdir()) == before


def test_gc_now_removes_what_was_deleted(stocked: Any) -> None:
    """After delete and gc the version is gone and the others come back whole."""
    stocked("delete", "lenet@2")
    stocked("gc", "--now")
    stocked("gc", "--now")
    stocked("undo", "lenet", code=3)
    stocked("get", "lenet@3", "back.safetensors")
    assert Path("back.safetensors").read_bytes() == Path("lenet.safetensors").read_bytes()


def test_strip_in_place_asks_first(stocked: Any) -> None:
    """Without --yes or a terminal to ask on, a store is not stripped."""
    result = stocked("strip", "--keep", "prod", code=2)
    assert "--dry-run" in result.stderr
    assert stocked.json("log", "lenet")["versions"][0]["state"] == "kept"


def test_strip_dry_run_changes_nothing(stocked: Any) -> None:
    """A dry run of strip says what would go."""
    lines = stocked.lines("strip", "--keep", "lenet@3", "--dry-run")
    assert "would be stripped lenet@2" in lines
    assert stocked.json("log", "lenet")["versions"][1]["state"] == "kept"


def test_a_stripped_version_says_where_it_may_be_had(stocked: Any) -> None:
    """Get of a version that was stripped has exit code 3 and names the other place."""
    stocked("strip", "--keep", "lenet@3", "--to", "slim")
    result = stocked("--store", "slim", "get", "lenet@2", "out", code=3)
    assert "stripped" in result.stderr
    assert ".mstore" in result.stderr.partition("hint: ")[2]


def test_clone_push_and_pull_carry_models(stocked: Any) -> None:
    """What was cloned, pushed and pulled is the same version everywhere."""
    stocked("clone", ".mstore", "copy")
    stocked("put", stocked.write_model("lenet.safetensors", 1, head=8))
    stocked("push", "copy", "lenet")
    stocked("--store", "third", "init")
    stocked("pull", "copy", "lenet@4", "--as", "again", "--store", "third")
    wanted = stocked.json("show", "lenet@4")["id"]
    assert stocked.json("--store", "copy", "show", "lenet", schema="show")["id"] == wanted
    assert stocked.json("--store", "third", "show", "again@4", schema="show")["id"] == wanted


def test_clone_of_a_folder_makes_a_folder(stocked: Any) -> None:
    """Without a directory, the clone of a folder's ``.mstore`` is found from a folder like it."""
    Path("elsewhere").mkdir()
    with contextlib.chdir("elsewhere"):
        stocked("clone", "..")
    with contextlib.chdir("elsewhere/work"):
        lines = stocked.lines("list")
    assert lines[1].startswith("lenet@3 ")


def test_a_bundle_carries_what_is_missing(stocked: Any) -> None:
    """A bundle made since a version brings the newer ones to a store that has it."""
    stocked("clone", ".mstore", "copy")
    stocked("put", stocked.write_model("lenet.safetensors", 1, head=8))
    stocked("bundle", "create", "new.bundle", "lenet", "--since", "lenet@3")
    stocked("bundle", "verify", "new.bundle")
    stocked("--store", "copy", "pull", "new.bundle", "lenet", code=2)
    stocked("--store", "copy", "pull", "new.bundle")
    assert stocked.lines("--store", "copy", "list")[1].startswith("lenet@4 ")
    stocked("--store", "copy", "bundle", "apply", "new.bundle")


def test_fsck_heals_from_a_file(stocked: Any) -> None:
    """Damage is told with the version that it hurts, and healed from the file that was put."""
    assert stocked.lines("fsck")[-1].startswith("sound, payload not read (--full reads it): 3 ")
    pack = max(Path(".mstore/objects").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    told = stocked.lines("fsck", "--full", code=5)
    assert "(hurts lenet@1, lenet@2, lenet@3, prod)" in told[0]
    assert told[-1] == "heal it from a copy: mstore fsck --repair --from PLACE"
    stocked("fsck", "--from", "lenet.safetensors", code=2)
    healed = stocked.lines("fsck", "--repair", "--from", "lenet.safetensors")
    assert any(line.startswith("healed ") for line in healed)
    assert any(line.startswith("moved to quarantine: ") for line in healed)
    assert stocked.lines("fsck", "--full")[-1].startswith("sound: 3 versions, ")


def test_get_gives_one_file_of_a_folder(mstore: Any) -> None:
    """REV:PATH comes back as that file, here or where it is wanted."""
    mstore("init")
    mstore.write_model("out/a.safetensors", 1)
    Path("out/config.json").write_text("{}", encoding="utf-8")
    mstore("put", "out", "--name", "lenet")
    mstore("get", "lenet:config.json")
    mstore("get", "lenet:config.json", "other.json", "--sync")
    assert Path("config.json").read_text(encoding="utf-8") == "{}"
    assert Path("other.json").read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("words", [("--json", "list"), ("list", "--json")])
def test_json_may_stand_before_or_after_the_command(stocked: Any, words: tuple[str, str]) -> None:
    """The flag --json means the same before the command and after it."""
    assert json.loads(stocked(*words).stdout)["models"][0]["name"] == "lenet"


def test_archive_says_why_it_takes_more(mstore: Any) -> None:
    """Where the plan takes more bytes than there are, people are told that versions were slow."""
    rng = np.random.default_rng(1)
    body = rng.standard_normal((400, 64), dtype=np.float32)
    mstore("init")
    for _ in range(5):
        save_file({"body": body}, "m.safetensors")
        mstore("put", "m.safetensors")
        body = body + rng.standard_normal(body.shape, dtype=np.float32) * np.float32(1e-5)
    words = ("archive", "--cost", "bytes", "--alpha", "1")
    for lines in (mstore.lines(*words, "--dry-run"), mstore.lines(*words)):
        assert any(line.startswith("more than before: ") for line in lines)
        assert any("took longer to read than the bound" in line for line in lines)


def test_a_bound_that_cannot_be_kept_has_its_unit(stocked: Any) -> None:
    """The refusal says in milliseconds what was asked and what can be."""
    error = stocked("archive", "--within", "0.000001", code=2).stderr
    assert re.search(r"within 1e-06 ms, at least [0-9.e-]+ ms", error)
