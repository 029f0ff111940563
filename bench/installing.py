"""Makes the benchmark's own environment: mstore as a user installs it, and the peers.

A peer that cannot be installed is left out, and the report says why.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from bench.places import ROOT, Places

# Versions are pinned so that two runs of the benchmark compare the same tools.
NEEDED = (
    "numpy==2.4.6",
    "safetensors==0.8.0",
    "torch==2.13.0",
    "blake3==1.0.11",
    "matplotlib>=3.9",
    "backports.zstd>=1.8",
)
PYTHON_PEERS = {
    "hf-xet": "hf-xet==1.8.0",
    "tensorfs": "tensorfs==0.17.2",
    "dvc": "dvc==3.67.1",
    "zipnn": "zipnn==0.5.4",
}
SYSTEM_PEERS = {"git-lfs": "git-lfs", "restic": "restic", "borg": "borgbackup"}


def _pip(python: Path, *words: str) -> None:
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *words],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _install_python_peers(python: Path) -> dict[str, str]:
    missing: dict[str, str] = {}
    for name, requirement in PYTHON_PEERS.items():
        try:
            _pip(python, requirement)
        except subprocess.CalledProcessError as error:
            missing[name] = f"pip install {requirement} failed: {_last_line(error.stderr)}"
    return missing


def _apt(*words: str) -> None:
    subprocess.run(
        ["apt-get", "-y", "-qq", *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


def _install_system_peer(package: str) -> str | None:
    """Installs `package`; gives the reason when that is not possible."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return f"not installed; as root: apt-get install {package}"
    try:
        _apt("update")
        _apt("install", package)
    except subprocess.CalledProcessError as error:
        return f"apt-get install {package} failed: {_last_line(error.stderr)}"
    return None


def _install_system_peers() -> dict[str, str]:
    missing: dict[str, str] = {}
    for tool, package in SYSTEM_PEERS.items():
        if shutil.which(tool) is None and (reason := _install_system_peer(package)):
            missing[tool] = reason
    return missing


def install(places: Places) -> dict[str, str]:
    """Makes the environment and gives the peers that are missing, each with its reason.

    mstore itself is installed anew each time; everything else only once.
    """
    done = places.cache / "installed.json"
    wanted = sorted((*NEEDED, *PYTHON_PEERS.values(), *SYSTEM_PEERS.values()))
    found = json.loads(done.read_text()) if done.exists() else {}
    if found.get("wanted") != wanted:
        print("installing the peers (once)", file=sys.stderr)
        places.cache.mkdir(parents=True, exist_ok=True)
        if not places.python.exists():
            venv.create(places.venv, with_pip=True)
        _pip(places.python, *NEEDED)
        missing = _install_python_peers(places.python) | _install_system_peers()
        found = {"wanted": wanted, "missing": missing}
        done.write_text(json.dumps(found))
    _pip(places.python, str(ROOT))
    _pip(places.python, "--force-reinstall", "--no-deps", str(ROOT))
    missing_now: dict[str, str] = found["missing"]
    return missing_now
