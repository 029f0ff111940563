"""Where the benchmark keeps what it makes: nothing outside one folder, which may be deleted."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASKS = ROOT / "bench" / "tasks"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders below the benchmark's cache; all on the file system that is measured."""

    cache: Path
    quick: bool

    @property
    def venv(self) -> Path:
        """The environment with mstore and the peers that come as Python packages."""
        return self.cache / "venv"

    @property
    def python(self) -> Path:
        """The interpreter that every measured Python command runs in."""
        return self.venv / "bin" / "python"

    @property
    def files(self) -> Path:
        """The generated models and folders; kept between runs."""
        return self.cache / ("files-quick" if self.quick else "files")

    @property
    def work(self) -> Path:
        """Stores and results of the row that runs; emptied after it."""
        return self.cache / "work"

    @property
    def home(self) -> Path:
        """HOME of every measured command, so that no user's settings take part."""
        return self.cache / "home"

    @property
    def results(self) -> Path:
        """One JSON file per measured row, from which the report is written."""
        return self.cache / ("results-quick" if self.quick else "results")

    @property
    def report(self) -> Path:
        """The report: committed for a full run, beside the results for a quick one."""
        return self.results / "benchmarks.md" if self.quick else ROOT / "docs" / "benchmarks.md"

    def prepare(self) -> None:
        """Makes the folders."""
        for folder in (self.files, self.work, self.home, self.results):
            folder.mkdir(parents=True, exist_ok=True)
