"""A store in which the versions differ in everything that a search asks for."""

from typing import Any

import numpy as np
import pytest

from mstore.store import Store


def put(store: Store, name: str, *, size: int = 4, **said: Any) -> str:
    """Store a model of so many numbers and say its label."""
    rng = np.random.default_rng(len(store.log(name)) if store.parts.refs.find("heads", name) else 0)
    stored = store.put({"w": rng.random(size, dtype=np.float32)}, name, always=True, **said)
    return f"{name}@{stored.number}"


@pytest.fixture
def zoo(store: Store) -> Store:
    """Four detectors derived from resnet18, each of which lacks something else, and a GAN."""
    seen = {"task": "object-detection", "datasets": ["imagenet"]}
    known = {"val/accuracy": 0.93, "memory": 80e6, "latency@1GHz": 0.02}
    put(store, "resnet18", task="image-classification", metrics={"val/accuracy": 0.7}, author="ann")
    put(store, "det", **seen, metrics=known, parents=["resnet18"], params={"lr": 0.1})
    put(store, "det", **seen, metrics={"val/accuracy": 0.95}, params={"opt": {"name": "adam"}})
    put(store, "det", **seen, metrics={"val/accuracy": float("nan"), "memory": 1e6})
    put(store, "det", task="object-detection", datasets=["coco"], metrics={"memory": 1e6})
    put(store, "gan", message="Paints cats, naïvely", tags=["toy"], metadata={"framework": "jax"})
    store.tag("det@1", "prod")
    return store
