"""Each file of this folder is collected where its framework is: see ``make test-frameworks``."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

FOLDER = Path(__file__).parent


def is_installed(requirements: Path) -> bool:
    """Whether every package that a list names is there, in whatever version."""
    names = re.findall(r"^[\w-]+", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        for name in names:
            distribution(name)
    except PackageNotFoundError:
        return False
    return True


collect_ignore = [
    f"test_{requirements.stem}.py"
    for requirements in (FOLDER / "requirements").glob("*.txt")
    if not is_installed(requirements)
]
