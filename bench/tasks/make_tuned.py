"""Generates models of 1 and 4 GiB and their fine-tunes: numbers like weights, from fixed seeds.

Usage: make_tuned.py KIND TARGET SCALE, where SCALE divides the sizes (1 is the real thing). The
fine-tune of a model is made from the file of that model, which must lie beside TARGET.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from make_files import Bits, Content, Shape, big_shapes, to_bf16, weights, whole, write_safetensors
from numpy.typing import NDArray

# How far training moves a weight, as a multiple of the spread of its tensor: at this a quarter of
# the bf16 values changes, as measured after twenty to sixty steps of AdamW at 2e-5.
STEP = np.float32(7e-4)
WIDE_TENSORS = 64


def tensors_of(path: Path) -> Iterator[tuple[str, str, Shape, Content]]:
    """Name, dtype, shape and bits of every tensor of a file, one at a time."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, row in header.items():
            if name != "__metadata__":
                start, stop = row["data_offsets"]
                kind = "<u2" if row["dtype"] == "BF16" else "<f4"
                content = np.frombuffer(file.read(stop - start), kind)
                yield name, row["dtype"], tuple(row["shape"]), content


def moved(rng: np.random.Generator, content: Content) -> Content:
    """The numbers after a short training: each a little off, what was lost in rounding included."""
    if content.dtype == np.float32:
        exact = content.astype(np.float32)
    else:
        low = rng.integers(0, 1 << 16, content.shape, dtype=np.uint32)
        wide = (content.astype(np.uint32) << np.uint32(16)) + low - np.uint32(1 << 15)
        exact = wide.view(np.float32)
    noise = rng.standard_normal(exact.shape, dtype=np.float32)
    exact = exact + noise * (STEP * np.std(exact))
    found: Content = exact if content.dtype == np.float32 else to_bf16(exact)
    return found


def make_fine_tune(target: Path, base: str) -> None:
    """The fine-tune of the model in the file `base` beside `target`."""
    rng = np.random.default_rng(7)
    source = target.with_name(base)
    shapes = {name: shape for name, _, shape, _ in tensors_of(source)}
    dtype = next(tensors_of(source))[1]
    contents = (moved(rng, content) for _, _, _, content in tensors_of(source))
    write_safetensors(target, shapes, contents, dtype)


def make_model32(target: Path, scale: int) -> None:
    """The model of 1 GiB as fp32: half of its layers, with numbers that use all their bits."""
    rng = np.random.default_rng(8)
    shapes = big_shapes(2 * scale)

    def numbers(shape: Shape) -> NDArray[np.float32]:
        found: NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32)
        found *= np.float32(shape[-1] ** -0.5)
        return found

    write_safetensors(target, shapes, (numbers(shape) for shape in shapes.values()), "F32")


def wide_tensors(scale: int, *, tuned: bool) -> Iterator[Bits]:
    """64 tensors of 64 MiB: one tile, its low mantissa bits mixed anew in each.

    When `tuned`, a quarter of the values has moved by one unit in the last place.
    """
    rng = np.random.default_rng(9)
    tile = weights(rng, (32768 // scale, 1024))
    way = np.where(rng.random(tile.shape) < 0.5, 1, -1).astype(np.int16).view(np.uint16)
    move = np.where(rng.random(tile.shape) < 0.25, way, np.uint16(0))
    for number in range(WIDE_TENSORS):
        mixed = tile ^ rng.integers(0, 128, 1024, dtype=np.uint16)
        yield mixed + np.roll(move, number, axis=0) if tuned else mixed


def make_wide(target: Path, scale: int, *, tuned: bool = False) -> None:
    """4 GiB of bf16, or its fine-tune."""
    shapes = {f"tile.{number:03}": (32768 // scale, 1024) for number in range(WIDE_TENSORS)}
    write_safetensors(target, shapes, wide_tensors(scale, tuned=tuned))


KINDS = {
    "model32": make_model32,
    "tuned": lambda target, _: make_fine_tune(target, "model.safetensors"),
    "tuned32": lambda target, _: make_fine_tune(target, "model32.safetensors"),
    "wide": make_wide,
    "wide-tuned": lambda target, scale: make_wide(target, scale, tuned=True),
}


if __name__ == "__main__":
    whole(KINDS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
