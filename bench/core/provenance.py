"""Provenance of a result: commit, versions, machine, job."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = ("cap-bench", "torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "datasets")


def _git(*arguments: str) -> str | None:
    """Returns a git command's output in the repository, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def commit() -> str | None:
    """Returns the commit of the code, or None outside a git checkout, such as of an installed wheel."""
    tracked = _git("ls-files", "--error-unmatch", __file__)  # an environment may lie in the repository of other code
    return None if tracked is None else _git("rev-parse", "HEAD")


@cache
def dirty() -> bool | None:
    """Returns whether tracked files differ from the commit, results aside; None outside a git checkout."""
    if commit() is None:
        return None
    aside = (":(exclude,top)results", ":(exclude,top)submissions")
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":/", *aside))


@cache
def versions() -> str:
    """Returns the versions of Python and the packages that matter, as JSON."""
    found = {"python": platform.python_version()}
    found |= {package: importlib.metadata.version(package) for package in PACKAGES}
    return json.dumps(found, sort_keys=True)


@cache
def processor() -> str:
    """Returns the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def host() -> str:
    """Returns the name of this machine."""
    return platform.node()


def job() -> str | None:
    """Returns the id of the cluster's job that this process belongs to, as `capbench status` shows it, or None."""
    if local := os.environ.get("SUBMITIT_LOCAL_JOB_ID"):
        return local
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")
