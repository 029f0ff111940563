"""What a put takes for the code, the machine and the packages that it takes down."""

import shutil
import statistics
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.measure import Command, Run, in_turns, spread
from bench.peers import Mstore
from bench.rows.base import Bench, Result, Table, Verdict
from bench.verify import count_files

_ALONE = "without capture"
_CLEAN = "a clean work tree"
_CHANGED = "a work tree with one changed file"


def capture(bench: Bench) -> Result:
    """Puts of 1 MiB from within a git repository of 5,000 files, with capture and without."""
    singles, source = bench.files.singles(), bench.files.folder()
    changed = min(path for path in source.rglob("*") if path.is_file()).relative_to(source)
    with ExitStack() as stack:
        peers = {
            label: stack.enter_context(bench.fresh(Mstore)) for label in (_ALONE, _CLEAN, _CHANGED)
        }
        trees = {label: _committed(bench, peer) for label, peer in peers.items()}

        def put(label: str, number: int) -> Run:
            if label == _CHANGED:
                with (trees[label] / changed).open("a") as file:
                    file.write(f"change {number}\n")
            words = ("mstore", "put", str(singles[number]), "--name", f"model-{number}")
            plain = ("--no-capture",) if label == _ALONE else ()
            env = {"MSTORE_STORE": str(peers[label].store)}
            return bench.run(Command((*words, *plain), trees[label], env))

        rounds = min(2 * bench.runs, len(singles))
        taken = in_turns({label: partial(put, label) for label in peers}, rounds)
    return _result(taken, count_files(source))


def _committed(bench: Bench, peer: Mstore) -> Path:
    """A git repository of small files, all committed; its files are older than git's index."""
    tree = peer.root / "code"
    shutil.copytree(bench.files.folder(), tree)
    time.sleep(2)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        # Git packs so many files on its own after a while, in the background.
        bench.run(Command(("git", "-c", "gc.auto=0", *words), tree))
    return tree


def _result(taken: dict[str, list[Run]], files: int) -> Result:
    lines = [["put of 1 MiB", "seconds", "added ms"]]
    verdicts = []
    for label, runs in taken.items():
        added = [1000 * (a.seconds - b.seconds) for a, b in zip(runs, taken[_ALONE], strict=True)]
        is_alone = label == _ALONE
        shown = "" if is_alone else spread(added, 0)
        lines.append([label, spread([run.seconds for run in runs], 3), shown])
        if not is_alone:
            middle = statistics.median(added)
            goal = f"{label}: adds at most 50 ms"
            verdicts.append(Verdict(goal, f"{middle:.0f} ms", met=middle <= 50))
    return Result(
        "What capture adds to a put",
        f"Whole commands, from within a git repository of {files:,} files, all committed; the same "
        "models in the same order into three stores, one put of each in turns.",
        [Table(lines)],
        verdicts,
    )
