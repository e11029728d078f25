from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

CARD = Path(__file__).with_name("card.py")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_one_line_says_so() -> None:
    """The sessions show it and end."""
    with pytest.raises(SystemExit, match=r"^no card here: torch \S+, built for .*, finds no CUDA device$"):
        runpy.run_path(str(CARD), run_name="__main__")


def test_the_name_of_a_file() -> None:
    assert runpy.run_path(str(CARD))["slug"]("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
