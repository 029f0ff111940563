"""Which format a file has, told by its bytes alone, and its tensors (SPEC §6.3).

What a parser does not know for sure it refuses; then the file is kept as bytes.
"""

from mstore.errors import UnsupportedError
from mstore.format.layout import Outline, Read


def outline_of(size: int, read: Read) -> Outline:
    """The tensors of a file of ``size`` bytes that is not safetensors, and its literal bytes.

    CorruptError for a file that breaks the rules of its format, UnsupportedError for one whose
    tensors cannot be located. ``read`` is asked for little more than the literal bytes.
    """
    del size, read
    message = "no format that is known"
    raise UnsupportedError(message)
