"""How this program's memory is kept between one chunk and the next."""

import ctypes

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""Numbers of glibc's ``malloc.h``."""

_KEPT = 128 << 20
_MAPPED = 16 << 20


def keep_freed_memory() -> None:
    """Let malloc keep what is freed rather than give it back to the kernel each time.

    Encoding a chunk takes and frees arrays of several megabytes; that their pages come fresh from
    the kernel each time takes as long as half of the encoding. Changes nothing where the C
    library has no ``mallopt``. For programs of our own only: a library has no say in this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAPPED)
        mallopt(_TRIM_THRESHOLD, _KEPT)
