"""Copies of tensors in memory of our own, made in about the time that copying bytes takes.

Memory that was never touched costs several times the copy itself (100 MB: 40 ms and more, then
8 ms), so what a copy was made in is used again by the next one. The first has to pay; a thread
touches the second half of it meanwhile.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mstore.adapters import ArrayTensor, Outline
from mstore.ops.memory import mapped

_ALIGNMENT = 64
_WORTH_A_THREAD = 4 << 20


class Host:
    """Memory that holds the tensors of one step at a time."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    def copy(self, outlines: Sequence[Outline]) -> list[ArrayTensor]:
        """The tensors as they are now; good until the next call."""
        size = sum(_room(outline) for outline in outlines)
        half = size // 2
        touching = self._touch_from(half) if self._grow(size) and size > _WORTH_A_THREAD else None
        at, copies = 0, []
        try:
            for outline in outlines:
                if touching is not None and at + outline.size > half:
                    touching.join()
                content = self._memory[at : at + outline.size]
                outline.copy_into(content)
                copies.append(ArrayTensor(outline.name, outline.dtype, outline.shape, content))
                at += _room(outline)
        finally:
            if touching is not None:
                touching.join()
        return copies

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self._memory)

    def reserve(self, size: int) -> None:
        """Have ``size`` bytes ready; the GIL is free meanwhile."""
        self._grow(size)
        _touch(self._memory[:size])

    def _grow(self, size: int) -> bool:
        """Whether the memory is new."""
        if size <= len(self._memory):
            return False
        # The old memory goes before there is new.
        self._memory = memoryview(bytearray())
        self._memory = mapped(size)
        return True

    def _touch_from(self, start: int) -> threading.Thread:
        """A thread that touches the memory behind ``start``, where nothing is yet."""

        def touch() -> None:
            with suppress(OSError):  # untouched memory only takes longer
                _touch(self._memory[start:])

        thread = threading.Thread(target=touch, name="mstore-touch")
        thread.start()
        return thread


def _touch(memory: memoryview) -> None:
    """Fill memory with zeros by the kernel, which needs no GIL."""
    at = 0
    with Path("/dev/zero").open("rb", buffering=0) as zeros:
        while at < len(memory):
            at += zeros.readinto(memory[at:])


def _room(outline: Outline) -> int:
    return -(-outline.size // _ALIGNMENT) * _ALIGNMENT
