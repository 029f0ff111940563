"""Trains a network of 50 million weights with AdamW at 1e-5 and checkpoints every step.

Usage: train_steps.py STORE STEPS WIDTH, where WIDTH 1024 is the real thing. The weights are held in
fp32, the state that is stored is their bf16 form (100 MB). The task is to learn which token follows
which in a fixed random text. Training has one thread, as beside an accelerator; the store has what
is left. Prints JSON: the seconds that each call of `checkpoint` held the training thread, those in
which it waited until an earlier step was stored, those of whole steps, and the bytes given and
stored. Every step is loaded again and compared by its hash.
"""

import json
import sys
import time
from pathlib import Path

import blake3
import torch
from references import flat
from torch import nn

import mstore

BATCH, RATE, LAYERS = 128, 1e-5, 5
State = dict[str, torch.Tensor]


class Network(nn.Module):
    """An embedding, five blocks of two wide layers with a residual, and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(4 * width, width)
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(LAYERS))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(LAYERS))
        self.head = nn.Linear(width, 4 * width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token."""
        x = self.embed(tokens)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(nn.functional.gelu(up(x)))
        scores: torch.Tensor = self.head(x)
        return scores


def digest(state: State) -> str:
    """One hash of all tensors."""
    found = blake3.blake3()
    for name in sorted(state):
        found.update(flat(state[name]))
    return found.hexdigest()


def size_of(place: Path) -> int:
    """Bytes of a store, its cache aside."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return sum(p.stat().st_size for p in files if p.relative_to(place).parts[0] != "cache")


def main(place: Path, steps: int, width: int) -> None:
    """Trains, stores, checks."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Network(width)
    follows = torch.randperm(4 * width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    store, _ = mstore.init(place)
    held, whole, digests, pending, given = [], [], [], [], 0
    for step in range(steps):
        begun = time.perf_counter()
        tokens = torch.randint(4 * width, (BATCH,))
        loss = nn.functional.cross_entropy(model(tokens), follows[tokens])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
        start = time.perf_counter()
        pending.append(store.checkpoint(state, run="run", step=step))
        held.append(time.perf_counter() - start)
        whole.append(time.perf_counter() - begun)
        digests.append(digest(state))
        given += sum(value.nbytes for value in state.values())
    start = time.perf_counter()
    for each in pending:
        each.result()
    last = time.perf_counter() - start
    stored = size_of(place)
    again = mstore.open(place)
    for step, wanted in enumerate(digests):
        if digest(again.load(f"run@{step + 1}", framework="torch")) != wanted:
            raise AssertionError(f"step {step} did not come back as it was")
    waited = [each.waited for each in pending]
    times = {"held": held, "waited": waited, "whole": whole, "waited_at_the_end": last}
    print(json.dumps({**times, "given": given, "stored": stored}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
