"""docs/tuning.md does what it says; its pruner is run by tests/bench/cli/test_tune.py."""

from __future__ import annotations

import re
from pathlib import Path

from bench.specs.search_spaces import search_spaces

PAGE = (Path(__file__).parents[1] / "docs/tuning.md").read_text()


def test_the_sweep_of_the_page() -> None:
    (code,) = re.findall(r"```python\n(from bench.*?)```", PAGE, flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)
    settings = [trial.setting for trial in found["trials"]]  # type: ignore[attr-defined]
    assert sorted(settings) == ["authors"] * 3 + ["tuned"] * 3


def test_the_page_has_a_line_for_every_pruner() -> None:
    lines = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    assert sorted(named) == sorted(search_spaces(1024))
