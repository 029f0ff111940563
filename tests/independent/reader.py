"""A reader of mstore stores, written from SPEC.md alone: `reader.py STORE NAME[@N] DEST`.

It takes no lock and writes nothing to the store (§4.3, I7). What is damaged, missing or newer is a
ValueError (§12, §13). A version is written below the new folder DEST; `decoders.py` has §8.
"""

import math
import mmap
import re
import struct
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import normalize

import msgspec
from blake3 import blake3
from decoders import NEWER, need, payload

# fmt: off
CHUNK, HEX, SPACES = 2**22, "[0-9a-f]" * 16, ["heads", "tags", "notes", "remotes"]  # §11, §4.1
KINDS = ("chunk", "tensor", "file", "tree", "", "version", "note", "record")  # §5.1, by code
LIMITS = {0: CHUNK, 1: 2**26, 2: 2**26, 3: 2**24, 5: 2**22, 6: 2**20, 7: 2**24}  # §11: payloads
BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ"
        " F8_E5M2FNUZ", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32", 64: "C64 F64 I64 U64"}  # §6.2
DTYPES = {name: bits for bits, names in BITS.items() for name in names.split()}
RELATIONS = "derived trained fine-tuned merged quantised sliced converted stripped reverted copied"
BANNED = re.compile(r"[/\\\0-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]|[ .]\Z")
DEVICE = re.compile(r"(?ai)(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9¹²³]) *([.].*)?")
PART = re.compile(r"(?!.*[.][.])(?!.*[.](lock)?\Z)(?![0-9A-Fa-f]{8,}\Z)[A-Za-z0-9][A-Za-z0-9._-]*")

def record(form: str | None = None, **fields: Any) -> Any:
    """Return the type of a map: of each field the type or, in a tuple, type and default (§6)."""
    rows = [(name, *rule) if type(rule) is tuple else (name, rule) for name, rule in fields.items()]
    rules = {"tag_field": form and "form", "tag": form, "kw_only": True, "omit_defaults": True}
    return msgspec.defstruct("Record", rows, forbid_unknown_fields=True, **rules)
ID = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
SIZE = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
SHAPE, ORIGIN = Annotated[list[SIZE], msgspec.Meta(max_length=16)], (tuple[str, str] | None, None)
TEXT, STRINGS, JSON, MAYBE = (str, ""), (list[str], []), (dict[str, Any], {}), (ID | None, None)
TYPES: Any = {  # §6.2 to §6.5, §9.2, §4.2
    "tensor": record(chunks=(bytes, b""), dtype=Literal[*DTYPES], shape=SHAPE),
    "file": record("opaque", chunks=(bytes, b""), size=SIZE, sizes=(list[SIZE], [])) | record(
        "tensors", format=Literal["safetensors", "torch", "gguf", "onnx", "numpy"], header=bytes,
        places=(list[SIZE], []), size=SIZE, tensors=(list[tuple[str, ID]], [])),
    "tree": record(entries=(list[tuple[str, Literal["file", "executable", "tree"], ID]], [])),
    "version": record(author=TEXT, code=MAYBE, dataset_ids=(dict[str, ID], {}), datasets=STRINGS,
        environment=MAYBE, logs=(list[ID], []), metadata=JSON, metrics=(dict[str, float], {}),
        model_hash=MAYBE, parameters=JSON, size=SIZE, tensor_count=(SIZE, 0), time=SIZE, tree=ID,
        parents=(list[tuple[ID, Literal[*RELATIONS.split()]]], []), tags=STRINGS, task=TEXT,
        message=TEXT, single=(bool, False)),
    "slot": record(author=str, full=(bool, False), generation=SIZE, place=TEXT, previous=bytes,
        reason=str, rows=list[tuple[SIZE, ID, Literal["kept", "stripped", "deleted"]]], ref=str,
        time=SIZE, transaction=bytes),
    "config": record(check=str, created=SIZE, format=SIZE, id=str, origin=ORIGIN)}
# fmt: on


def digest(what: str, raw: bytes) -> bytes:
    """Hash with a context string of §5.1 or §5.2; a chunk has none."""
    return blake3(raw, derive_key_context=None if what == "chunk" else f"mstore v1 {what}").digest()


def load(path: Path, limit: int) -> bytes:
    """Read a small file, up to its limit (§11)."""
    need(path.is_file() and path.stat().st_size <= limit, f"{path} is missing or over its limit")
    return path.read_bytes()


def json_values(value: Any, level: int = 1) -> int:
    """Count the values of JSON, keys included, and hold its levels against §11."""
    need(type(value) in {type(None), bool, int, float, str, list, dict}, "no JSON")
    if type(value) is float and math.isnan(value):
        need(struct.pack(">d", value) == b"\x7f\xf8" + bytes(6), "a NaN that is not the one")
    below = [*value, *value.values()] if type(value) is dict else value
    need(level <= 16 or type(below) is not list, "too deep: 16 levels of JSON in a field")
    return 1 + (sum(json_values(x, level + 1) for x in below) if type(below) is list else 0)


def decode(raw: bytes, what: str) -> Any:
    """Decode an object, a slot, or the config; all but one way to write it is refused (§6)."""
    form, body = (msgspec.json, raw[:-1]) if what == "config" else (msgspec.msgpack, raw)
    if what == "slot":  # §9.2
        need(raw[:8] == b"MSTORESL" and raw[-32:] == digest("slot", raw[:-32]), "slot: hash")
        body = raw[8:-32]
    try:
        value = form.decode(body, type=TYPES[what])
        again = form.encode(value, order="sorted")
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: a key that is no string
        newer = re.search("unknown field|Invalid (enum )?value", str(error))
        raise ValueError(f"{what}: {error}; {NEWER if newer else 'damaged'}") from error
    need(again == body and RULES[what](value), f"{what}: not canonical, or a field breaks a rule")
    return value


def ref_name(name: str) -> bool:
    """Whether a ref may have this name (§9.1)."""
    parts = name.split("/") if len(name) <= 200 else [""]
    return all(PART.fullmatch(part) and not DEVICE.fullmatch(part) for part in parts)


def chunk_sizes(each: Any) -> list[int]:
    """Return the sizes of the chunks of a tensor or an opaque file, held against §6.2 or §6.3."""
    if hasattr(each, "sizes"):
        good, sizes = sum(each.sizes) == each.size, each.sizes
    else:
        bits, shape = DTYPES[each.dtype], each.shape
        good = bits * math.prod(n or 1 for n in shape) <= 2**63 and max(shape, default=0) <= 2**40
        size, rest = divmod(bits * math.prod(shape), 8)
        need(rest == 0 and len(each.chunks) == 32 * -(-size // CHUNK), "tensor: size or chunks")
        sizes = [min(CHUNK, size - at) for at in range(0, size, CHUNK)]
    good = good and all(0 < size <= CHUNK for size in sizes)
    need(good and len(each.chunks) == 32 * len(sizes), "shape, size or chunks are wrong")
    return sizes


def good_file(file: Any) -> bool:
    """Whether a file with tensors obeys §6.3."""
    names, size = [name for name, _ in file.tensors], len(file.header)
    good = len(set(names)) == len(names) and all(0 < len(name.encode()) <= 512 for name in names)
    good = good and not re.search(r"[\0-\x1f\x7f-\x9f]", "".join(names))
    if file.format == "safetensors":
        good = good and not file.places and 8 <= size <= min(file.size, 8 + 2**24)
        return good and file.header[:8] == (size - 8).to_bytes(8, "little")
    need(file.places, f"another format without places; {NEWER}")
    order = list(zip(file.places, names, strict=True))
    return good and order == sorted(order) and file.places[-1] <= file.size >= size <= 2**24


def good_tree(tree: Any) -> bool:
    """Whether a tree obeys §6.4."""
    names = [name for name, _, _ in tree.entries]  # str sorts by code points, and so as UTF-8 does
    folded = {normalize("NFC", normalize("NFD", name).casefold()) for name in names}
    good = all(0 < len(name.encode()) <= 255 and name == normalize("NFC", name) for name in names)
    bad = any(BANNED.search(name) or DEVICE.fullmatch(name) for name in names)
    return good and not bad and names == sorted(names) and len(folded) == len(names)


def good_slot(slot: Any) -> bool:
    """Whether the body of a slot obeys §9.2."""
    numbers, (space, _, name) = [row[0] for row in slot.rows], slot.ref.partition("/")
    good = numbers == sorted(set(numbers)) and all(0 < number <= 2**32 for number in numbers)
    good = good and space in SPACES and ref_name(name) and slot.generation > 0
    return good and len(slot.previous) == 32 * (slot.generation > 1) and len(slot.transaction) == 16


# fmt: off
RULES: dict[str, Any] = {
    "file": lambda each: (chunk_sizes if hasattr(each, "sizes") else good_file)(each) is not False,
    "tree": good_tree, "slot": good_slot, "config": lambda each: each.format == 1
    and all(re.fullmatch(HEX * 2, text) for text in (each.id, *(each.origin or ())[1:])),
    "tensor": lambda each: chunk_sizes(each) is not None, "version": lambda each: max(
        map(json_values, (each.parameters, each.metadata, each.metrics))) <= 100_000}
# fmt: on


def read_index(pack: Any, name: str) -> Any:
    """Return the copies in a pack, whose name is verified: the rows, bases looked up (§7)."""
    need(len(pack) >= 48 and pack[:8] == pack[-8:] == b"MSTOREPK", "no pack")
    need(pack[8:12] == b"\1\0\0\0", f"another version of packs; {NEWER}")
    start, count, bases, zero = struct.unpack("<QIIQ", pack[-32:-8])
    table = start + 64 * count
    good = table + 32 * bases + 32 == len(pack) and bases <= count <= 2**26 and zero == 0
    need(good and digest("pack", pack[start:]).hex() == name, "pack: index or name")
    for row in struct.iter_unpack("<32sQIIBBHI8s", pack[start:table]):
        oid, offset, stored, raw, kind, codec, zero, base, check = row
        good = 0 < stored == raw and check == bytes(8) if codec == 0 else 0 < stored < raw
        good = good and zero == 0 and base <= bases and raw <= LIMITS.get(kind, raw)
        need(good and 16 <= offset <= start - stored, "pack: a row is wrong")
        below = pack[table + 32 * base - 32 : table + 32 * base] if base else None
        yield pack, oid, kind, below, offset, stored, raw, codec, check


class Store:
    """A store to read from (§4)."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.damage, self.places = Path(path), "", {}
        line = load(self.path / "config", 65536)
        newer = re.search(rb'"format":(?!1[,}])\d', line)
        need(not newer and line[-1:] == b"\n", f"the config is cut, or the format not 1; {NEWER}")
        check = digest("config", b"{" + line[44:])[:16].hex()  # §4.2: the first field is `check`
        need(decode(line, "config").check == check, "the config is damaged")

    def scan(self) -> None:
        """Read the indexes of live packs, then of condemned ones (§4.5)."""
        self.places, self.damage = {}, ""
        names = f"objects/{HEX * 4}.pack", f"condemned/{HEX}/{HEX * 4}.pack"
        for path in (path for name in names for path in self.path.glob(name)):
            try:
                with path.open("rb") as file:
                    pack = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                for copy in read_index(pack, path.stem):
                    self.places.setdefault(copy[1], []).append(copy)
            except (ValueError, FileNotFoundError) as error:  # hides its objects, no more
                self.damage += f"; {path}: {error}"

    def way(self, name: bytes, kind: int) -> Any:
        """Return the fewest copies that, decoded one from another, give an object (§7.4)."""
        ways, seen = [[copy] for copy in self.places.get(name, ()) if copy[2] == kind], {name}
        for way in ways:  # breadth first and each base once, so no circle is walked
            base = way[0][3]
            if base is None or len(way) > 64:
                return way if base is None else None
            copies = () if base in seen else self.places.get(base, ())
            ways += [[copy, *way] for copy in copies if copy[2] == 0]
            seen.add(base)
        return None

    def read(self, name: bytes, what: str) -> bytes:
        """Return an object from its first sound copies, their ids verified; look twice (§4.5)."""
        for attempt in range(3):
            if attempt:
                self.scan()
            while way := self.way(name, KINDS.index(what)):
                plain = None
                try:
                    for copy in way:
                        pack, oid, kind, _, offset, stored, raw, codec, check = copy
                        coded = pack[offset : offset + stored]
                        good = codec == 0 or digest("chunk", coded)[:8] == check
                        need(good and (codec < 2 or kind == 0), "an entry's check or codec")
                        plain = payload(codec, coded, raw, plain)
                        need(digest(KINDS[kind], plain) == oid, f"{oid.hex()} is damaged")
                except ValueError as error:  # the next way is without this copy
                    self.damage += f"; {error}"
                    self.places[copy[1]].remove(copy)
                else:
                    return plain
        raise ValueError(f"{what} {name.hex()} cannot be read{self.damage}")

    def table(self, ref: str) -> dict[int, bytes]:
        """Return the rows of a ref that are not deleted: number to version (§9.3)."""
        folder = self.path / "refs" / ref.replace("/", "%2F").replace("%2F", "/", 1)
        top = max(folder.glob("*"), key=bytes, default=Path("0" * 16)).name
        need(re.fullmatch(HEX, top), f"a foreign name in {folder}: {top!r}")
        generation, slots, wanted = int(top, 16), [], None
        while generation:
            raw = load(folder / f"{generation:016x}", 2**24)
            slot = decode(raw, "slot")
            good = (slot.ref, slot.generation) == (ref, generation) and wanted in {None, raw[-32:]}
            need(good, "slot: place, or not the one that the next one names")
            slots.append(slot.rows)
            generation, wanted = 0 if slot.full else generation - 1, slot.previous
        rows = {row[0]: row for rows in reversed(slots) for row in rows}.values()
        return {number: version for number, version, state in rows if state != "deleted"}

    def content(self, file: Any) -> Any:
        """Return the bytes of a file, piece by piece (§6.3)."""
        at, left, owner = 0, memoryview(getattr(file, "header", b"")), None
        for turn, (_, oid) in enumerate(getattr(file, "tensors", [("", b"")])):
            part = decode(self.read(oid, "tensor"), "tensor") if oid else file
            place = (getattr(file, "places", ()) or {turn: at or len(left)})[turn]
            if (sizes := chunk_sizes(part)) and owner != (place, oid):
                need(at <= place <= at + len(left), "a tensor's place")
                yield left[: place - at]
                left, at, owner = left[place - at :], place + sum(sizes), (place, oid)
                for number, size in enumerate(sizes):
                    chunk = self.read(part.chunks[32 * number : 32 * number + 32], "chunk")
                    need(len(chunk) == size, "a chunk has a wrong size")
                    yield chunk
        yield left


def read_version(source: Store, revision: str) -> Any:
    """Return the version that NAME or NAME@N means (§6.5, §9.4)."""
    name, at, digits = revision.partition("@")
    need(ref_name(name) and digits.isdecimal() == bool(at), f"no name: {revision}")
    rows = source.table(f"heads/{name}") or ({} if at else source.table(f"tags/{name}"))
    number = int(digits) if at else max(rows, default=0)
    need(number in rows, f"there is no {revision}")
    return decode(source.read(rows[number], "version"), "version")


def extract(store: str | Path, revision: str, dest: str | Path) -> None:
    """Write the files of a version below the new folder `dest` (Appendix B)."""
    source = Store(store)
    version = read_version(source, revision)
    left, count, todo = version.size, 0, [(Path(dest), version.tree, 0)]
    while todo:
        folder, tree, depth = todo.pop()
        entries = decode(source.read(tree, "tree"), "tree").entries
        count, alone = count + len(entries), [kind == "tree" for _, kind, _ in entries] == [False]
        need(depth <= 64 and count <= 10**6, "too many files, or too many folders in folders")
        need(alone or not version.single, "not the single file that its version says")
        folder.mkdir()  # this and `touch` make new paths only (§6.4)
        todo += [(folder / name, oid, depth + 1) for name, kind, oid in entries if kind == "tree"]
        for name, kind, oid in (each for each in entries if each[1] != "tree"):
            path, file = folder / name, decode(source.read(oid, "file"), "file")
            path.touch(0o777 if kind == "executable" else 0o666, exist_ok=False)
            with path.open("wb") as out:
                for piece in source.content(file):
                    left -= out.write(piece)
                    need(left >= 0, "the files are larger than their version says")
                need(out.tell() == file.size, f"{name}: size")
    need(left == 0, "the files are smaller than their version says")


if __name__ == "__main__":
    extract(*sys.argv[1:4])
