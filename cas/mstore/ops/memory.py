"""Memory for what is read, in huge pages where there are any.

The kernel takes longer to hand out 4 KiB pages one after another than decoding takes to fill them.
"""

import mmap

SLAB = 32 << 20
"""Bytes that small pieces share. They go back when the last of the pieces has gone."""
_ALIGNMENT = 64


class Arena:
    """Hands out fresh memory, all zero; nothing is taken from it twice."""

    def __init__(self, total: int) -> None:
        """``total`` is about how many bytes will be asked for in all."""
        self._left = total
        self._slab = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """``size`` writable bytes, starting on a multiple of 64."""
        self._left = max(self._left - size, 0)
        if size >= SLAB:
            return mapped(size)
        if len(self._slab) < size:
            self._slab = mapped(min(SLAB, size + self._left))
        taken = self._slab[:size]
        self._slab = self._slab[-(-size // _ALIGNMENT) * _ALIGNMENT :]
        return taken


def mapped(size: int) -> memoryview:
    """``size`` bytes in pages of their own."""
    if size < mmap.PAGESIZE:
        return memoryview(bytearray(size))
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(mmap.mmap(-1, size))
    # Private: the shared memory that mmap gives by default is slower to touch first.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)
