"""Rows on codecs: a first version alone, a fine-tune as a difference, and how fast both are."""

import json
from itertools import pairwise
from typing import Any

from bench.installing import PYTHON_PEERS
from bench.peers import Mstore, MstoreSmall
from bench.rows.base import (
    Bench,
    Result,
    Table,
    Verdict,
    at_least,
    at_most,
    scale_words,
)
from bench.verify import size_on_disk

MB = 10**6
FIRST_LIMITS = {"bf16": 0.670, "fp32": 0.835, "fp16": 0.86}
PAIR_LIMIT = 0.80
KINDS = ("bf16", "fp32", "fp16")
WAYS = ("encode 1", "encode 2", "decode 1", "decode 2")
Pair = dict[str, Any]


def first(bench: Bench) -> Result:
    """One first version, by mstore and by codecs that know nothing of stores."""
    lines = [["codec", "bytes, MB", "of the file", "seconds of encoding"]]
    verdicts = []
    for kind, limit in FIRST_LIMITS.items():
        source = bench.files.tunes(kind)["base"]
        size = size_on_disk(source)
        ratios = {}
        for ours in (Mstore, MstoreSmall):
            with bench.fresh(ours) as peer:
                run = bench.fill(peer, source, "A")
                bench.fetch(peer, source, "A")
                stored = peer.stored()
            ratios[ours] = stored / size
            name = f"{kind}: {ours.name}, the whole store"
            cells = [f"{stored / MB:.2f}", f"{ratios[ours]:.4f}", f"{run.seconds:.2f}"]
            lines.append([name, *cells])
        command = bench.task("first.py", source / "model.safetensors", kind)
        for name, found in json.loads(bench.run(command).output.splitlines()[-1])["ways"].items():
            cells = [f"{found['bytes'] / MB:.2f}", f"{found['bytes'] / size:.4f}"]
            lines.append([f"{kind}: {name}", *cells, f"{found['seconds']:.2f}"])
        bound = f"{ratios[MstoreSmall]:.4f} with `--codec small`"
        verdicts.append(
            at_most(f"{kind}: at most {limit} of the file", ratios[Mstore], limit, "", bound)
        )
    return Result(
        "One first version",
        "all-MiniLM-L6-v2 as published, and cast to 16 bits. mstore: everything in the store but "
        "`cache/`, seconds of the whole command. The others: the tensors one after another on one "
        "thread, without header or store; seconds of the codec alone. All are decoded and "
        f"compared. {PYTHON_PEERS['zipnn']} is given a copy of each tensor: it changes what it is "
        "given.",
        [Table(lines)],
        verdicts,
    )


def _pairs(bench: Bench) -> list[list[str]]:
    """Label, base and tuned file of every pair that is measured."""
    found = []
    for kind in ("bf16", "fp32"):
        steps = bench.files.series(kind)
        near = pairwise(steps)
        for base, tuned in (*near, (steps[0], steps[-1])):
            found.append((f"{kind}: {base.name} to {tuned.name}", base, tuned))
    for kind in KINDS:
        tunes = bench.files.tunes(kind)
        base = tunes.pop("base")
        found += [(f"{kind}: {label}", base, tuned) for label, tuned in tunes.items()]
    variants = bench.files.variants()
    found += [(f"bf16: variant {letter}", variants["A"], variants[letter]) for letter in "CH"]
    name = "model.safetensors"
    return [[label, str(base / name), str(tuned / name)] for label, base, tuned in found]


def codec(bench: Bench) -> Result:
    """Differences against the fast codec that others use, and speeds."""
    asked = bench.places.work / "pairs.json"
    pairs = _pairs(bench)
    asked.write_text(json.dumps(pairs[:: 5 if bench.places.quick else 1]))
    run = bench.run(bench.task("pairs.py", bench.places.work, asked))
    found: list[Pair] = json.loads(run.output.splitlines()[-1])
    lines = [["pair", "size", "XOR + planes + zstd-1", "mstore", "small", "mstore / XOR"]]
    for pair in found:
        cells = [f"{pair[key] / MB:.2f}" for key in ("size", "reference", "auto", "small")]
        lines.append([pair["label"], *cells, f"{pair['auto'] / pair['reference']:.3f}"])
    tables, verdicts = _speeds(bench)
    return Result(
        "Differences, and the speed of the codecs",
        "First table, MB: what a store with the base grows by, everything but `cache/`, against "
        "XOR with the base, byte planes and zstd-1 of every tensor (the fast codec of ZipLLM and "
        "TensorDex) without header or store; both decoded and compared. Other tables, GiB/s of "
        "original bytes: chunks of 4 MiB of the model of 1 GiB and of its fine-tune, in memory, "
        "decoded into arrays that are there; encode 2 is on two threads.",
        [Table(lines), *tables],
        [*_pair_verdicts(found), *verdicts],
        {pair["label"]: pair["auto"] / pair["size"] for pair in found},
    )


def _pair_verdicts(found: list[Pair]) -> list[Verdict]:
    larger = [pair["label"] for pair in found if pair["auto"] >= pair["reference"]]
    words = f"not on {', '.join(larger)}" if larger else f"on all {len(found)}"
    verdicts = [Verdict("smaller on every pair", words, met=not larger)]
    for kind in ("fp32", "bf16"):
        mine = [pair for pair in found if pair["label"].startswith(kind)]
        for name, part in (("all pairs", mine), ("the real series", _series(mine))):
            if not part:
                continue
            theirs = sum(pair["reference"] for pair in part)
            ours = sum(pair["auto"] for pair in part) / theirs
            small = sum(pair["small"] for pair in part) / theirs
            goal = f"{kind}, {name} together: at most {PAIR_LIMIT:.2f} of its size"
            bound = f"{small:.3f} with `--codec small`"
            verdicts.append(at_most(goal, ours, PAIR_LIMIT, "", bound))
    return verdicts


def _series(found: list[Pair]) -> list[Pair]:
    return [pair for pair in found if " to " in pair["label"]]


def _speeds(bench: Bench) -> tuple[list[Table], list[Verdict]]:
    files = bench.files
    tables, verdicts = [], []
    size = 16 if bench.places.quick else 128
    for kind, width, model, tuned in (
        ("bf16", 2, files.model(), files.tuned()),
        ("fp32", 4, files.model32(), files.tuned32()),
    ):
        run = bench.run(bench.task("codec_speed.py", model, tuned, width, size))
        found = json.loads(run.output.splitlines()[-1])
        lines = [[f"{kind}; {scale_words(found['speeds'])}", *WAYS, "ratio"]]
        for name, row in found["codecs"].items():
            lines.append([name, *(f"{row[way]:.2f}" for way in WAYS), f"{row['ratio']:.3f}"])
        tables.append(Table(lines))
        if kind == "bf16":
            speed = found["codecs"]["split-float"]["encode 2"]
            goal = "encoding of a first version of bf16: at least 1.2 GiB/s on two threads"
            bound = "zstd's Huffman coder, on one byte of two, and taking the bytes apart"
            verdicts.append(at_least(goal, speed, 1.2, found["speeds"], bound))
    return tables, verdicts
