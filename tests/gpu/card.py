"""The card that the GPU sessions run on: prints a name for files, or ends with one line that says why there is none."""

from __future__ import annotations

import re
import sys

import torch


def slug(name: str) -> str:
    """Returns a name in lower case, as a file may have it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        sys.exit(f"no card here: torch {torch.__version__}, built for {built}, finds no CUDA device")
    print(slug(torch.cuda.get_device_name()))
