"""Plans of a sweep on a cluster: its jobs, and what they will take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from bench.cluster import estimate
from bench.cluster.config import ClusterConfig
from bench.cluster.loading import find_need
from bench.cluster.rates import Rates
from bench.execution.executor import group_by_calibration
from bench.specs.trial import Trial

SHARE = 0.8  # of the time limit that a job is filled up to, and of a card's memory
CORES = (4, 8, 16, 32)  # of a process, for which the hours are told

Jobs = Sequence[Sequence[Trial]]


def pack_jobs(trials: Sequence[Trial], config: ClusterConfig, rates: Rates) -> list[list[Trial]]:
    """Brings trials together into jobs: those that share what is computed, as far as the time limit lets them.

    Args:
        trials: Trials of one sweep.
        config: Settings of each job.
        rates: Rates of the device.
    """
    groups = group_by_calibration(trials)
    if config.time is None:
        return groups
    seconds = [estimate.group_seconds(group, rates, config.cpus_per_task) for group in groups]
    processes = config.nodes * config.tasks
    return split_groups(groups, [[second / processes for second in row] for row in seconds], 60 * config.time * SHARE)


def split_groups(
    groups: Sequence[Sequence[Trial]], seconds: Sequence[Sequence[float]], limit: float
) -> list[list[Trial]]:
    """Splits groups of trials into jobs that fit into a time limit; a trial that is longer alone gets a job of its own.

    Args:
        groups: Trials that share what is computed on the calibration images.
        seconds: Expected time of each of them, seconds.
        limit: Time limit, seconds.
    """
    jobs: list[list[Trial]] = []
    for group, times in zip(groups, seconds, strict=True):
        job: list[Trial] = []
        taken = 0.0
        for trial, time_needed in zip(group, times, strict=True):
            if job and taken + time_needed > limit:
                jobs.append(job)
                job, taken = [], 0.0
            job.append(trial)
            taken += time_needed
        jobs.append(job)
    return jobs


def describe(
    trials: Sequence[Trial],
    done: Collection[str],
    config: ClusterConfig,
    rates: Rates,
    keep_models: bool = True,
) -> Iterator[str]:
    """Yields what there is to know of a sweep before it is submitted, line by line.

    Args:
        trials: All trials.
        done: Ids of those that are not to run again.
        config: Settings of each job.
        rates: Rates of the device.
        keep_models: Whether models that are pruned in training are kept.
    """
    todo = [trial for trial in trials if trial.id not in done]
    yield f"trials    {len(trials)}, {len(trials) - len(todo)} done or in jobs already, {len(todo)} to run"
    if not todo:
        return
    jobs = pack_jobs(todo, config, rates)
    at_once = f", {config.max_parallel} at once" if config.max_parallel else ""
    yield f"jobs      {len(jobs)} of {len(group_by_calibration(todo))} groups that share calibration images{at_once}"
    yield from _time(jobs, config, rates)
    yield from _images(jobs, config, rates)
    yield from _memory(todo, config)
    yield from _precisions(todo, rates)
    yield from _rebuilding(todo, rates)
    yield from _misfits(todo, config, rates)
    yield _storage(todo, keep_models)


def _time(jobs: Jobs, config: ClusterConfig, rates: Rates) -> Iterator[str]:
    """Yields the hours of all jobs, and of the longest one."""
    processes = config.nodes * config.tasks
    times = [estimate.START + sum(estimate.group_seconds(job, rates, config.cpus_per_task)) / processes for job in jobs]
    unit = "GPU hours" if rates.memory_gib is not None else "hours of two cores" if rates.name == "cpu" else "hours"
    known = "measured" if rates.measured else "assumed, not measured"
    total = sum(times) * processes / 3600
    yield f"time      {total:,.{1 if total >= 1 else 2}f} {unit} ({rates.name}: rates {known})"
    longest = max(range(len(jobs)), key=times.__getitem__)
    label = f"{jobs[longest][0].label}, {len(jobs[longest])} trials"
    yield f"          the longest job takes {_hours(times[longest])} ({label}){_restarts(times[longest], config)}"


def _images(jobs: Jobs, config: ClusterConfig, rates: Rates) -> Iterator[str]:
    """Yields what the decoding of images takes, where there is any, and the hours with other numbers of cores."""
    works = [sum(estimate.group_work(job), estimate.TrialWork()) for job in jobs]
    total = sum(works, estimate.TrialWork())
    images, cores = total.decoded, config.cpus_per_task
    if not images:
        return
    decoding = images / (rates.decoded * cores) / 3600
    need = find_need([trial for job in jobs for trial in job], rates)
    if rates.memory_gib is not None and need is not None:
        wanted = need.cores(rates.decoded)
        yield f"loader    {rates.name} takes {need}: {wanted} cores would keep it busy, {cores} are asked for"
    yield (
        f"images    {images:,.0f} are decoded, {total.decoded_for_evaluation:,.0f} of them to evaluate: "
        f"{decoding:,.2f} h for the {cores} cores of a process, {rates.decoded:.0f} images a second each"
    )
    hours = {
        count: sum(estimate.START + work.seconds(rates, count) for work in works) / 3600
        for count in sorted({*CORES, cores})
    }
    yield f"          hours by cores of a process: {', '.join(f'{n}: {h:,.2f}' for n, h in hours.items())}"


def _precisions(trials: Sequence[Trial], rates: Rates) -> Iterator[str]:
    """Yields a line for every way in which a card trains models of the trials."""
    if rates.memory_gib is None:
        return
    models: dict[str, dict[str, None]] = {}
    for trial in trials:
        if (recipe := trial.recipe) is not None:
            convolutional = estimate.model_size(trial.resolve().model).convolutional
            mode = rates.accelerator.mode(recipe.precision, convolutional)
            why = "" if mode.precision == recipe.precision else f", for it has no {recipe.precision}"
            models.setdefault(f"{mode}{why}", {})[trial.model] = None
    for how, names in models.items():
        yield f"training  on {rates.name} in {how}: {', '.join(names)}"


def _rebuilding(trials: Sequence[Trial], rates: Rates) -> Iterator[str]:
    """Yields a line for every model whose factors the card has no memory for, so that they are made again to prune."""
    if rates.memory_gib is None:
        return
    lines: dict[str, None] = {}
    for trial in trials:
        fit, model = estimate.fit_bytes(trial), _weight_bytes(trial)
        if fit.least + model > rates.memory_gib * 2**30 >= estimate.least_bytes(trial) + model:
            again = _hours(estimate.rebuilding_work(trial).seconds(rates))
            lines[
                f"{trial.model} {trial.pruner}: no factors are kept, {_bytes(fit.minimum)} in place of "
                f"{_bytes(fit.least)}; pruning takes about {again} more, or that for every sparsity"
            ] = None
    for line in lines:
        yield f"rebuilt   on {rates.name} of {rates.memory_gib:g} GB: {line}"


def _weight_bytes(trial: Trial) -> int:
    """Returns the memory of a model's weights, in single precision."""
    return 4 * estimate.model_size(trial.resolve().model).parameters


def _misfits(trials: Sequence[Trial], config: ClusterConfig, rates: Rates) -> Iterator[str]:
    """Yields a line for every model that the card has no memory for."""
    if rates.memory_gib is None:
        return
    lines: dict[str, None] = {}
    for trial in trials:
        least = estimate.least_bytes(trial) + _weight_bytes(trial)
        if least > rates.memory_gib * 2**30:
            lines[f"{trial.model} {trial.pruner}: a fit takes {_bytes(least)} at the least"] = None
        if (recipe := trial.recipe) is None:
            continue
        share = -(-recipe.batch_size // (config.nodes * config.tasks))
        fitting = share
        while fitting > 1 and estimate.training_bytes(trial, fitting) > SHARE * rates.memory_gib * 2**30:
            fitting //= 2
        if fitting < share:
            needed = _bytes(estimate.training_bytes(trial, share))
            lines[f"{trial.model}: training takes {needed} for {share} images at once; --micro-batch {fitting}"] = None
    for line in lines:
        yield f"too much  for {rates.name} of {rates.memory_gib:g} GB: {line}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _restarts(seconds: float, config: ClusterConfig) -> str:
    if config.time is None or seconds <= 60 * config.time:
        return ""
    times = int(seconds // (60 * config.time))
    return f"; with a limit of {_hours(60 * config.time)} it is requeued and goes on {times} times"


def _bytes(size: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB")
    power = next((power for power in range(len(units)) if size < 1024 ** (power + 1)), len(units) - 1)
    return f"{size / 1024**power:,.{int(power == len(units) - 1)}f} {units[power]}"


def _storage(trials: Sequence[Trial], keep_models: bool) -> str:
    """Returns what stays on disk, and what a running job takes beside it."""
    rows = sum(estimate.storage(trial, keep_models=False) for trial in trials)
    kept = sum(map(estimate.kept_bytes, trials))
    models = f", {_bytes(kept)} of models (--no-keep-models leaves them)" if kept and keep_models else ""
    checkpoints = max(map(estimate.checkpoint_bytes, trials))
    return f"storage   {_bytes(rows)} of results{models}, {_bytes(checkpoints)} for the checkpoints of a running job"


def _memory(trials: Sequence[Trial], config: ClusterConfig) -> Iterator[str]:
    largest = max(trials, key=lambda trial: estimate.fit_bytes(trial).least)
    fit = estimate.fit_bytes(largest)
    without = f", {_bytes(fit.without_factors)} without kept factors" if fit.without_factors is not None else ""
    asked = f"; each job asks for {config.mem_gb:g} GB" if config.mem_gb is not None else ""
    yield (
        f"memory    a fit takes {_bytes(fit.least)} at the least and {_bytes(fit.single_pass)} with one pass over the "
        f"gradients{without} ({largest.model} {largest.pruner}), beside model and activations{asked}"
    )
