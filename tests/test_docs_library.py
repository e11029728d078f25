"""The page on the library does what it says: its code runs, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "docs/library.md"


def test_the_code_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    torch.manual_seed(0)
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {"__name__": "page"})
