"""A reader of mstore stores, written from SPEC.md alone.

It follows SPEC.md Appendix B and shares no code with mstore; section numbers are those of SPEC.md.
`python tests/independent/reader.py STORE NAME[@N] DEST` writes the files of a version to the new
folder DEST. It takes no lock and writes nothing to the store (§4.3, I7).
"""

import io
import json
import math
import os
import re
import shutil
import struct
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# fmt: off
# §6: of each msgpack form what it is, the bytes of its number, and the least number that needs it.
FORMS = {0xC4: ("bin", 1, 0), 0xC5: ("bin", 2, 1 << 8), 0xC6: ("bin", 4, 1 << 16),
         0xCC: ("uint", 1, 1 << 7), 0xCD: ("uint", 2, 1 << 8), 0xCE: ("uint", 4, 1 << 16),
         0xCF: ("uint", 8, 1 << 32), 0xD0: ("int", 1, 33), 0xD1: ("int", 2, (1 << 7) + 1),
         0xD2: ("int", 4, (1 << 15) + 1), 0xD3: ("int", 8, (1 << 31) + 1), 0xCB: ("float", 8, 0),
         0xD9: ("str", 1, 32), 0xDA: ("str", 2, 1 << 8), 0xDB: ("str", 4, 1 << 16),
         0xDC: ("array", 2, 16), 0xDD: ("array", 4, 1 << 16),
         0xDE: ("map", 2, 16), 0xDF: ("map", 4, 1 << 16)}
FORMS |= {0x80 + n: ("map", 0, n) for n in range(16)}
FORMS |= {0x90 + n: ("array", 0, n) for n in range(16)}
FORMS |= {0xA0 + n: ("str", 0, n) for n in range(32)}
CHUNK, OBJECT, SIZE = 1 << 22, 1 << 26, range(1 << 63)  # §11
CODES = {"chunk": 0, "tensor": 1, "file": 2, "tree": 3, "version": 5}  # §5.1
LIMITS = {0: CHUNK, 1: OBJECT, 2: OBJECT, 3: OBJECT, 5: CHUNK}  # §11
BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ"
        " F8_E5M2FNUZ", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32", 64: "C64 F64 I64 U64"}  # §6.2
DTYPES = {name: bits for bits, names in BITS.items() for name in names.split()}
RELATIONS = {"derived", "fine-tuned", "merged", "quantised", "sliced", "converted", "stripped",
             "reverted"}
# §6.2 to §6.5 and §9.2: the rule of each field as `fits` reads it, and its default if it has one.
SCHEMAS: dict[str, dict[str, tuple[Any, ...]]] = {
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
             "transaction": (bytes,)},
}
# fmt: on
HEX16, PACK = re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{64}[.]pack")  # §4.1
BANNED = r"[/\\\x00-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]|[ .]\Z"  # §6.4
DEVICE = re.compile(r"(?ai)(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9¹²³]) *([.].*)?")
PART = re.compile(r"(?!.*[.][.])(?!.*[.](lock)?\Z)(?![0-9A-Fa-f]{8,}\Z)[A-Za-z0-9][A-Za-z0-9._-]*")


class ReaderError(Exception):
    """The store is damaged, or lacks what was asked for."""


class UnsupportedError(ReaderError):
    """The store holds what only a newer reader may know (§12)."""


def need(holds: object, problem: str, error: type[ReaderError] = ReaderError) -> None:
    """Refuse, unless a rule holds."""
    if not holds:
        raise error(problem)


def ascending(values: list[Any]) -> bool:
    """Whether values are sorted, each once; str sorts as its UTF-8 bytes do."""
    return values == sorted(set(values))


def digest(what: str, data: bytes) -> bytes:
    """Hash with a context string of §5.1 or §5.2; a chunk has none."""
    context = {} if what == "chunk" else {"derive_key_context": f"mstore v1 {what}"}
    return blake3(data, **context).digest()


def load(path: Path, limit: int) -> bytes:
    """Read a small file, up to its limit (§11)."""
    need(path.is_file() and path.stat().st_size <= limit, f"{path} is missing or over its limit")
    return path.read_bytes()


def unpack(data: io.BytesIO, depth: int = 1) -> Any:
    """Decode one msgpack value, refusing all but canonical form (§6) and more than §11 allows."""

    def take(size: int) -> bytes:
        need(size <= len(data.getbuffer()) - data.tell(), "msgpack ends too early")
        return data.read(size)

    code = take(1)[0]
    if code < 0x80 or code >= 0xE0:
        return code if code < 0x80 else code - 256
    if code in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[code]
    need(code in FORMS, f"msgpack code {code:#x} is not canonical")
    kind, width, least = FORMS[code]
    number = int.from_bytes(take(width), "big", signed=kind == "int") if width else least
    need((-number if kind == "int" else number) >= least, f"msgpack: a {kind} in a longer form")
    if kind in {"bin", "str"}:
        return take(number) if kind == "bin" else take(number).decode()
    if kind in {"array", "map"}:  # 17 levels: an object's map, and 16 of JSON in its field
        need(depth <= 17 and number <= len(data.getbuffer()), "msgpack is too deep or too long")
        need(kind == "array" or depth > 1 or number <= 64, "an object has too many fields")
        keys = []
        values = []
        for _ in range(number):
            keys += [unpack(data, 18)] if kind == "map" else []
            values.append(unpack(data, depth + 1))
        need(all(type(key) is str for key in keys) and ascending(keys), "msgpack: keys of a map")
        return dict(zip(keys, values, strict=True)) if kind == "map" else values
    if kind == "float":
        number = struct.unpack(">d", (bits := number.to_bytes(8, "big")))[0]
        need(number == number or bits.hex() == "7ff8000000000000", "msgpack: not the one NaN")
    return number
