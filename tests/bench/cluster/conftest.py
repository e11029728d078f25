from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cluster.slurm import JobState
from bench.cluster.submission import Submission, new_folder
from bench.cluster.submitted import SubmittedJob
from bench.core import provenance
from bench.results.store import Store
from bench.specs.discovery import load_sweep
from bench.specs.trial import Trial


@pytest.fixture
def trials() -> tuple[Trial, ...]:
    return load_sweep("table1").trials("embedded")[:3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "embedded", "table1")


@pytest.fixture
def make_job(store: Store, trials: Sequence[Trial]) -> Callable[..., SubmittedJob]:
    """Writes the submission of one job, and returns it in a made state."""

    def make(state: JobState, name: str = "7_0", trials: Sequence[Trial] = trials, **values: Any) -> SubmittedJob:
        folder = new_folder(store)
        folder.create(
            Submission(
                cluster="slurm", profile="embedded", sweep="table1", results=store.folder.parents[1], device="cpu",
                threads=1, memory_gb=None, micro_batch=None, time_limit=10, signal_delay=60,
                commit=provenance.commit(), dirty=None, versions="{}", jobs=(tuple(trials),), **values,
            )
        )  # fmt: skip
        folder.record({name: [trial.id for trial in trials]})
        return SubmittedJob(folder, name, tuple(trial.id for trial in trials), state)

    return make
