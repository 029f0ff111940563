"""A reader of mstore stores, written from SPEC.md alone.

It follows SPEC.md Appendix B and shares no code with mstore; section numbers are those of SPEC.md.
`python tests/independent/reader.py STORE NAME[@N] DEST` writes the files of a version to the new
folder DEST. It takes no lock and writes nothing to the store (§4.3, I7). Whatever is damaged,
missing or of a newer format is a ValueError (§12, §13).
"""

import io
import json
import math
import mmap
import os
import re
import shutil
import struct
import sys
import unicodedata
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from blake3 import blake3

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

# fmt: off
# §6: of each msgpack form what it is, the bytes of its number, and the least number that needs it.
FORMS = {0xC4: ("bin", 1, 0), 0xC5: ("bin", 2, 1 << 8), 0xC6: ("bin", 4, 1 << 16),
         0xCB: ("float", 8, 0), 0xCC: ("uint", 1, 1 << 7), 0xCD: ("uint", 2, 1 << 8),
         0xCE: ("uint", 4, 1 << 16), 0xCF: ("uint", 8, 1 << 32), 0xD0: ("int", 1, 33),
         0xD1: ("int", 2, 129), 0xD2: ("int", 4, 32769), 0xD3: ("int", 8, (1 << 31) + 1),
         0xD9: ("str", 1, 32), 0xDA: ("str", 2, 1 << 8), 0xDB: ("str", 4, 1 << 16),
         0xDC: ("array", 2, 16), 0xDD: ("array", 4, 1 << 16), 0xDE: ("map", 2, 16),
         0xDF: ("map", 4, 1 << 16)}
CHUNK, SIZE, NEWER = 1 << 22, range(1 << 63), "a newer reader may know it"  # §11, §12
CODES = {"chunk": 0, "tensor": 1, "file": 2, "tree": 3, "version": 5}  # §5.1
LIMITS = {0: CHUNK, 1: 1 << 26, 2: 1 << 26, 3: 1 << 26, 5: CHUNK}  # §11
BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ"
        " F8_E5M2FNUZ", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32", 64: "C64 F64 I64 U64"}  # §6.2
DTYPES = {name: bits for bits, names in BITS.items() for name in names.split()}
RELATIONS = {"derived", "fine-tuned", "merged", "quantised", "sliced", "converted", "stripped",
             "reverted"}
# §4.2, §6.2 to §6.5, §9.2: the rule of each field as `fits` reads it, and its default if any.
SCHEMAS: dict[str, dict[str, tuple[Any, ...]]] = {
    "config": {"check": (str,), "created": (SIZE,), "format": (range(2),), "id": (str,),
               "origin": ((str, str), None)},
    "tensor": {"chunks": ("ids", b""), "dtype": (set(DTYPES),), "shape": ([range(2**40 + 1)],)},
    "opaque": {"chunks": ("ids", b""), "form": (str,), "size": (SIZE,),
               "sizes": ([range(1, CHUNK + 1)], [])},
    "tensors": {"form": (str,), "format": ({"safetensors"},), "header": (bytes,), "size": (SIZE,),
                "tensors": ([(str, "id")], [])},
    "tree": {"entries": ([(str, {"file", "executable", "tree"}, "id")], [])},
    "version": {"author": (str, ""), "datasets": ([str], []), "message": (str, ""),
                "metadata": ("json", {}), "metrics": ("metrics", {}), "model_hash": ("id", None),
                "parameters": ("json", {}), "parents": ([("id", RELATIONS)], []),
                "single": (bool, False), "size": (SIZE,), "tags": ([str], []), "task": (str, ""),
                "tensor_count": (SIZE, 0), "time": (SIZE,), "tree": ("id",)},
    "slot": {"author": (str,), "full": (bool, False), "generation": (SIZE,), "place": (str, ""),
             "previous": ("ids",), "reason": (str,), "ref": (str,), "time": (SIZE,),
             "rows": ([(range(1, 2**32 + 1), "id", {"kept", "stripped", "deleted"})],),
             "transaction": (bytes,)}}
# fmt: on
PACK = re.compile("(objects|condemned/[0-9a-f]{16})/[0-9a-f]{64}[.]pack")  # §4.1
BANNED = r"[/\\\x00-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]|[ .]\Z"  # §6.4
DEVICE = re.compile(r"(?ai)(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9¹²³]) *([.].*)?")
PART = re.compile(r"(?!.*[.][.])(?!.*[.](lock)?\Z)(?![0-9A-Fa-f]{8,}\Z)[A-Za-z0-9][A-Za-z0-9._-]*")


def need(holds: object, problem: str) -> None:
    """Refuse, unless a rule holds."""
    if not holds:
        raise ValueError(problem)


def digest(what: str, data: bytes) -> bytes:
    """Hash with a context string of §5.1 or §5.2; a chunk has none."""
    context = {} if what == "chunk" else {"derive_key_context": f"mstore v1 {what}"}
    return blake3(data, **context).digest()


def load(path: Path, limit: int) -> bytes:
    """Read a small file, up to its limit (§11)."""
    need(path.is_file() and path.stat().st_size <= limit, f"{path} is missing or over its limit")
    return path.read_bytes()


def unpack(data: io.BytesIO, depth: int = 1) -> Any:
    """Decode one msgpack value, refusing all but canonical form (§6) and what is over §11."""

    def take(size: int) -> bytes:
        need(size <= len(data.getbuffer()) - data.tell(), "msgpack ends too early")
        return data.read(size)

    code = take(1)[0]
    if code < 0x80 or code >= 0xE0 or code in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}.get(code, code - 256 * (code >= 0xE0))
    if code < 0xC0:
        kind = "map" if code < 0x90 else "array" if code < 0xA0 else "str"
        number = code & (31 if kind == "str" else 15)
    else:
        kind, width, least = FORMS.get(code, ("form that no value has", 0, 1))
        number = int.from_bytes(take(width), "big", signed=kind == "int")
        need(abs(number) >= least and (number < 0) == (kind == "int"), f"msgpack: a long {kind}")
    if kind in {"bin", "str"}:
        return take(number) if kind == "bin" else take(number).decode()
    if kind == "float":
        need(not 0x7FF0 << 48 < number & SIZE[-1] or number == 0x7FF8 << 48, "msgpack: a NaN")
        return struct.unpack(">d", number.to_bytes(8, "big"))[0]
    if kind in {"int", "uint"}:
        return number
    # 17 levels: the map of an object, and 16 of JSON in a field. A key has no level left.
    need(depth <= 17 and number <= len(data.getbuffer()), "msgpack is too deep or too long")
    if kind == "array":
        return [unpack(data, depth + 1) for _ in range(number)]
    need(depth > 1 or number <= 64, "an object has too many fields")
    pairs = [(unpack(data, 18), unpack(data, depth + 1)) for _ in range(number)]
    keys = [key for key, _ in pairs]  # Python sorts str by code points, and so as UTF-8 sorts
    need(all(type(key) is str for key in keys) and keys == sorted(set(keys)), "msgpack: keys")
    return dict(pairs)


def json_values(value: Any) -> int:
    """Count the values of JSON, keys included (§11)."""
    need(type(value) is not bytes, "binary in JSON")
    below = [*value, *value.values()] if type(value) is dict else value
    return 1 + (sum(map(json_values, below)) if type(below) is list else 0)


def fits(value: Any, rule: Any) -> bool:
    """Whether a value obeys a rule: a range, words, an array, a row, a test by name, or a type."""
    if isinstance(rule, (list, tuple)):
        rules = rule * len(value) if isinstance(rule, list) and type(value) is list else rule
        return type(value) is list and len(value) == len(rules) and all(map(fits, value, rules))
    if isinstance(rule, set):
        need(type(value) is not str or value in rule, f"unknown: {value}; {NEWER}")
    tests = {
        "id": lambda: type(value) is bytes and len(value) == 32,
        "ids": lambda: type(value) is bytes and len(value) % 32 == 0,
        "json": lambda: type(value) is dict and json_values(value) <= 100_000,
        "metrics": lambda: type(value) is dict and all(fits(x, float) for x in value.values()),
    }
    if isinstance(rule, range):
        return type(value) is int and value in rule
    return tests[rule]() if isinstance(rule, str) else type(value) is rule


def check(value: Any, what: str) -> dict[str, Any]:
    """Refuse fields that §6 does not allow; fields left out get their defaults."""
    need(type(value) is dict, f"{what} is not a map")
    if what == "file":
        need(fits(value.get("form"), {"opaque", "tensors"}), "file: no form")
        what = value["form"]
    need(value.keys() <= SCHEMAS[what].keys(), f"{what} has an unknown field; {NEWER}")
    for name, (rule, *default) in SCHEMAS[what].items():
        need(name in value or default, f"{what} has no {name}")
        good = name not in value or (fits(value[name], rule) and [value[name]] != default)
        need(good, f"{what}: {name} is wrong")
        value.setdefault(name, *default)
    return value


def decode(payload: bytes, what: str) -> dict[str, Any]:
    """Decode an object, or the body of a slot (§6)."""
    data = io.BytesIO(payload)
    value = check(unpack(data), what)
    need(data.tell() == len(payload), f"{what}: bytes behind the value")
    return value
