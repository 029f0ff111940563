"""Texts written outside the store: whole or not at all."""

from pathlib import Path

from mstore.backends.checkout import Checkout


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file; ExistsError when something stands there, unless ``force`` replaces a file."""
    content = text.encode()
    with Checkout(path, folder=False, force=force, durable=False) as checkout:
        with checkout.create(size=len(content)) as file:
            file.write_at(0, content)
        checkout.place()
