"""Rows on whole models: the first put, the put of what is there already, the get."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.measure import Run, in_turns, median_seconds
from bench.peers import Cp, Mstore, MstoreRaw, Peer
from bench.rows.base import (
    Bench,
    Contestants,
    Result,
    Table,
    Verdict,
    at_most,
    compare,
    faster_than_all,
    middle_ratio,
)
from bench.verify import count_files

Taken = dict[str, list[Run]]
COMPRESSING = ("borg", "restic", "hf-xet")


def _first_puts(bench: Bench, kinds: tuple[type[Peer], ...], source: Path) -> Contestants:
    def once(kind: type[Peer], number: int) -> Run:
        with bench.fresh(kind) as peer:
            peer.stage(source, "A")
            run = bench.run(peer.durable_put(source, "A"))
            if number == 0:
                bench.fetch(peer, source, "A")
            return run

    return {kind.name: partial(once, kind) for kind in kinds}


def first_put(bench: Bench) -> Result:
    """The first put of 1 GiB into an empty store, with everything on the disk at the end."""
    source = bench.files.model()
    size = source.stat().st_size
    kinds: tuple[type[Peer], ...] = (Mstore, MstoreRaw, *bench.peers)
    notes = {kind.name: kind.durable for kind in kinds}
    close = in_turns(_first_puts(bench, (MstoreRaw, Cp), source), bench.runs)
    wide = in_turns(_first_puts(bench, kinds, source), bench.few)
    ratio = middle_ratio(close, MstoreRaw.name, Cp.name)
    bound = "the disk: both wait for the same fsync of 1 GiB"
    raw = MstoreRaw.name
    return Result(
        "First put of 1 GiB of bf16",
        "An empty store each time; whole commands, the interpreter's start counted.",
        [compare(close, size, notes, raw), compare(wide, size, notes)],
        [
            at_most(
                "`--codec raw`: at most 1.3 x `cp` followed by `sync`", ratio, 1.3, bound=bound
            ),
            faster_than_all(
                wide, "`--codec raw`: faster than every peer made as durable", bound, ours=raw
            ),
            faster_than_all(
                wide,
                "default codec: faster than every peer made as durable",
                "encoding, on all cores",
            ),
        ],
        {name: median_seconds(runs) for name, runs in wide.items()},
    )


def put_again(bench: Bench) -> Result:
    """The put of a model that is there already, against just hashing it."""
    source = bench.files.model()
    size = source.stat().st_size
    with bench.fresh(Mstore) as peer:
        bench.fill(peer, source, "A")
        again = peer.put(source, "A")
        hashing = bench.task("hash_in_threads.py", source)
        runs = in_turns(
            {
                Mstore.name: lambda _: bench.run(again),
                "BLAKE3, two threads": lambda _: bench.run(hashing),
            },
            bench.runs,
        )
        bench.fetch(peer, source, "A")
    ratio = middle_ratio(runs, Mstore.name, "BLAKE3, two threads")
    bound = "start of the command and the durable check of what is already there"
    return Result(
        "Put of an unchanged model of 1 GiB",
        "The same file again, against a Python script that reads it in pieces of 4 MiB and hashes "
        "them by the `blake3` package on two threads; whole commands.",
        [compare(runs, size)],
        [at_most("at most 2 x hashing it with BLAKE3 on two threads", ratio, 2, bound=bound)],
    )


def get(bench: Bench) -> Result:
    """The whole model back as a file."""
    source = bench.files.model()
    kinds: tuple[type[Peer], ...] = (Mstore, MstoreRaw, *bench.peers)
    with ExitStack() as stack:
        peers = {kind.name: stack.enter_context(bench.fresh(kind)) for kind in kinds}
        for peer in peers.values():
            bench.fill(peer, source, "A")
        pair = {kind.name: peers[kind.name] for kind in (MstoreRaw, Cp)}
        close = in_turns(bench.fetching(pair, source, "A"), bench.runs)
        wide = in_turns(bench.fetching(peers, source, "A"), bench.few)
        durable = in_turns(bench.fetching(peers, source, "A", durable=True), bench.few)
    return _get_result(source.stat().st_size, close, wide, durable)


def _get_result(size: int, close: Taken, wide: Taken, durable: Taken) -> Result:
    raw = MstoreRaw.name
    durable_table = compare(durable, size, ours=raw)
    durable_table.lines[0][0] = "tool, then `sync -f`"
    ratio = middle_ratio(close, raw, Cp.name)
    bound = "writing into the page cache, which both do; the rest is hashing what is read"
    return Result(
        "Get of 1 GiB of bf16",
        "To a new file each time; every result compared with the original byte for byte. git-lfs, "
        "DVC: checkout into their working folder. In the last table each run is followed by "
        "`sync -f` of the file system it wrote to.",
        [compare(close, size, ours=raw), compare(wide, size, ours=raw), durable_table],
        [
            at_most("`--codec raw`: at most 1.5 x `cp`", ratio, 1.5, bound=bound),
            faster_than_all(wide, "`--codec raw`: faster than every peer", bound, ours=raw),
            faster_than_all(
                durable,
                "`--codec raw`: faster than every peer, each result on the disk",
                ours=raw,
            ),
            faster_than_all(
                wide,
                "default codec: faster than borg, restic and hf-xet",
                "decoding, on all cores",
                among=COMPRESSING,
            ),
        ],
        {name: median_seconds(runs) for name, runs in wide.items()},
    )


def files_written(bench: Bench) -> Result:
    """How many files a put leaves in the store."""
    source = bench.files.model()
    with bench.fresh(Mstore) as peer:
        before = count_files(peer.store)
        bench.fill(peer, source, "A")
        written = count_files(peer.store) - before
        bench.fetch(peer, source, "A")
    limit = 8 + -(-source.stat().st_size // (1 << 30))
    return Result(
        "Files written by a put",
        "Files in the store after the put of the model of 1 GiB, less those of the empty store.",
        [Table([["tensors' bytes", "files"], [f"{source.stat().st_size:,}", str(written)]])],
        [Verdict("at most 8, plus one per GiB", str(written), met=written <= limit)],
    )
