"""Prints the speed of copying and of hashing on one thread, in GiB/s, as JSON.

What depends on the processor is measured together with these two, so that it can be scaled.
"""

import json

import blake3
import numpy as np
from limits import best

SIZE = 256 << 20


def speeds() -> dict[str, float]:
    """The best of a few."""
    content = np.random.default_rng(0).integers(0, 1 << 63, SIZE // 8, dtype=np.int64)
    target = np.ones_like(content)
    view = memoryview(content.data).cast("B")[: SIZE // 4]
    return {
        "memcpy": best(lambda: np.copyto(target, content), SIZE),
        "BLAKE3": best(lambda: blake3.blake3(view).digest(), SIZE // 4),
    }


if __name__ == "__main__":
    print(json.dumps(speeds()))
