"""Uploads and downloads files by hf-xet against a local endpoint.

Usage: xet.py put|get STORE LABEL.json PATH, where the label's file keeps the ids between the two.
"""

import json
import sys
from pathlib import Path

import hf_xet


def put(store: str, label: Path, source: Path) -> None:
    """Uploads a file, or every file of a folder, in one commit."""
    root = source.parent if source.is_file() else source
    paths = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
    commit = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}")
    handles = [commit.start_upload_file(str(p), sha256=hf_xet.SKIP_SHA256) for p in paths]
    commit.wait_to_finish()
    ids = [handle.result().xet_info for handle in handles]
    names = ["" if source.is_file() else str(path.relative_to(root)) for path in paths]
    rows = [(name, i.hash, i.file_size) for name, i in zip(names, ids, strict=True)]
    label.write_text(json.dumps(rows))


def get(store: str, label: Path, target: Path) -> None:
    """Downloads what `put` uploaded, at `target` or inside it."""
    group = hf_xet.XetSession().new_file_download_group(endpoint=f"local://{store}")
    for name, digest, size in json.loads(label.read_text()):
        path = target / name if name else target
        path.parent.mkdir(parents=True, exist_ok=True)
        group.start_download_file(hf_xet.XetFileInfo(digest, size), str(path))
    group.wait_to_finish()


if __name__ == "__main__":
    verb = {"put": put, "get": get}[sys.argv[1]]
    verb(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
