"""Sweeps on a cluster: plan, submission, status, cancellation."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bench.cluster import submitted
from bench.cluster.budget import read_hours, write_budget
from bench.cluster.config import ClusterConfig
from bench.cluster.executor import ClusterExecutor, check_code, exclusive
from bench.cluster.loading import with_cores
from bench.cluster.measure import find_rates, measure_rates
from bench.cluster.plan import describe
from bench.cluster.plan_table import By, describe_parts
from bench.cluster.status import RETRIED, STATES, TO_RUN, SweepStatus, TrialStatus, summary
from bench.cluster.submission import Cluster
from bench.core.errors import UserError
from bench.execution.preflight import check_trials
from bench.execution.selection import TrialSelection
from bench.results.store import Store
from bench.specs.profiles import get_profile
from bench.specs.trial import Trial
from cap.training.accelerator import Compute

LARGE = 10**6  # images of a split from which on a profile is taken to run on GPUs


@dataclass(frozen=True)
class ClusterTarget:
    """Cluster that trials are submitted to, and the settings of all of them.

    Attributes:
        cluster: `slurm`, or `local` for processes that outlive this one.
        config: Settings of each job.
        device: Torch device of all trials; None for cuda where the jobs have GPUs, else cpu.
        memory_gb: GiB that a fit may take; None for what is free.
        micro_batch: Training images of a process in one forward pass; None for its share of a whole batch.
        expected_top1: {model: dense top-1 that the user expects, percent}.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.
        keep_models: Whether the models that are measured in training with pruning are kept as files.
    """

    cluster: Cluster
    config: ClusterConfig
    device: str | None = None
    memory_gb: float | None = None
    micro_batch: int | None = None
    expected_top1: Mapping[str, float] = field(default_factory=dict)
    compute: Compute = "auto"
    keep_models: bool = True

    def executor(self, store: Store) -> ClusterExecutor:
        """Returns the executor of one sweep's trials."""
        device = self.device or ("cuda" if self.config.gpus_per_node else "cpu")
        return ClusterExecutor(
            store, self.config, self.cluster, device, self.memory_gb, self.micro_batch,
            expected_top1=self.expected_top1, compute=self.compute, keep_models=self.keep_models,
        )  # fmt: skip


@dataclass(frozen=True)
class SweepSubmission:
    """Submission of the trials of a selection that are neither finished nor in a job.

    Attributes:
        selection: The selection.
        executor: The cluster.
        todo: The trials to submit.
        jobs: For each job its trials, in order.
    """

    selection: TrialSelection
    executor: ClusterExecutor
    todo: tuple[Trial, ...]
    jobs: list[list[Trial]]

    @property
    def summary(self) -> str:
        """Number of trials that are done, in jobs and to run, in one line."""
        return self.selection.summary(self.todo)

    def submit(self) -> list[str]:
        """Submits the jobs.

        Returns:
            Lines that say which jobs were submitted, and how many the site does not take at present.

        Raises:
            UserError: If a trial cannot run, or the cluster refuses.
        """
        check_trials(self.todo, self.executor.config.elsewhere())
        ids = self.executor.submit(self.todo)
        lines = [f"submitted {len(ids)} jobs: {', '.join(dict.fromkeys(job.partition('_')[0] for job in ids))}"]
        if len(ids) < len(self.jobs) and self.executor.cluster == "slurm":
            lines.append(f"the site takes no more at present: run again for the other {len(self.jobs) - len(ids)} jobs")
        return lines


@contextlib.contextmanager
def prepare_submission(
    selection: TrialSelection, target: ClusterTarget, allow_dirty: bool = False, dry_run: bool = False
) -> Iterator[SweepSubmission]:
    """Finds out what is to be submitted; within the context no other process submits trials of the same sweep.

    Args:
        selection: The trials.
        target: The cluster.
        allow_dirty: Whether the checkout may differ from its commit.
        dry_run: Whether nothing will be submitted.

    Raises:
        UserError: If a setting is not valid, the checkout differs from its commit, or another process submits.
    """
    store = selection.store
    if target.micro_batch is not None and target.micro_batch < 1:
        raise UserError(f"--micro-batch {target.micro_batch} is not valid: give at least 1")
    check_code(allow_dirty)
    if not dry_run:
        store.check_writable()
    with contextlib.nullcontext() if dry_run else exclusive(store):
        todo = selection.missing(submitted.busy(store))
        config = with_cores(target.config, selection.trials, find_rates(None, on_gpu=True))
        executor = replace(target, config=config).executor(store)
        yield SweepSubmission(selection, executor, todo, executor.jobs(todo))


def plan_sweep(
    selection: TrialSelection,
    config: ClusterConfig,
    hardware: str | None = None,
    measure: bool = False,
    budget: str | None = None,
    compute: Compute = "auto",
    keep_models: bool = True,
    by: By | None = None,
) -> Iterator[str]:
    """Yields what a sweep would take on a cluster, line by line: jobs, hours, memory, storage.

    Args:
        selection: The trials.
        config: Settings of each job.
        hardware: Hardware of one process: a name of `rates.RATES`, or one that was measured; None for what was
            measured last, else a100 where the jobs have GPUs or the profile is large.
        measure: Whether the rates of this machine are measured first.
        budget: Hours of one device, such as `100h`; the trials that fit are written as a sweep. None for no choice.
        compute: How the training that is measured computes, see `cap.training.accelerator.Accelerator.mode`.
        keep_models: Whether models that are pruned in training are kept.
        by: `model` or `pruner` for a table with a line for each, done or not; None for the sweep as a whole.

    Raises:
        UserError: If the hardware is unknown, a budget is no number of hours, or `compute` is given for no measurement.
    """
    if compute != "auto" and not measure:
        raise UserError(
            f"--compute {compute} says how the training computes that --measure measures: give --measure too"
        )
    profile, hours = get_profile(selection.store.profile), read_hours(budget) if budget is not None else None
    on_gpu = bool(config.gpus_per_node) or max(profile.splits.values()) >= LARGE
    rates = measure_rates(selection.trials, None, compute) if measure else find_rates(hardware, on_gpu)
    config = with_cores(config, selection.trials, rates)
    if by is not None:
        return describe_parts(selection.trials, by, config, rates, keep_models)
    done = {trial.id for trial in selection.trials if selection.store.is_finished(trial.id)}
    lines = describe(selection.trials, done | submitted.busy(selection.store), config, rates, keep_models)
    if hours is not None:
        return itertools.chain(lines, write_budget(selection.trials, hours, config, rates))
    return lines


@dataclass(frozen=True)
class SelectionStatus:
    """Status of the trials of a selection.

    Attributes:
        trials: Status of each trial, in order.
    """

    trials: tuple[TrialStatus, ...]

    @property
    def summary(self) -> str:
        """Number of trials in each state, in one line."""
        return summary(self.trials)

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs or waits that will change it."""
        return self.num_settled == len(self.trials)

    @property
    def num_settled(self) -> int:
        """Number of trials that nothing which runs or waits will change."""
        return sum(status.is_settled for status in self.trials)

    def lines(self, before: SelectionStatus | None = None, state: str | None = None) -> list[str]:
        """Returns a line for each trial.

        Args:
            before: Status of a moment ago: trials that stood the same are left out.
            state: State of the trials; None for all.

        Raises:
            UserError: If there is no such state.
        """
        if state is not None and state not in STATES:
            raise UserError(f"--state {state} is not valid: choose from {', '.join(STATES)}")
        old = {status.line() for status in before.trials} if before is not None else set()
        chosen = (status for status in self.trials if state in (None, status.state))
        return [line for status in chosen if (line := status.line()) not in old]

    def table(self) -> list[str]:
        """Returns a line for every model with the number of its trials in each state."""
        models = list(dict.fromkeys(status.trial.model for status in self.trials))
        width = max(map(len, models), default=0)
        return [
            f"{model:{width}}  {summary(status for status in self.trials if status.trial.model == model)}"
            for model in models
        ]


def sweep_status(selection: TrialSelection) -> SelectionStatus:
    """Returns where the trials of a selection stand.

    Raises:
        UserError: If SLURM does not answer.
    """
    status = SweepStatus(selection.store)

    def find(trial: Trial) -> TrialStatus:
        found, whole = status.status(trial), selection.wholes.get(trial.id)
        if whole is not None and found.state == TO_RUN and not (of_whole := status.status(whole)).is_settled:
            return of_whole  # which has the part's rows, too
        return replace(found, label=selection.label(trial))

    return SelectionStatus(tuple(map(find, selection.trials)))


def select_to_retry(selection: TrialSelection, retry: str) -> TrialSelection:
    """Returns the trials of a selection that ended without a result, and are in no job that waits or runs.

    Args:
        selection: The trials.
        retry: Kind of end: `failed` or `timeout`.

    Raises:
        UserError: If there is none.
    """
    states = RETRIED[retry]
    chosen = tuple(found.trial for found in sweep_status(selection).trials if found.state in states)
    if not chosen:
        raise UserError(f"no trial to retry: none of {len(selection.trials)} is {' or '.join(states)}")
    return replace(selection, trials=chosen)


def cancel_sweep(selection: TrialSelection) -> submitted.Cancelled:
    """Cancels the jobs of a selection's trials, all of its sweep where it has all trials.

    Raises:
        UserError: If SLURM does not answer.
    """
    if {trial.id for trial in selection.collected} <= {trial.id for trial in selection.trials}:
        return submitted.cancel(selection.store)  # those of trials that the sweep has no longer, too
    return submitted.cancel(selection.store, {trial.id for trial in selection.trials})
