"""``--json``: one object for each command, as its schema and docs/json.md say."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore_cli.main import COMMANDS

SCHEMAS = Path(__file__).parent / "schemas"
JSON_PAGE = Path(__file__).parent.parent.parent / "docs" / "json.md"


def test_every_command_has_a_schema() -> None:
    """There is one schema for each command, and one for errors."""
    names = {path.stem for path in SCHEMAS.glob("*.json")}
    assert names == {*COMMANDS, "error"}


def test_the_page_is_made_from_the_schemas() -> None:
    """docs/json.md is what ``python docs/json_page.py`` writes: a table for each schema."""
    spec = importlib.util.spec_from_file_location("json_page", JSON_PAGE.with_name("json_page.py"))
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert JSON_PAGE.read_text(encoding="utf-8") == program.page()


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_every_field_is_described(path: Path) -> None:
    """Each field of each object has a description, has to be there, and no other may be."""
    schemas = list(objects(json.loads(path.read_text(encoding="utf-8"))))
    assert schemas
    for schema in schemas:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        assert all(field["description"] for field in schema["properties"].values())


def objects(schema: Any) -> Iterator[Any]:
    """Every object with named fields in a schema."""
    if "properties" in schema:
        yield schema
    inner = [*schema.get("anyOf", []), *schema.get("properties", {}).values()]
    for part in [*inner, *([schema["items"]] if "items" in schema else [])]:
        yield from objects(part)


def test_init(mstore: Any) -> None:
    """Init says where the store is, and whether it is new."""
    first, second = mstore.json("init"), mstore.json("init")
    assert first == {"path": str(Path(".mstore").absolute()), "created": True}
    assert second == {**first, "created": False}


def test_put_and_get(stocked: Any) -> None:
    """Put and get give the same version and the same bytes."""
    put = stocked.json("put", "lenet.safetensors")
    got = stocked.json("get", "lenet", "back")
    assert (put["name"], put["number"], put["unchanged"]) == ("lenet", 3, True)
    assert (got["version"], got["size_bytes"]) == (put["version"], put["size_bytes"])


def test_cat(stocked: Any) -> None:
    """Cat gives the bytes in base64."""
    assert stocked.json("cat", "lenet:lenet.safetensors#head[0]")["size_bytes"] == 128


def test_list_log_show_tensors(stocked: Any) -> None:
    """What there is has the same ids wherever it is shown."""
    (model,) = stocked.json("list")["models"]
    versions = stocked.json("log", "lenet")["versions"]
    shown = stocked.json("show", "lenet")
    tensors = stocked.json("tensors", "lenet")["tensors"]
    assert [row["number"] for row in versions] == [3, 2, 1]
    assert versions[2]["tags"] == ["prod"]
    assert model["version"] == versions[0]["id"] == shown["id"]
    assert [row["name"] for row in tensors] == ["body", "head"]


def test_names(stocked: Any) -> None:
    """Each change of a name says what it did."""
    assert stocked.json("tag")["tags"][0]["name"] == "prod"
    assert stocked.json("tag", "lenet@2", "best")["labels"] == ["lenet@2"]
    assert stocked.json("tag", "--delete", "best")["action"] == "deleted"
    assert stocked.json("delete", "lenet@2", "--dry-run")["dry_run"] is True
    assert stocked.json("delete", "lenet@2")["labels"] == ["lenet@2"]
    assert stocked.json("undo", "lenet")["name"] == "lenet"
    assert stocked.json("revert", "lenet@1")["labels"] == ["lenet@4"]
    assert stocked.json("rename", "lenet", "team/lenet")["name"] == "team/lenet"


def test_looking(stocked: Any) -> None:
    """Identify, du and why name versions by the same labels."""
    exact = stocked.json("identify", "lenet.safetensors")["exact"]
    assert exact[0]["label"].startswith("lenet@3")
    stray = stocked.write_model("stray.safetensors", 1, head=50)
    assert stocked.json("identify", stray, code=3)["nearest"]["agreeing"] == 1
    labels = sorted(row["label"] for row in stocked.json("du")["versions"])
    assert labels == ["lenet@1", "lenet@2", "lenet@3"]
    version = stocked.json("show", "lenet")["id"]
    assert stocked.json("why", version)["reasons"][0]["kind"] == "version"


def test_gc(stocked: Any) -> None:
    """A dry run of gc foresees what gc condemns."""
    stocked("delete", "lenet@2")
    foreseen = stocked.json("gc", "--dry-run")
    assert foreseen["plan"]["dead_bytes"] > 0
    assert foreseen["plan"]["freed"][0]["label"] == "lenet@2"
    assert stocked.json("gc")["condemned"] == foreseen["condemned"]


def test_fsck(stocked: Any) -> None:
    """A sound store has no findings."""
    assert stocked.json("fsck", "--full")["findings"] == []


def test_strip(stocked: Any) -> None:
    """Strip says which versions keep their bytes, and where."""
    assert stocked.json("strip", "--keep", "prod", "--dry-run")["kept"] == ["lenet@1"]
    assert stocked.json("strip", "--keep", "prod", "--to", "slim")["place"].endswith("/slim")
    raw = stocked.json("strip", "--keep", "prod", "--to", "raw", "--codec", "raw")
    assert (raw["codec"], raw["bytes_after"]) == ("raw", raw["bytes_foreseen"])
    assert stocked.json("strip", "--keep", "prod", "--yes")["place"] is None


def test_materialize(stocked: Any) -> None:
    """A dry run tells what is written then; the second time nothing is."""
    plan = stocked.json("materialize", "lenet", "--dry-run")
    made = stocked.json("materialize", "lenet")
    assert (plan["dry_run"], made["dry_run"]) == (True, False)
    assert plan["bytes_after"] == made["bytes_after"]
    assert stocked.json("materialize", "lenet")["written_bytes"] == 0


def test_archive_and_plan(stocked: Any) -> None:
    """A dry run has the plan that is carried out then and that plan writes to a file."""
    plan = stocked.json("archive", "--cost", "bytes", "--alpha", "3", "--dry-run")
    written = stocked.json("plan", "--cost", "bytes", "--alpha", "3", "--graph", "graph.json")
    made = stocked.json("archive", "--all", "--cost", "bytes", "--alpha", "3")
    assert (plan["dry_run"], made["dry_run"], plan["unit"]) == (True, False, "bytes")
    assert [row["label"] for row in made["versions"]] == ["lenet@1", "lenet@2", "lenet@3"]
    assert {**plan, "path": written["path"]} == written
    graph = json.loads(Path(written["path"]).read_text(encoding="utf-8"))
    assert "lenet@1:lenet.safetensors#body" in graph["plan"]
    failed = stocked.json("archive", "--within", "0.000001", code=2)
    assert "at least" in failed["error"]["message"]


def test_transfer(stocked: Any) -> None:
    """Clone, push, pull and bundle count what travelled."""
    assert stocked.json("clone", ".mstore", "copy")["names"] == {"lenet": 3}
    stocked("put", stocked.write_model("lenet.safetensors", 1, head=8))
    assert stocked.json("push", "copy", "lenet")["names"] == {"lenet": 1}
    assert stocked.json("pull", "copy")["objects"] == 0
    made = stocked.json("bundle", "create", "all.bundle")
    assert stocked.json("bundle", "verify", "all.bundle") == made
    assert stocked.json("bundle", "apply", "all.bundle")["objects"] == 0


def test_completion(mstore: Any) -> None:
    """The completion script is one field."""
    assert "_MSTORE_COMPLETE" in mstore.json("completion", "zsh")["script"]


def test_an_error_is_one_object(mstore: Any) -> None:
    """An error with --json is one object on stdout, and stderr stays empty."""
    mstore("init")
    found = mstore.json("show", "nothing", code=3)
    assert found["error"]["kind"] == "not-found"
    assert found["error"]["hint"]


def test_a_usage_error_is_one_object(mstore: Any) -> None:
    """A wrong command line with --json is one object too."""
    assert mstore.json("get", "--nonsense", code=2)["error"]["kind"] == "usage"
