from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from bench.cli import progress
from bench.cli.progress import progress_bar


def drawn(bar: progress.Bar) -> list[str]:
    """Returns the lines that a terminal of 80 columns shows."""
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(bar.progress.make_tasks_table(bar.progress.tasks), end="")
    return [line.rstrip() for line in shown.get().splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", Console(file=StringIO(), width=80, force_terminal=True))


def test_every_trial_at_work_has_a_line_below_that_of_the_sweep() -> None:
    with progress_bar(3, "trials") as bar:
        assert len(drawn(bar)) == 1
        bar.inside("vit cap seed 0", 5, 16, "layers")
        bar.inside("convnext woodfisher block_size=64 damp=1e-06 global seed 1", 10, 3000, "epoch 1/4, 890 images/s")
        whole, first, second = drawn(bar)
        assert whole.startswith("trials")
        assert "0/3" in whole
        assert "vit cap seed 0, layers" in first
        assert "5/16" in first
        assert "convnext woodfisher" in second, "and what does not fit is cut"
        assert max(map(len, (whole, first, second))) <= 80
        bar.advance("vit cap seed 0")
        whole, second = drawn(bar)
        assert "1/3" in whole
        assert "convnext" in second


def test_another_stage_of_a_trial_begins_anew() -> None:
    with progress_bar(1) as bar:
        bar.inside("vit cap seed 0", 16, 16, "layers")
        bar.inside("vit cap seed 0", 2, 100, "epoch 1/4")
        [_, line] = drawn(bar)
        assert "2/100" in line
        assert "layers" not in line


def test_the_time_that_a_trial_tells_is_shown() -> None:
    """Passes over the gradients and layers alternate, so that the bar itself would begin anew each time."""
    with progress_bar(1) as bar:
        bar.inside("vit cap seed 0", 3, 16, "layers", 754.0)
        [_, line] = drawn(bar)
        assert line.endswith("0:12:34")
