"""A reader of mstore stores, written from SPEC.md alone.

It follows SPEC.md Appendix B and shares no code with mstore; section numbers are those of SPEC.md.
`python tests/independent/reader.py STORE NAME[@N] DEST` writes the files of a version to the new
folder DEST. It takes no locks and writes nothing to the store (§4.3, I7).
"""

import json
import math
import os
import re
import shutil
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK, OBJECT, INTEGER = 1 << 22, 1 << 26, (1 << 63) - 1  # §11
SIZES = {0: CHUNK, 1: OBJECT, 2: OBJECT, 3: OBJECT, 5: CHUNK}  # §11: of the kinds of §5.1
CODES = {"chunk": 0, "tensor": 1, "file": 2, "tree": 3, "version": 5}
BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32"}  # §6.2
BITS[8] = "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ"
BITS[64] = "C64 F64 I64 U64"
DTYPES = {name: bits for bits, names in BITS.items() for name in names.split()}
FORMS = {0xC4: ("bin", 1, 0), 0xC5: ("bin", 2, 1 << 8), 0xC6: ("bin", 4, 1 << 16)}
FORMS |= {0xCC: ("uint", 1, 1 << 7), 0xCD: ("uint", 2, 1 << 8), 0xCE: ("uint", 4, 1 << 16)}
FORMS |= {0xCF: ("uint", 8, 1 << 32), 0xD0: ("int", 1, 33), 0xD1: ("int", 2, (1 << 7) + 1)}
FORMS |= {0xD2: ("int", 4, (1 << 15) + 1), 0xD3: ("int", 8, (1 << 31) + 1), 0xCB: ("float", 8, 0)}
FORMS |= {0xD9: ("str", 1, 32), 0xDA: ("str", 2, 1 << 8), 0xDB: ("str", 4, 1 << 16)}
FORMS |= {0xDC: ("array", 2, 16), 0xDD: ("array", 4, 1 << 16)}
FORMS |= {0xDE: ("map", 2, 16), 0xDF: ("map", 4, 1 << 16)}  # §6: kind, width, least number
HEX16, CONTROL = r"[0-9a-f]{16}", r"\x00-\x1f\x7f-\x9f"
BANNED = re.compile(rf"[/\\{CONTROL}\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]|[ .]$")  # §6.4
DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9¹²³]) *(\..*)?", re.I | re.A)


class ReaderError(Exception):
    """The store cannot give what was asked for."""


class CorruptError(ReaderError):
    """Bytes break a rule of SPEC.md (§13, 5)."""


class UnsupportedError(ReaderError):
    """Bytes hold what only a newer reader may know (§12)."""


class MissingError(ReaderError):
    """The store holds no such revision or object (§4.5)."""


def need(rule: object, problem: str, error: type[ReaderError] = CorruptError) -> None:
    """Refuse, unless the rule holds."""
    if not rule:
        raise error(problem)


def digest(what: str, data: bytes) -> bytes:
    """Hash as §5.1 and §5.2 say: all but a chunk with a context string."""
    return (blake3(data, derive_key_context=f"mstore v1 {what}") if what != "chunk" else blake3(data)).digest()


def load(path: Path, limit: int) -> bytes:
    """Read a whole small file, but no more than its limit (§11)."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    need(len(data) <= limit, f"{path} is over the limit")
    return data


class Msgpack:
    """A decoder of msgpack in canonical form (§6)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.pos = data, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        need(size <= len(self.data) - self.pos, "msgpack ends too early")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def value(self, depth: int = 1) -> Any:
        """Decode one value, refusing all but its shortest form."""
        code = self.take(1)[0]
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code in {0xC0, 0xC2, 0xC3}:
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if code < 0xC0:
            kind = "map" if code < 0x90 else "array" if code < 0xA0 else "str"
            return self.build(kind, code & (31 if kind == "str" else 15), depth)
        need(code in FORMS, f"msgpack code {code:#x} is not canonical")
        kind, width, least = FORMS[code]
        number = int.from_bytes(self.take(width), "big", signed=kind == "int")
        need((-number if kind == "int" else number) >= least, f"msgpack: a {kind} is not shortest")
        return self.build(kind, number, depth)

    def build(self, kind: str, number: int, depth: int) -> Any:
        """Make a value of its size or bits; 17 levels are a map and the 16 of JSON in it (§11)."""
        if kind == "bin":
            return self.take(number)
        if kind == "str":
            try:
                return str(self.take(number), "utf-8")
            except UnicodeDecodeError as error:
                raise CorruptError("msgpack: a string is not UTF-8") from error
        if kind in {"array", "map"}:
            need(number <= len(self.data) - self.pos and depth <= 17, "msgpack: too long or deep")
            if kind == "array":
                return [self.value(depth + 1) for _ in range(number)]
            need(depth > 1 or number <= 64, "an object has too many fields")
            pairs = [(self.value(18), self.value(depth + 1)) for _ in range(number)]
            keys = [key for key, _ in pairs]
            need(all(type(key) is str for key in keys), "msgpack: a key is not a string")
            need(keys == sorted(set(keys)), "msgpack: keys are not in order")
            return dict(pairs)
        if kind == "float":
            result = struct.unpack(">d", number.to_bytes(8, "big"))[0]
            need(not math.isnan(result) or number == 0x7FF8 << 48, "msgpack: not the one NaN")
            return result
        return number


Check = Callable[[Any], bool]


def natural(stop: int = INTEGER, start: int = 0) -> Check:
    """Make a check for an integer of a range, both ends in it."""
    return lambda value: type(value) is int and start <= value <= stop


def each(check: Check) -> Check:
    """Make a check for an array whose values all pass one."""
    return lambda value: type(value) is list and all(map(check, value))


def row(*checks: Check) -> Check:
    """Make a check for an array with one value per check."""
    return lambda value: (
        type(value) is list
        and len(value) == len(checks)
        and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def known(names: str) -> Check:
    """Make a check for one of some words; another one is of a newer format (§12)."""

    def check(value: Any) -> bool:
        need(type(value) is not str or value in names.split(), f"unknown: {value}", UnsupportedError)
        return type(value) is str

    return check


def is_json(value: Any) -> bool:
    """Whether a value is a map of JSON (§6.5) of at most 100,000 values (§11)."""
    todo, count = [value], 0
    while todo:
        item = todo.pop()
        count += 1
        if type(item) is bytes:
            return False
        todo += [*item, *item.values()] if type(item) is dict else item if type(item) is list else []
    return type(value) is dict and count <= 100_000
