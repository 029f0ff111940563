"""What alignment costs on many small tensors: the figures of decisions/0003.

``python docs/measure_alignment.py`` stores models of 5,000 small tensors twice, once with every
raw chunk on a page of 4 KiB and once as SPEC §7.2 has it, and prints what the stores take.
"""

import json
import random
import struct
import tempfile
from pathlib import Path

import mstore
from mstore.format import pack

TENSORS = 5_000
MIXES = {
    "biases and norms, 768 B to 3 KiB": (768, 3 << 10),
    "LoRA factors, 4 to 48 KiB": (4 << 10, 48 << 10),
    "anything small, 64 B to 64 KiB": (64, 64 << 10),
}
PAGE = 4096


def write_model(path: Path, low: int, high: int) -> int:
    """A safetensors file of random tensors, sizes log-uniform; its payload in bytes."""
    numbers = random.Random(1)
    sizes = [int(low * (high / low) ** numbers.random()) // 2 * 2 for _ in range(TENSORS)]
    header: dict[str, object] = {}
    stop = 0
    for number, size in enumerate(sizes):
        place = [stop, stop + size]
        header[f"layer.{number}"] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": place}
        stop += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers.randbytes(stop))
    return stop


def stored(model: Path, store: Path, page_from: int) -> int:
    """Bytes by which a new store grows when raw chunks of ``page_from`` bytes go on pages."""
    pack.PAGE_FROM = page_from  # type: ignore[misc] # the one constant under test
    return mstore.init(store)[0].put(model, "model").stored_bytes


def main() -> None:
    """Print one line for each mix of sizes."""
    kept = pack.PAGE_FROM
    print(f"{'tensors':<36}{'payload':>10}{'all on pages':>20}{'from 64 KiB':>20}")
    for number, (name, (low, high)) in enumerate(MIXES.items()):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            payload = write_model(folder / "model.safetensors", low, high)
            pages = stored(folder / "model.safetensors", folder / f"pages{number}", 1)
            fine = stored(folder / "model.safetensors", folder / f"fine{number}", kept)
        cells = (f"{size / 1e6:.1f} MB (+{size / payload - 1:.0%})" for size in (pages, fine))
        print(f"{name:<36}{payload / 1e6:>7.1f} MB" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
