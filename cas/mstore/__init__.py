"""mstore: git for neural networks.

>>> import mstore
>>> store, _ = mstore.init("models.store")                  # doctest: +SKIP
>>> store.put({"w": array}, name="lenet")                   # doctest: +SKIP
>>> store.load("lenet")["w"]                                # doctest: +SKIP
"""

from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from mstore.store import Store, dequantise, load
from mstore.store import clone_store as clone
from mstore.store import init_store as init
from mstore.store import open_store as open  # noqa: A004 - as in ``gzip.open``

__version__ = "0.1.0"

__all__ = [
    "ConflictError",
    "CorruptError",
    "ExistsError",
    "InvalidInputError",
    "MstoreError",
    "NotFoundError",
    "StorageError",
    "Store",
    "UnsupportedError",
    "clone",
    "dequantise",
    "init",
    "load",
    "open",
]
