"""Execution of single trials and groups in this process, with their results on disk."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from bench.core import distributed, provenance
from bench.execution.executor import FinishedTrial
from bench.results.schema import ResultRow
from bench.results.store import FINISHED, Store
from bench.specs.trial import Trial
from bench.trials.checkpoint import Checkpoint
from bench.trials.context import ExecutionConfig
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial
from bench.trials.session import TrialSession

Leaving = Callable[[], bool]


def run_group(
    group: Sequence[Trial],
    results: Path,
    config: ExecutionConfig,
    leaving: Leaving | None = None,
    begin: Callable[[Trial], None] = lambda _: None,
    session: TrialSession | None = None,
) -> Generator[FinishedTrial]:
    """Runs the trials of a group one after another, so that they share what they can, and yields each as it ends.

    Args:
        group: Trials that share their calibration images.
        results: Folder of all results.
        config: Settings of the execution.
        leaving: Function that says whether this process is about to be ended by its cluster: an exception then is no
            failure.
        begin: Function called before each trial.
        session: Dense models of the groups before; by default a new one.
    """
    session = session or TrialSession(config.device)
    try:
        for trial in group:
            begin(trial)
            try:
                finished = execute(trial, results, config, session, len(group) > 1, leaving)
            except distributed.LostProcessError:
                raise
            except (Exception, SystemExit) as raised:
                if leaving is not None and leaving():
                    raise
                finished = FinishedTrial(trial, "failed", _described(raised))
            yield finished
    finally:
        session.forget_calibration()


def execute(
    trial: Trial,
    results: Path,
    config: ExecutionConfig,
    session: TrialSession | None = None,
    share: bool = False,
    leaving: Leaving | None = None,
) -> FinishedTrial:
    """Runs a trial and stores its rows; a failure is stored too, and stops no other trial.

    Processes that work together all call this; process 0 alone writes. If another job is at the trial, it is waited
    for, and what it has done is not done again. The traceback of a failure is in `<trial id>.log` beside the rows.

    Args:
        trial: The trial.
        results: Folder of all results.
        config: Settings of the execution; the trial's checkpoints are beside its rows.
        session: Dense models and calibration images of the trials before; by default a new one.
        share: Whether what is computed on the calibration images is kept for the next trial of the group.
        leaving: Function that says whether this process is about to be ended by its cluster: an exception then is no
            failure.
    """
    store = Store(results, trial.profile, trial.sweep)
    with store.lock(trial.id) if distributed.is_main() else nullcontext():
        if (status := distributed.run_on_rank0(lambda: store.status(trial.id))) in FINISHED:
            return FinishedTrial(trial, status)
        config = replace(config, folder=store.folder / trial.id)
        recorder = TrialRecorder(trial.resolve(), device=None)  # in case the device cannot be used
        failure: tuple[str, str] | None = None  # error, traceback
        try:
            recorder = TrialRecorder(trial.resolve(), config.device)
            run_trial(trial, recorder, config, session, share)
        except (Exception, SystemExit) as raised:  # a pruner may call sys.exit, but so does a job that is to leave
            if leaving is not None and leaving():
                raise
            failure = _described(raised), traceback.format_exc()
        failure = distributed.first_failure(failure)
        return distributed.run_on_rank0(lambda: _write(trial, store, recorder, failure))


def _write(trial: Trial, store: Store, recorder: TrialRecorder, failure: tuple[str, str] | None) -> FinishedTrial:
    """Writes a trial's rows, and its log if it failed; a finished trial needs its checkpoint no longer."""
    log = store.log(trial.id)
    if failure is not None:
        error, trace = failure
        recorder.failed(error)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(trace)
    store.write(trial.id, recorder.rows, recorder.layer_rows, recorder.predictions)
    if failure is not None:
        return FinishedTrial(trial, "failed", failure[0])
    log.unlink(missing_ok=True)
    Checkpoint(store.folder / trial.id).remove()
    return FinishedTrial(trial, store.status(trial.id) or "done")


def store_failure(trial: Trial, trial_id: str, store: Store, error: str) -> FinishedTrial:
    """Stores the failure of a trial that cannot be told from others here, under the identity that it was known by.

    Args:
        trial: The trial.
        trial_id: Identity that whoever wants its results looks for.
        store: Results of its sweep.
        error: Error in one line.
    """
    row = ResultRow(
        sweep=trial.sweep,
        profile=trial.profile,
        trial_id=trial_id,
        status="failed",
        error=error,
        model=trial.model,
        pruner=trial.pruner,
        pruner_options=json.dumps(trial.pruner_options, sort_keys=True),
        regime=trial.regime,
        seed=trial.seed,
        commit=provenance.commit(),
        host=provenance.host(),
        job=provenance.job(),
        started_at=datetime.now(timezone.utc),
    )
    store.log(trial_id).parent.mkdir(parents=True, exist_ok=True)
    store.log(trial_id).write_text(error + "\n")
    store.write(trial_id, [row], [])
    return FinishedTrial(trial, "failed", error)


def _described(raised: BaseException) -> str:
    """Returns an error in one line."""
    return f"{type(raised).__name__}: {' '.join(str(raised).split())}"
