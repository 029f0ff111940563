"""The rows of the requirements: one function each, which measures and gives a `Result`."""

from collections.abc import Callable

from bench.rows.base import Bench, Result
from bench.rows.growth import series, variants
from bench.rows.many import folder, many, start
from bench.rows.memory import memory
from bench.rows.reading import load, one_tensor, threads
from bench.rows.whole import files_written, first_put, get, put_again

ROWS: dict[str, Callable[[Bench], Result]] = {
    "put": first_put,
    "put-again": put_again,
    "get": get,
    "load": load,
    "tensor": one_tensor,
    "memory": memory,
    "files": files_written,
    "variants": variants,
    "series": series,
    "folder": folder,
    "many": many,
    "start": start,
    "threads": threads,
}

__all__ = ["ROWS", "Bench", "Result"]
