"""The rows of the requirements: one function each, which measures and gives a `Result`."""

from collections.abc import Callable

from bench.rows.archived import archive, bits
from bench.rows.base import Bench, Result, failed
from bench.rows.capturing import capture
from bench.rows.catalogue import search
from bench.rows.comparing import diff, infer
from bench.rows.encoding import codec, first
from bench.rows.forward import forward
from bench.rows.growth import tunes, variants
from bench.rows.many import folder, many, start
from bench.rows.memory import memory, memory_coded
from bench.rows.reading import load, one_tensor, threads
from bench.rows.steps import steps
from bench.rows.tuned import tune_load, tune_put
from bench.rows.whole import files_written, first_put, get, put_again

ROWS: dict[str, Callable[[Bench], Result]] = {
    "tunes": tunes,
    "first": first,
    "variants": variants,
    "codec": codec,
    "tune-put": tune_put,
    "tune-load": tune_load,
    "memory-coded": memory_coded,
    "archive": archive,
    "bits": bits,
    "steps": steps,
    "put": first_put,
    "put-again": put_again,
    "get": get,
    "load": load,
    "tensor": one_tensor,
    "memory": memory,
    "files": files_written,
    "folder": folder,
    "many": many,
    "diff": diff,
    "infer": infer,
    "search": search,
    "capture": capture,
    "start": start,
    "threads": threads,
    "forward": forward,
}

__all__ = ["ROWS", "Bench", "Result", "failed"]
