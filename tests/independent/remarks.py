"""What was said of a version, and how it was made, read by SPEC.md alone: `remarks.py STORE NAME`.

Prints the notes (§6.8) and the records (§6.9) of a version as JSON; `reader.py` has the rest.
"""

import json
import re
import struct
import sys
from typing import Any

from reader import (
    ID,
    JSON,
    MAYBE,
    RULES,
    SIZE,
    STRINGS,
    TEXT,
    TYPES,
    Store,
    decode,
    json_values,
    read_version,
    record,
)

# fmt: off
TYPES |= {
    "note": record(
        author=TEXT, dataset=TEXT, dataset_id=MAYBE, message=TEXT, metadata=JSON, tags=STRINGS,
        metrics=(dict[str, float], {}), retracts=MAYBE, split=TEXT, step=(SIZE | None, None),
        time=SIZE, topic=TEXT, version=ID),
    "record": record("code", branch=TEXT, commit=str, folder=TEXT, omitted=TEXT, patch=(bytes, b""),
                     remote=TEXT, tree=TEXT)
    | record("environment", command=STRINGS, hardware=JSON, packages=(dict[str, str], {}),
             platform=TEXT, python=TEXT, seeds=(dict[str, int], {}))
    | record("log", series=(list[tuple[str, bytes, bytes, bytes]], []), source=str)}
# fmt: on


def good_note(note: Any) -> bool:
    """Whether a note obeys §6.8 and §11."""
    return max(map(json_values, (note.metadata, note.metrics))) <= 100_000


def good_record(each: Any) -> bool:
    """Whether a record obeys §6.9 and §11."""
    if hasattr(each, "commit"):
        ids = all(re.fullmatch("([0-9a-f]{40}|[0-9a-f]{64})?", x) for x in (each.commit, each.tree))
        return ids and not (each.patch and each.omitted)
    if hasattr(each, "seeds"):
        return max(map(json_values, (each.hardware, each.packages, each.seeds))) <= 100_000
    sizes = [(len(steps), len(values), len(times)) for _, steps, values, times in each.series]
    good = all(a == b and c in {0, a} and a % 8 == 0 for a, b, c in sizes)
    return good and len({name for name, *_ in each.series}) == len(each.series)


RULES |= {"note": good_note, "record": good_record}


def notes(store: Store, oid: bytes) -> list[Any]:
    """Return the notes about a version in their order, without what was taken back (§6.8)."""
    rows = store.table(f"notes/{oid[:1].hex()}") if (store.path / "refs/notes").is_dir() else {}
    found = {one: decode(store.read(one, "note"), "note") for one in rows.values()}
    about = {one: note for one, note in found.items() if note.version == oid}
    gone = {note.retracts for note in about.values()}
    kept = [(n.time, one, n) for one, n in about.items() if one not in gone and n.retracts is None]
    return [note for _, _, note in sorted(kept, key=lambda row: row[:2])]


def series(log: Any) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of every series of a log (§6.9)."""
    pairs = ((name, f"<{len(s) // 8}q", s, f"<{len(v) // 8}d", v) for name, s, v, _ in log.series)
    return {
        n: list(zip(struct.unpack(a, s), struct.unpack(b, v), strict=True))
        for n, a, s, b, v in pairs
    }


if __name__ == "__main__":
    source = Store(sys.argv[1])
    version = read_version(source, sys.argv[2])
    rows = source.table(f"heads/{sys.argv[2].partition('@')[0]}")
    at = int(sys.argv[2].partition("@")[2] or max(rows))
    said = [
        [note.time, note.author, note.message, note.metrics] for note in notes(source, rows[at])
    ]
    logs = [decode(source.read(oid, "record"), "record") for oid in version.logs]
    print(json.dumps({"notes": said, "series": [series(log) for log in logs]}))  # noqa: T201 - a script
