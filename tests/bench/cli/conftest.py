"""A tiny sweep, run through the command line, and commands that fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench import cli

TINY = """
from bench.specs.recipes import FinetuneSpec
from bench.specs.sweep import Sweep, grid

SWEEP = Sweep(
    name="tiny",
    title="Tiny",
    profiles={
        "embedded": grid(
            sweep="tiny", profile="embedded", model=["vit"], seed=[0],
            pruner=[
                {"pruner": "magnitude"},
                {"pruner": "cap", "pruner_options": {"block_size": 32, "num_gradients": 64}},
            ],
            patterns=("0.75",), evaluation_images=1000, finetune_at=("0.75",), calibration={"images": 64},
            finetune=FinetuneSpec(epochs=1, images=64, batch_size=32, lr=1e-3, lr_end=1e-4),
        )
    },
)
"""


@pytest.fixture(scope="session")
def tiny() -> str:
    """Text of the tiny sweep's file."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The tiny sweep, run: its file and its results folder."""
    folder = tmp_path_factory.mktemp("tiny")
    sweep, results = folder / "tiny.py", folder / "results"
    sweep.write_text(TINY)
    cli.main(["run", str(sweep), "--results", str(results), "--jobs", "2"])
    (results / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    return str(sweep), str(results)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail as a user's mistake, and returns its one line."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1, error
        return error

    return run
