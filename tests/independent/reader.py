"""A reader of mstore stores, written from SPEC.md alone.

It takes no lock and writes nothing to the store (§4.3, I7). What is damaged, missing or newer is a
ValueError (§12, §13). `reader.py STORE NAME[@N] DEST` writes a version below the new folder DEST.
"""

import io
import json
import math
import mmap
import re
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unicodedata import normalize

from blake3 import blake3

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

# fmt: off
FORMS = {first + i: (kind, width << i, least) for kind, first, width, leasts in (
    ("bin", 0xC4, 1, (0, 2**8, 2**16)), ("uint", 0xCC, 1, (2**7, 2**8, 2**16, 2**32)),
    ("int", 0xD0, 1, (33, 2**7 + 1, 2**15 + 1, 2**31 + 1)), ("str", 0xD9, 1, (32, 2**8, 2**16)),
    ("map", 0x80, 0, range(16)), ("array", 0x90, 0, range(16)), ("str", 0xA0, 0, range(32)),
    ("array", 0xDC, 2, (16, 2**16)), ("map", 0xDE, 2, (16, 2**16)), ("float", 0xCB, 8, (0,)),
) for i, least in enumerate(leasts)}  # §6: code to kind, bytes of its number, least it is used for
NEWER, SIZE, CHUNK, OBJECT = "a newer reader may know it", range(2**63), 2**22, 2**26  # §12, §11
KINDS = {"chunk": 0, "tensor": 1, "file": 2, "tree": 3, "version": 5}  # §5.1
BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ"
        " F8_E5M2FNUZ", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32", 64: "C64 F64 I64 U64"}  # §6.2
DTYPES = {name: bits for bits, names in BITS.items() for name in names.split()}
RELATIONS = "derived fine-tuned merged quantised sliced converted stripped reverted"  # §6.5
SCHEMAS: dict[str, dict[str, tuple[Any, ...]]] = {  # §6.2 to §6.5, §9.2: rule and default
    "tensor": {"chunks": ("ids", b""), "dtype": (set(DTYPES),), "shape": ([range(2**40 + 1)],)},
    "opaque": {"chunks": ("ids", b""), "size": (SIZE,), "sizes": ([range(1, CHUNK + 1)], [])},
    "tensors": {"format": ({"safetensors"},), "header": (bytes,), "size": (SIZE,),
                "tensors": ([(str, "id")], [])},
    "tree": {"entries": ([(str, {"file", "executable", "tree"}, "id")], [])},
    "version": {"author": (str, ""), "datasets": ([str], []), "message": (str, ""),
                "metadata": ("json", {}), "metrics": ("metrics", {}), "model_hash": ("id", None),
                "parameters": ("json", {}), "parents": ([("id", set(RELATIONS.split()))], []),
                "single": (bool, False), "size": (SIZE,), "tags": ([str], []), "task": (str, ""),
                "tensor_count": (SIZE, 0), "time": (SIZE,), "tree": ("id",)},
    "slot": {"author": (str,), "full": (bool, False), "generation": (SIZE,), "place": (str, ""),
             "previous": ("ids",), "reason": (str,), "ref": (str,), "time": (SIZE,),
             "rows": ([(range(1, 2**32 + 1), "id", {"kept", "stripped", "deleted"})],),
             "transaction": (bytes,)}}
TESTS = {
    "id": lambda value: type(value) is bytes and len(value) == 32,
    "ids": lambda value: type(value) is bytes and len(value) % 32 == 0,
    "json": lambda value: type(value) is dict and json_values(value) <= 100_000,
    "metrics": lambda value: type(value) is dict and all(type(x) is float for x in value.values())}
# fmt: on
PACK = re.compile("(objects|condemned/[0-9a-f]{16})/[0-9a-f]{64}[.]pack")  # §4.1
BANNED = re.compile(r"[/\\\0-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]|[ .]\Z")
DEVICE = re.compile(r"(?ai)(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9¹²³]) *([.].*)?")
PART = re.compile(r"(?!.*[.][.])(?!.*[.](lock)?\Z)(?![0-9A-Fa-f]{8,}\Z)[A-Za-z0-9][A-Za-z0-9._-]*")


def need(holds: object, problem: str) -> None:
    """Refuse, unless a rule holds."""
    if not holds:
        raise ValueError(problem)


def digest(what: str, raw: bytes) -> bytes:
    """Hash with a context string of §5.1 or §5.2; a chunk has none."""
    context = None if what == "chunk" else f"mstore v1 {what}"
    return blake3(raw, derive_key_context=context).digest()


def load(path: Path, limit: int) -> bytes:
    """Read a small file, up to its limit (§11)."""
    need(path.is_file() and path.stat().st_size <= limit, f"{path} is missing or over its limit")
    return path.read_bytes()


def unpack(raw: io.BytesIO, depth: int = 1) -> Any:
    """Decode one msgpack value, refusing all but canonical form (§6) and what is over §11."""
    code = int.from_bytes(raw.read(1), "big")
    if code < 0x80 or code >= 0xE0 or code in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}.get(code, code - 256 * (code >= 0xE0))
    kind, width, least = FORMS.get(code, ("form that no value has", 0, -1))
    number = int.from_bytes(raw.read(width), "big", signed=kind == "int") if width else least
    need(abs(number) >= least and (number < 0) == (kind == "int"), f"msgpack: a long {kind}")
    if kind in {"bin", "str"}:
        return raw.read(number) if kind == "bin" else raw.read(number).decode()
    if kind == "float":
        need(number & SIZE[-1] <= 0x7FF0 << 48 or number == 0x7FF8 << 48, "msgpack: a NaN")
    if kind in {"int", "uint", "float"}:
        return struct.unpack(">d", number.to_bytes(8, "big"))[0] if kind == "float" else number
    need(depth <= 17 and number <= len(raw.getbuffer()), "too deep: 16 levels of JSON in a field")
    if kind == "array":
        return [unpack(raw, depth + 1) for _ in range(number)]
    need(depth > 1 or number <= 64, "an object has too many fields")
    pairs = [(unpack(raw, 18), unpack(raw, depth + 1)) for _ in range(number)]
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
        return type(value) is str
    if isinstance(rule, range):
        return type(value) is int and value in rule
    return TESTS[rule](value) if isinstance(rule, str) else type(value) is rule


def decode(payload: bytes, what: str) -> dict[str, Any]:
    """Decode an object, or the body of a slot; fields left out get their defaults (§6)."""
    raw = io.BytesIO(payload + b"\0")  # whoever reads past the end has read this byte too
    value = unpack(raw)
    need(type(value) is dict and raw.tell() == len(payload), f"{what} is not one map")
    if what == "file":
        need(fits(value.get("form"), {"opaque", "tensors"}), "file: no form")
        what = value.pop("form")
    need(value.keys() <= SCHEMAS[what].keys(), f"{what} has an unknown field; {NEWER}")
    for name, (rule, *default) in SCHEMAS[what].items():
        good = fits(value[name], rule) and [value[name]] != default if name in value else default
        need(good, f"{what}: {name} is wrong or missing")
        value.setdefault(name, *default)
    return value


def read_index(pack: mmap.mmap, name: str) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a pack's index, its name verified (§7)."""
    need(len(pack) >= 48 and pack[:8] == pack[-8:] == b"MSTOREPK", "no pack")
    need(pack[8:16] == b"\1" + bytes(7), f"another version of packs; {NEWER}")
    start, count, bases, zero = struct.unpack("<QIIQ", pack[-32:-8])
    fit = start + 64 * count + 32 * bases + 32 == len(pack) and bases <= count <= 2**26
    need(fit and zero == 0 and digest("pack", pack[start:]).hex() == name, "pack: index or name")
    for row in struct.iter_unpack("<32sQIIBBHI8s", pack[start : start + 64 * count]):
        _, offset, stored, raw, _, codec, zero, base, check = row
        good = 0 < stored == raw and check == bytes(8) if codec == 0 else 0 < stored < raw
        good = good and zero == 0 and base <= bases * (codec > 1)
        need(good and 16 <= offset <= start - stored, "pack: a row is wrong")
        yield row


def entry(name: bytes, what: str, pack: mmap.mmap, row: tuple[Any, ...]) -> bytes:
    """Return the payload of an entry, its id verified (§5.1, §7.3, §8)."""
    _, offset, stored, raw, kind, codec, _, _, check = row
    need(kind == KINDS[what] and codec < 2 and raw <= (OBJECT if 0 < kind < 5 else CHUNK), NEWER)
    payload = pack[offset : offset + stored]
    if codec == 1:
        frame = zstd.get_frame_info(payload)
        need(frame.decompressed_size == raw and not frame.dictionary_id, "zstd: a wrong frame")
        need(digest("chunk", payload)[:8] == check, "zstd: not the bytes that the index checks")
        decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})
        payload = decoder.decompress(payload, raw + 1)
        need(decoder.eof and not decoder.unused_data, "zstd: the frame ends elsewhere")
    need(digest(what, payload) == name, f"{what} {name.hex()} is damaged")
    return payload


class Store:
    """A store to read from (§4)."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.damage, self.places = Path(path), "", {}
        line = load(self.path / "config", 65536)
        need(line[:1] == b"{" and len(re.findall(rb"[\[{]", line)) < 64, "the config is damaged")
        config = json.loads(line)
        need(b'"format":1,"id":' in line, f"the format is not 1; {NEWER}")
        need(config.keys() <= {"check", "created", "format", "id", "origin"}, f"config: {NEWER}")
        check = digest("config", b"{" + line[44:])[:16].hex()  # §4.2: the first field is `check`
        need(line[:44] == f'{{"check":"{check}",'.encode(), "the config is damaged")

    def scan(self) -> None:
        """Read the indexes of live packs, then of condemned ones (§4.5)."""
        self.places, self.damage = {}, ""
        for path in [*self.path.glob("objects/*"), *self.path.glob("condemned/*/*")]:
            if PACK.fullmatch(path.relative_to(self.path).as_posix()):
                try:
                    with path.open("rb") as file:
                        pack = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    for row in read_index(pack, path.stem):
                        self.places.setdefault(row[0], []).append((pack, row))
                except (ValueError, FileNotFoundError) as error:  # hides its objects, no more
                    self.damage += f"; {path}: {error}"

    def read(self, name: bytes, what: str) -> bytes:
        """Return an object from its first sound place, its id verified; look twice (§4.5)."""
        for attempt in range(3):
            if attempt:
                self.scan()
            for pack, row in self.places.get(name, ()):
                try:
                    return entry(name, what, pack, row)
                except (ValueError, zstd.ZstdError) as error:
                    self.damage += f"; {error}"
        raise ValueError(f"{what} {name.hex()} cannot be read{self.damage}")

    def table(self, ref: str) -> dict[int, bytes]:
        """Return the rows of a ref that are not deleted: number to version (§9.3)."""
        folder = self.path / "refs" / ref.replace("/", "%2F").replace("%2F", "/", 1)
        names = [path.name for path in folder.glob("[0-9a-f]" * 16)]
        generation, slots, wanted = int(max(names, default="0"), 16), [], None
        while generation:
            raw = load(folder / f"{generation:016x}", 1 << 24)
            end = digest("slot", raw[:-32])
            need(raw[:8] == b"MSTORESL" and raw[-32:] == end == (wanted or end), "slot: hash")
            slot = decode(raw[8:-32], "slot")
            need((slot["ref"], slot["generation"]) == (ref, generation), "slot: place")
            numbers, wanted = [number for number, _, _ in slot["rows"]], slot["previous"]
            good = numbers == sorted(set(numbers)) and len(wanted) == 32 * (generation > 1)
            need(good and len(slot["transaction"]) == 16, "slot: rows, previous or transaction")
            slots.append(slot["rows"])
            generation = 0 if slot["full"] else generation - 1
        rows = {row[0]: row for rows in reversed(slots) for row in rows}.values()
        return {number: version for number, version, state in rows if state != "deleted"}

    def tensor(self, name: bytes) -> tuple[bytes, list[int]]:
        """Return the ids and the sizes of a tensor's chunks (§6.2)."""
        tensor = decode(self.read(name, "tensor"), "tensor")
        bits, shape = DTYPES[tensor["dtype"]], tensor["shape"]
        need(len(shape) <= 16 and bits * math.prod(n or 1 for n in shape) <= 2**63, "tensor: shape")
        size, rest = divmod(bits * math.prod(shape), 8)
        starts = range(0, size, CHUNK)
        need(rest == 0 and len(tensor["chunks"]) == 32 * len(starts), "tensor: chunks")
        return tensor["chunks"], [min(CHUNK, size - start) for start in starts]

    def content(self, file: dict[str, Any]) -> Iterator[bytes]:
        """Return the bytes of a file, piece by piece (§6.3)."""
        header, tensors = file.get("header", bytes(8)), file.get("tensors", [])
        need(8 + int.from_bytes(header[:8], "little") == len(header) <= 8 + (1 << 24), "header")
        need(len({n for n, _ in tensors if 0 < len(n.encode()) <= 512}) == len(tensors), "names")
        yield from [file["header"]] if "header" in file else []
        parts = [(file["chunks"], file["sizes"])] if "sizes" in file else []
        for ids, sizes in parts or (self.tensor(name) for _, name in tensors):
            need(len(ids) == 32 * len(sizes), "file: chunks")
            for at, size in enumerate(sizes):
                chunk = self.read(ids[32 * at : 32 * at + 32], "chunk")
                need(len(chunk) == size, "a chunk has a wrong size")
                yield chunk

    def entries(self, tree: bytes) -> list[list[Any]]:
        """Return the entries of a tree, their names verified (§6.4)."""
        entries = decode(self.read(tree, "tree"), "tree")["entries"]
        names = [name for name, _, _ in entries]
        folded = {normalize("NFC", normalize("NFD", name).casefold()) for name in names}
        need(names == sorted(names) and len(folded) == len(names), "tree: names")
        for name in names:
            good = 0 < len(name.encode()) <= 255 and name == normalize("NFC", name)
            need(good and not BANNED.search(name) and not DEVICE.fullmatch(name), f"name {name!r}")
        return entries


def read_version(store: str | Path, revision: str) -> dict[str, Any]:
    """Return the fields of the version that NAME or NAME@N means, with defaults (§6.5, §9.4)."""
    source, (name, at, digits) = Store(store), revision.partition("@")
    good = all(PART.fullmatch(part) and not DEVICE.fullmatch(part) for part in name.split("/"))
    need(good and len(name) <= 200 and digits.isdecimal() == bool(at), f"no name: {revision}")
    rows = source.table(f"heads/{name}") or ({} if at else source.table(f"tags/{name}"))
    number = int(digits) if at else max(rows, default=0)
    need(number in rows, f"there is no {revision}")
    return decode(source.read(rows[number], "version"), "version")


def extract(store: str | Path, revision: str, dest: str | Path) -> None:
    """Write the files of a version below the new folder `dest` (Appendix B)."""
    source, version = Store(store), read_version(store, revision)
    left, todo = version["size"], [(Path(dest), version["tree"])]
    while todo:
        folder, tree = todo.pop()
        folder.mkdir()  # this and "xb" make new paths only, so that no link is followed (§6.4)
        for name, kind, oid in source.entries(tree):
            if kind == "tree":
                todo.append((folder / name, oid))
                continue
            file = decode(source.read(oid, "file"), "file")
            left -= file["size"]
            need(left >= 0, "the files are larger than their version says")
            with (folder / name).open("xb") as out:
                for piece in source.content(file):
                    need(out.write(piece) and out.tell() <= file["size"], f"{name}: size")
                need(out.tell() == file["size"], f"{name}: size")
            (folder / name).chmod(0o755 if kind == "executable" else 0o644)
    need(left == 0, "the files are smaller than their version says")


if __name__ == "__main__":
    extract(*sys.argv[1:4])
