"""Saying which package to install when a framework is not there."""

from collections.abc import Iterator
from contextlib import contextmanager

from mstore.errors import UnsupportedError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn an ImportError into UnsupportedError, which names the command that helps."""
    try:
        yield
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        problem = "is not installed" if missing else f"is of a version that does not fit: {error}"
        raise UnsupportedError(
            f"framework '{extra}' {problem}", hint=f"run: pip install 'mstore[{extra}]'"
        ) from error
