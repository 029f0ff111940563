"""The adapters of what this environment has pass the suite that plugin authors inherit.

Those of the other frameworks do so in tests/frameworks, each where its framework is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mstore.adapters import FRAMEWORKS
from mstore.testing.adapters import AdapterTests

ROWS = torch.linspace(-1, 1, 12).reshape(4, 3)


class TestNumpy(AdapterTests):
    """A dict of arrays."""

    framework = "numpy"

    def model(self) -> Any:
        """Make the arrays."""
        return {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.float16(2)}

    def answer(self, model: Any) -> bytes:
        """Give every bit."""
        return b"".join(np.asarray(model[name]).tobytes() for name in sorted(model))


class TestTorch(AdapterTests):
    """A module with buffers and a shared parameter, loaded into another one."""

    framework = "torch"

    def model(self, seed: int = 0, width: int = 4) -> Any:
        """Make the module, which has seen some rows."""
        torch.manual_seed(seed)
        linear = [torch.nn.Linear(3, width), torch.nn.Linear(width, width)]
        model = torch.nn.Sequential(linear[0], torch.nn.BatchNorm1d(width), linear[1], linear[1])
        model(ROWS + seed)
        return model.eval()

    def answer(self, model: Any) -> bytes:
        """Give what it predicts."""
        return model(ROWS).detach().numpy().tobytes()

    def target(self) -> Any:
        """Make one with other numbers."""
        return self.model(1)

    def misfit(self) -> Any:
        """Make a wider one."""
        return self.model(1, width=5)


def test_every_adapter_is_held_to_the_suite() -> None:
    """No adapter of this build is left out, here or in tests/frameworks."""
    folder = Path(__file__).parent.parent / "frameworks"
    pages = [Path(__file__), *folder.glob("test_*.py")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert [name for name in FRAMEWORKS if f'framework = "{name}"' not in text] == []
