"""Copies of tensors in memory of our own, made in about the time that copying bytes takes.

Memory that was never touched costs several times the copy itself (100 MB: 40 ms and more, then
8 ms), so what a copy was made in is used again by the next one.
"""

from collections.abc import Sequence
from pathlib import Path

from mstore.adapters import ArrayTensor, Outline
from mstore.ops.memory import mapped

_ALIGNMENT = 64


class Host:
    """Memory that holds the tensors of one step at a time."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    def copy(self, outlines: Sequence[Outline]) -> list[ArrayTensor]:
        """The tensors as they are now; good until the next call."""
        self._grow(sum(_room(outline) for outline in outlines))
        at, copies = 0, []
        for outline in outlines:
            content = self._memory[at : at + outline.size]
            outline.copy_into(content)
            copies.append(ArrayTensor(outline.name, outline.dtype, outline.shape, content))
            at += _room(outline)
        return copies

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self._memory)

    def reserve(self, size: int) -> None:
        """Have ``size`` bytes ready; the GIL is free meanwhile."""
        self._grow(size)
        at = 0
        with Path("/dev/zero").open("rb", buffering=0) as zeros:
            while at < size:
                at += zeros.readinto(self._memory[at:])

    def _grow(self, size: int) -> None:
        if size <= len(self._memory):
            return
        # The old memory goes before there is new.
        self._memory = memoryview(bytearray())
        self._memory = mapped(size)


def _room(outline: Outline) -> int:
    return -(-outline.size // _ALIGNMENT) * _ALIGNMENT
