"""Drive one target with atheris: ``python fuzz/run.py TARGET [-runs=N] [libFuzzer options]``.

New inputs go to a scratch folder, finds to ``crash-…`` files beside it; the corpus is only read.
"""

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
SCRATCH = HERE.parent / "build" / "fuzz"

with atheris.instrument_imports(include=["mstore", "targets"]):
    sys.path.insert(0, str(HERE))
    from targets import TARGETS


def main(arguments: list[str]) -> None:
    """Fuzz until the options say so; exits with an error when something is found."""
    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"usage: python fuzz/run.py TARGET [-runs=N]; targets: {' '.join(TARGETS)}")
    name, *options = arguments
    scratch = SCRATCH / name
    scratch.mkdir(parents=True, exist_ok=True)
    limits = ["-rss_limit_mb=512", "-timeout=5", f"-artifact_prefix={scratch}-"]
    corpus = [str(scratch), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], *limits, *options, *corpus], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
