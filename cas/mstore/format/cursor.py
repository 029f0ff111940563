"""Reading a file from its first byte on, piece by piece, without holding it."""

from typing import Final

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.layout import MAX_LITERALS, Read

_BLOCK: Final = 1 << 16


class Cursor:
    """A place in a file of ``size`` bytes that moves as bytes are taken.

    It gives no more bytes than a file may have literal ones (SPEC §11); what is skipped is free.
    """

    def __init__(self, size: int, read: Read) -> None:
        self.at = 0
        self.size = size
        self._read = read
        self._block, self._start = b"", 0
        self._left = MAX_LITERALS

    def take(self, size: int) -> bytes:
        """The next bytes; CorruptError behind the end of the file."""
        self.skip(size)
        self._left -= size
        if self._left < 0:
            message = f"more than {MAX_LITERALS} bytes that belong to no tensor"
            raise UnsupportedError(message)
        start = self.at - size - self._start
        if start < 0 or start + size > len(self._block):
            self._start, start = self.at - size, 0
            self._block = self._read(self._start, min(max(size, _BLOCK), self.size - self._start))
        return self._block[start : start + size]

    def skip(self, size: int) -> None:
        """Pass over bytes; CorruptError behind the end of the file."""
        if size > self.size - self.at:
            message = f"{size} bytes at {self.at} are behind the end of the file"
            raise CorruptError(message)
        self.at += size

    def number(self, size: int) -> int:
        """The next bytes as an unsigned little-endian number."""
        return int.from_bytes(self.take(size), "little")
