"""Generates the files that are measured: numbers like weights, from fixed seeds.

Usage: make_files.py KIND TARGET SCALE, where SCALE divides the sizes (1 is the real thing).
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint16]
Content = NDArray[np.uint16] | NDArray[np.float32]
Shape = tuple[int, ...]
Model = dict[str, Bits]

LAYERS_OF_VARIANTS = 8


def to_bf16(values: NDArray[np.float32]) -> Bits:
    """Rounds to the nearest bf16, ties to even, as its 16 bits."""
    wide = values.view(np.uint32)
    wide = wide + np.uint32(0x7FFF) + ((wide >> np.uint32(16)) & np.uint32(1))
    return (wide >> np.uint32(16)).astype(np.uint16)


def weights(rng: np.random.Generator, shape: Shape) -> Bits:
    """Normal numbers with the spread of a layer of this width; ones for a norm."""
    if len(shape) == 1:
        return to_bf16(1 + 0.05 * rng.standard_normal(shape, dtype=np.float32))
    spread = np.float32(0.02 if shape[0] > 8 * shape[1] else shape[1] ** -0.5)
    return to_bf16(rng.standard_normal(shape, dtype=np.float32) * spread)


def write_safetensors(
    path: Path, shapes: dict[str, Shape], contents: Iterator[Content], dtype: str = "BF16"
) -> None:
    """Writes tensors one after another, so that no more than one is in memory.

    `dtype` is BF16 or F32. The names come sorted, as the safetensors library lays
    files out; tensorfs keeps no other order.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = (2 if dtype == "BF16" else 4) * int(np.prod(shape))
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for content in contents:
            file.write(content.tobytes())


def write_model(path: Path, model: Model) -> None:
    """Writes a model that is in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = dict(sorted(model.items()))
    shapes = {name: content.shape for name, content in ordered.items()}
    write_safetensors(path, shapes, iter(ordered.values()))


def big_shapes(scale: int) -> dict[str, Shape]:
    """1 GiB of bf16: an embedding of 64 MiB and 30 layers of 32 MiB with tensors of 2 and 8 MiB."""
    shapes: dict[str, Shape] = {"embed.weight": (32768 // scale, 1024)}
    for layer in range(max(1, 30 // scale)):
        for name in ("q", "k", "v", "o"):
            shapes[f"layers.{layer}.attention.{name}.weight"] = (1024, 1024)
        for name in ("gate", "up", "down"):
            shapes[f"layers.{layer}.mlp.{name}.weight"] = (4096, 1024)
        shapes[f"layers.{layer}.norm.weight"] = (1024,)
    return dict(sorted(shapes.items()))


def make_model(target: Path, scale: int) -> None:
    """The model of 1 GiB as one safetensors file."""
    rng = np.random.default_rng(1)
    shapes = big_shapes(scale)
    write_safetensors(target, shapes, (weights(rng, shape) for shape in shapes.values()))


def make_large(target: Path, scale: int) -> None:
    """8 GiB of tensors of 64 MiB: one tile, its low mantissa bits mixed with a key per tensor."""
    rng = np.random.default_rng(2)
    shape = (32768 // scale, 1024)
    tile = weights(rng, shape)

    def mixed() -> Iterator[Bits]:
        for _ in range(128):
            yield tile ^ (rng.integers(0, 128, 1024, dtype=np.uint16))

    write_safetensors(target, {f"tile.{i:03}": shape for i in range(128)}, mixed())


def base_model(rng: np.random.Generator, scale: int) -> Model:
    """The model of the variants: 57 tensors, 168 MB, an embedding and 8 layers of 16 MiB."""
    width = 1024 // scale
    model = {"embed.weight": weights(rng, (16 * width, width))}
    for layer in range(LAYERS_OF_VARIANTS):
        for name in ("q", "k", "v", "o"):
            model[f"layers.{layer}.attention.{name}.weight"] = weights(rng, (width, width))
        for name in ("up", "down"):
            model[f"layers.{layer}.mlp.{name}.weight"] = weights(rng, (2 * width, width))
        model[f"layers.{layer}.norm.weight"] = weights(rng, (width,))
    return model


def nudged(rng: np.random.Generator, model: Model, fraction: float) -> Model:
    """Moves a fraction of the values of every tensor by one unit in the last place."""

    def move(bits: Bits) -> Bits:
        step = np.where(rng.random(bits.shape) < 0.5, 1, -1).astype(np.int16).view(np.uint16)
        return bits + np.where(rng.random(bits.shape) < fraction, step, np.uint16(0))

    return {name: move(bits) for name, bits in model.items()}


def retrained(rng: np.random.Generator, model: Model) -> Model:
    """New numbers in every tensor of one layer."""
    return {
        name: weights(rng, bits.shape) if name.startswith("layers.3.") else bits
        for name, bits in model.items()
    }


def write_shards(folder: Path, model: Model) -> None:
    """The same tensors in three files with an index, as large models are published."""
    names, index = sorted(model), {}
    for shard in range(3):
        file_name = f"model-{shard + 1:05}-of-00003.safetensors"
        chosen = names[shard * len(names) // 3 : (shard + 1) * len(names) // 3]
        write_model(folder / file_name, {name: model[name] for name in chosen})
        index.update(dict.fromkeys(chosen, file_name))
    size = sum(bits.nbytes for bits in model.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=2)
    (folder / "model.safetensors.index.json").write_text(text)


def make_variants(target: Path, scale: int) -> None:
    """The folders A to H: one model and seven things that happen to models."""
    rng = np.random.default_rng(3)
    base = base_model(rng, scale)
    rows = weights(rng, (8, base["embed.weight"].shape[1]))
    renamed = {f"model.{name}": bits for name, bits in base.items()}
    versions = {
        "A": base,
        "B": retrained(rng, base),
        "C": nudged(rng, base, 0.23),
        "D": {"added.weight": weights(rng, (1024,)), **renamed},
        "F": {**base, "embed.weight": np.concatenate([base["embed.weight"], rows])},
        "G": base,
        "H": nudged(rng, base, 0.015),
    }
    for label, model in versions.items():
        write_model(target / label / "model.safetensors", model)
    write_shards(target / "E", base)


def make_folder(target: Path, scale: int) -> None:
    """5,000 small files of words in 100 folders, most between 0.5 and 10 KB."""
    rng = np.random.default_rng(4)
    words = [bytes(rng.integers(97, 123, rng.integers(2, 10), dtype=np.uint8)) for _ in range(5000)]
    for number in range(5000 // scale):
        path = target / f"part-{number % 100:02}" / f"file-{number:04}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = int(np.clip(rng.lognormal(6, 1), 4, 20000))
        path.write_bytes(b" ".join(words[i] for i in rng.integers(0, len(words), count)))


def make_singles(target: Path, scale: int) -> None:
    """Ten models of 1 MiB that differ everywhere, for one more put each."""
    rng = np.random.default_rng(5)
    for number in range(max(1, 10 // scale)):
        model = {f"w{i}": weights(rng, (256, 256)) for i in range(8)}
        write_model(target / f"{number}.safetensors", model)


KINDS: dict[str, Callable[[Path, int], None]] = {
    "folder": make_folder,
    "large": make_large,
    "model": make_model,
    "singles": make_singles,
    "variants": make_variants,
}


def whole(make: Callable[[Path, int], None], target: Path, scale: int) -> None:
    """Makes `target` whole or not at all."""
    unfinished = target.with_name(target.name + ".unfinished")
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    make(unfinished, scale)
    unfinished.rename(target)


if __name__ == "__main__":
    whole(KINDS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
