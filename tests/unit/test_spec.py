"""SPEC.md's tables, held against the code's constants: neither can change alone."""

import re
import struct
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from mstore import codecs, objects, tiers
from mstore.backends.base import FOLDERS
from mstore.codecs import (
    _elements,
    _frames,
    _groups,
    _pcodec,
    delta_pco,
    pco,
    planes,
    sparse,
    split_float,
)
from mstore.format import bounds, bundle, config, dtypes, names, pack, safetensors, slots
from mstore.format import objects as encodings
from mstore.format.layout import MAX_LITERALS
from mstore.ids import CONTEXTS, ID_SIZE, MODEL_CONTEXT, Kind
from mstore.odb import MAX_CHAIN

SPEC = (Path(__file__).parent.parent.parent / "SPEC.md").read_text(encoding="utf-8")
SIZES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}


def section(number: str) -> str:
    """The text of a section, without those below it."""
    start = re.search(rf"^#+ {re.escape(number)}\.? .*$", SPEC, re.MULTILINE)
    assert start, number
    rest = SPEC[start.end() :]
    end = re.search(r"^#+ ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(number: str) -> list[list[dict[str, str]]]:
    """The tables of a section: for each row, its cells by the column's name."""
    found, lines = [], iter(section(number).splitlines())
    for line in lines:
        if not line.startswith("|"):
            continue
        columns = cells(line)
        next(lines)
        rows = []
        for row in lines:
            if not row.startswith("|"):
                break
            rows.append(dict(zip(columns, cells(row), strict=True)))
        found.append(rows)
    return found


def cells(line: str) -> list[str]:
    """The cells of one line of a table, without the marks of code."""
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def test_kinds() -> None:
    """Kinds have the codes and contexts of §5.1."""
    table = tables("5.1")[0]
    assert {row["kind"]: int(row["code"]) for row in table} == {
        kind.name.lower(): kind.value for kind in Kind
    }
    assert {Kind[row["kind"].upper()]: row["context string"] for row in table[1:]} == CONTEXTS


def test_contexts() -> None:
    """Other hashes have the contexts of §5.2."""
    assert [row["context string"] for row in tables("5.2")[0]] == [
        pack.PACK_CONTEXT,
        slots.SLOT_CONTEXT,
        config.CONFIG_CONTEXT,
        MODEL_CONTEXT,
        bundle.CONTEXT,
    ]


def test_dtypes() -> None:
    """Dtypes have the names and widths of §6.2."""
    table = tables("6.2")[1]
    assert {row["dtype"]: int(row["bits"]) for row in table} == dtypes.DTYPE_BITS


DEFAULTS: dict[str, tuple[Any, ...]] = {
    "empty": ("", (), b"", {}),
    "false": (False,),
    "nil": (None,),
    "0": (0,),
}


def fields(struct_type: type[msgspec.Struct]) -> dict[str, object]:
    """The fields of a struct: "required", or the default."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(struct_type):
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        found[field.name] = "required" if default is msgspec.NODEFAULT else default
    tag = struct_type.__struct_config__.tag_field
    return found | ({tag: "required"} if tag else {})


@pytest.mark.parametrize(
    ("number", "place", "struct_type"),
    [
        ("6.2", 0, objects.Tensor),
        ("6.3", 0, objects.OpaqueFile),
        ("6.3", 1, objects.TensorFile),
        ("6.4", 0, objects.Tree),
        ("6.5", 0, objects.Version),
        ("6.8", 0, objects.Note),
        ("6.9", 0, objects.Code),
        ("6.9", 1, objects.Environment),
        ("6.9", 2, objects.Log),
        ("9.2", 1, slots.Slot),
    ],
    ids=[
        "tensor",
        "opaque",
        "tensors",
        "tree",
        "version",
        "note",
        "code",
        "environment",
        "log",
        "slot",
    ],
)
def test_fields(number: str, place: int, struct_type: type[msgspec.Struct]) -> None:
    """Objects have the fields and defaults of §6 and §9.2, listed in the order of their keys."""
    table = tables(number)[place]
    expected = fields(struct_type)
    assert [row["field"] for row in table] == sorted(expected)
    for row in table:
        default = expected[row["field"]]
        if row["default"] == "required":
            assert default == "required"
        else:
            assert any(
                default == one and type(default) is type(one) for one in DEFAULTS[row["default"]]
            )


def test_fields_of_the_config() -> None:
    """The config has the fields of §4.2, sorted."""
    table = tables("4.2")[0]
    written = config.encode_config(config.Config("0" * 32, 5, ("place", "1" * 32)))
    assert [row["field"] for row in table] == list(msgspec.json.decode(written))
    assert config.FORMAT == 1


def test_fields_of_a_bundle() -> None:
    """A bundle's manifest has the fields of §10, in that order."""
    listed = [row["field"] for row in tables("10")[1]]
    assert listed == [field.name for field in msgspec.structs.fields(bundle.Manifest)]


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("relation", objects.Relation),
        ("type", objects.EntryType),
        ("state", slots.State),
    ],
)
def test_words(name: str, literal: Any) -> None:
    """Relations, entry types and row states are those that SPEC lists."""
    text = {"relation": section("6.5"), "type": section("6.4"), "state": section("9.2")}[name]
    sentence = text.partition(f"`{name}` is ")[2] or text.partition(f"`{name}` one of ")[2]
    listed = re.findall(r"`([a-z-]+)`", sentence.partition(". ")[0])
    assert sorted(listed) == sorted(get_args(literal))


@pytest.mark.parametrize(
    ("number", "place", "size"),
    [
        ("7.1", 0, pack.HEADER_SIZE),
        ("7.3", 0, pack.ROW_SIZE),
        ("7.3", 1, pack.TRAILER_SIZE),
        ("10", 0, None),
    ],
    ids=["header", "row", "trailer", "bundle"],
)
def test_offsets_add_up(number: str, place: int, size: int | None) -> None:
    """In a table of offsets each field starts where the one before ends."""
    position = 0
    for row in tables(number)[place]:
        assert int(row["offset"]) == position, row["field"]
        if not row["size"].isdigit():
            assert position == bundle.HEADER_SIZE
            return
        width = re.match(r"u\d+", row["rule"])
        if width:
            assert struct.calcsize(SIZES[width.group()]) == int(row["size"])
        position += int(row["size"])
    assert position == size


def test_row_layout() -> None:
    """A row packs the fields of §7.3 in their order and sizes."""
    layout = "<" + "".join(
        f"{row['size']}s" if row["field"] in ("id", "check") else SIZES[
            {"1": "u8", "2": "u16", "4": "u32", "8": "u64"}[row["size"]]
        ]
        for row in tables("7.3")[0]
    )  # fmt: skip
    assert layout == pack._ROW.format


def test_magics() -> None:
    """Packs, slots and bundles start with the magic of their tables."""
    assert tables("7.1")[0][0]["rule"] == f"`{pack.MAGIC.decode()}`".strip("`")
    assert tables("7.3")[1][-1]["rule"] == pack.MAGIC.decode()
    assert tables("9.2")[0][0]["rule"] == slots.MAGIC.decode()
    assert tables("10")[0][0]["rule"] == bundle.MAGIC.decode()


def test_codecs() -> None:
    """Codecs have the codes and names of §8, and no others are built in."""
    listed = {int(row["code"]): row["name"] for row in tables("8")[0]}
    assert {code: codecs.codec(code).NAME for code in codecs.BUILT_IN} == listed
    assert all(code == codecs.codec(code).CODE for code in listed)
    assert list(listed.values()) == codecs.names()[: len(listed)]


def test_codecs_with_a_base() -> None:
    """The codecs that take a base are those of which §8 says so."""
    listed = {int(row["code"]): row["base"] == "yes" for row in tables("8")[0]}
    assert {code: codecs.codec(code).TAKES_BASE for code in codecs.BUILT_IN} == listed


@pytest.mark.parametrize(
    ("number", "layout"),
    [
        ("8.2", split_float._HEADER),
        ("8.3", _pcodec._HEADER),
        ("8.4", pco._HEADER),
        ("8.5", delta_pco._HEADER),
        ("8.6", sparse._HEADER),
        ("8.7", planes._HEADER),
    ],
)
def test_headers_of_codecs(number: str, layout: struct.Struct) -> None:
    """The numbers that an entry begins with have the sizes and offsets of §8, without a hole."""
    rows = [row for row in tables(number)[0] if row["size"].isdigit()]
    kinds = {"1": "B", "2": "H", "4": "I"}
    assert layout.format == "<" + "".join(kinds[row["size"]] for row in rows)
    assert [int(row["offset"]) for row in rows] == [
        struct.calcsize("<" + "".join(kinds[row["size"]] for row in rows[:at]))
        for at in range(len(rows))
    ]


def test_the_codes_of_other_packages() -> None:
    """§8 reserves the codes that other packages may have, and those of this one up to them."""
    codes = codecs.PLUGIN_CODES
    assert f"Codes {codes[0]} to {codes[-1]} are for codecs of other packages" in section("8")
    assert f"Codes {max(codecs.BUILT_IN) + 1} to {codes[0] - 1} are reserved" in section("8")


def test_namespaces() -> None:
    """Refs stand in the namespaces of §9.1."""
    assert tuple(row["namespace"] for row in tables("9.1")[0]) == slots.NAMESPACES


def test_layout() -> None:
    """A new store has the folders of §4.1, and no others."""
    listed = {row["path"].partition("/")[0] for row in tables("4.1")[0]}
    assert {folder.partition("/")[0] for folder in FOLDERS} | {"config"} == listed
    assert {f"refs/{namespace}" for namespace in slots.NAMESPACES} <= set(FOLDERS)


LIMITS = {
    "chunk": objects.CHUNK_SIZE,
    "payload of a tensor or file": encodings.MAX_OBJECT,
    "payload of a tree": encodings.MAX_TREE,
    "payload of a version": encodings.MAX_VERSION,
    "payload of a note": encodings.MAX_NOTE,
    "payload of a record": encodings.MAX_RECORD,
    "levels of JSON in a field": bounds.MAX_DEPTH,
    "values of JSON in a field": bounds.MAX_VALUES,
    "fields of a map that is an object": encodings._MAX_FIELDS,
    "safetensors header": safetensors.MAX_HEADER,
    "literal bytes of a file of another format": MAX_LITERALS,
    "tensor name": safetensors.MAX_TENSOR_NAME,
    "dimensions of a tensor": dtypes.MAX_RANK,
    "length of a dimension": dtypes.MAX_DIMENSION,
    "bits of a tensor": dtypes.MAX_TENSOR_BITS,
    "file name": names.MAX_NAME_SIZE,
    "folders inside one another": names.MAX_FOLDER_DEPTH,
    "files and folders of a version": names.MAX_NAMES,
    "ref name": slots.MAX_REF_NAME,
    "slot": slots.MAX_SLOT,
    "number of a row": slots.MAX_NUMBER,
    "generation": slots.MAX_GENERATION,
    "rows of a pack index": pack.MAX_ROWS,
    "bases below a chunk": MAX_CHAIN,
    "chunks in other places": tiers.MAX_LENT,
    "pack, as written": pack.PACK_CAP,
    "config": config.MAX_CONFIG,
    "manifest of a bundle": bundle.MAX_MANIFEST,
    "window of a zstd frame": 1 << _frames.WINDOW_LOG,
    "payload of codecs 2 to 6": _elements.MAX_RAW,
    "groups of a delta-pco entry": _groups.MAX_GROUPS,
    "elements to one changed element, sparse": sparse.MAX_STORED,
}


def test_limits() -> None:
    """Every limit of §11 is the code's, and has a reason."""
    table = tables("11")[0]
    assert {row["limit"]: int(row["value"].replace(",", "")) for row in table} == LIMITS
    assert all(row["reason"] for row in table)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("6.1", objects.CHUNK_SIZE),
        ("6.2", objects.CHUNK_SIZE),
        ("6.3", objects.CHUNK_SIZE),
        ("7.2", pack.ALIGNMENT),
        ("7.2", pack.PAGE_FROM),
        ("7.2", pack.PAGE),
        ("10", bundle.PACK_ALIGNMENT),
        ("5.3", ID_SIZE),
    ],
)
def test_numbers_in_the_text(number: str, value: int) -> None:
    """Numbers that the text repeats are the code's."""
    assert f"{value:,}" in section(number)


def test_sections_that_the_code_names_exist() -> None:
    """Every "SPEC §n" in the code is a heading."""
    root = Path(__file__).parent.parent.parent
    for path in (root / "cas").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for number in re.findall(r"SPEC §([0-9]+(?:\.[0-9]+)?)", text):
            assert re.search(rf"^#+ {re.escape(number)}\.? ", SPEC, re.MULTILINE), (path, number)
