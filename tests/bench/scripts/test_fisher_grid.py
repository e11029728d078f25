"""The grid of dampenings: its cells are those of pruning by hand, and what is done is not done again."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

import cap
from bench.core.random_state import derive_seed
from bench.data.inputs import stack_batches
from bench.evaluation.accuracy import evaluate
from bench.models import get_model
from bench.scripts import fisher_grid

COMMAND = ("--model", "vit", "--pruners", "woodfisher", "magnitude", "--labels", "drawn", "--damp", "relative:0.1",
           "--patterns", "0.5", "--block-size", "16", "--gradients", "24", "--images", "300")  # fmt: skip


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the script and returns the lines that it prints."""

    def run(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["fisher_grid", *words, "--output", str(tmp_path / "grid.csv")])
        fisher_grid.main()
        return capsys.readouterr().out.splitlines()

    return run


def test_cells_are_those_of_pruning_by_hand(grid, tmp_path: Path) -> None:
    lines = grid(*COMMAND, "--objective")
    assert [line.partition(":")[0] for line in lines[:2]] == ["drawn woodfisher relative", "drawn magnitude absolute"]
    [one, other] = fisher_grid.read_cells(tmp_path / "grid.csv")
    spec = get_model("embedded", "vit")
    model, inputs = spec.load(), spec.evaluation_inputs(300, "validation")
    layers = cap.select_layers(model, spec.prunable)
    images, labels = stack_batches(spec.calibration_inputs(24, 0))
    calibration = cap.Calibration(images, labels, seed=derive_seed(0, "calibration order"), label_source="drawn")
    pruner = cap.create("woodfisher", block_size=16, num_gradients=24, damp=0.1, damp_scale="relative")
    pruned = pruner.fit(model, layers, calibration).prune(0.5)
    sparse = copy.deepcopy(model)
    pruned.apply_to(sparse)
    assert one.top1 == pytest.approx(evaluate(sparse, inputs).top1, abs=0.34)  # an image, by rounding of the batches
    assert one.objective == pytest.approx(pruner.predicted_loss(pruned), rel=1e-3)
    assert one.dense == pytest.approx(evaluate(model, inputs).top1, abs=1e-3)
    assert (other.pruner, other.block_size, other.objective) == ("magnitude", 0, None)
    assert lines[-1] == f"| drawn | `magnitude` | absolute 0 | {other.top1:.1f} |"
    assert torch.equal(model.get_parameter(next(iter(layers))), spec.load().get_parameter(next(iter(layers))))


def test_what_is_done_is_not_done_again(grid, tmp_path: Path) -> None:
    few = [*COMMAND[:2], "--pruners", "magnitude", "--damp", "absolute:1", *COMMAND[9:]]
    assert len(grid(*few)) == 4
    before = (tmp_path / "grid.csv").read_text()
    assert len(grid(*few)) == 3, "the table alone"
    assert (tmp_path / "grid.csv").read_text() == before
    lines = grid(*few, "--patterns", "0.5", "0.9")
    assert lines[0].startswith("given magnitude absolute:0 0.9: ")
    assert lines[1] == "| labels | pruner | dampening | 0.5 | 0.9 |"


def test_statistics_of_batch_normalisation_and_options_are_cells_of_their_own(
    grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated = []
    monkeypatch.setattr(fisher_grid, "reestimate_batch_norm", lambda *given: estimated.append(len(given[1])))
    lines = grid(
        "--model", "xcit", "--pruners", "magnitude", "woodfisher", "--damp", "relative:0.1", "--patterns", "0.9",
        "--block-size", "16", "--gradients", "8", "--images", "200", "--batch-norm", "kept", "reestimated",
        "--options", "num_recomputations=2", "schedule=geometric", "--calibration-images", "16",
    )  # fmt: skip
    cells = fisher_grid.read_cells(tmp_path / "grid.csv")
    assert [cell.batch_norm for cell in cells] == ["kept", "reestimated"] * 2
    assert [cell.options for cell in cells[1:3]] == ["", '{"num_recomputations": 2, "schedule": "geometric"}']
    assert estimated == [16, 16], "on all calibration images, once for each pruner"
    assert "| given | `magnitude` batch norm anew | absolute 0 |" in "\n".join(lines)


def test_mistakes(grid) -> None:
    with pytest.raises(SystemExit, match="unknown model 'nothing' in profile 'embedded'"):
        grid("--model", "nothing", "--damp", "absolute:1")
