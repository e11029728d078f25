"""What a sweep on a cluster will take, told before anything is submitted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from bench.cluster import estimate as cost
from bench.cluster.job import split
from bench.cluster.site import ClusterConfig
from bench.execution.executor import group_by_calibration
from bench.specs.trial import Trial

SHARE = 0.8  # of the time limit that a job is filled up to


def jobs_of(trials: Sequence[Trial], site: ClusterConfig, rates: cost.Rates) -> list[list[Trial]]:
    """Brings trials together into jobs: those that share what is computed, as far as the time limit lets them."""
    groups = group_by_calibration(trials)
    if site.time is None:
        return groups
    seconds = [cost.group_seconds(group, rates) for group in groups]
    processes = site.nodes * site.tasks
    return split(groups, [[second / processes for second in row] for row in seconds], 60 * site.time * SHARE)


def describe(trials: Sequence[Trial], done: Collection[str], site: ClusterConfig, rates: cost.Rates) -> Iterator[str]:
    """Yields what there is to know of a sweep before it is submitted, line by line.

    Args:
        trials: All trials.
        done: The ids of those that are not to run again.
        site: What a job asks for.
        rates: Of the device.
    """
    todo = [trial for trial in trials if trial.id not in done]
    yield f"trials    {len(trials)}, {len(trials) - len(todo)} done or in jobs already, {len(todo)} to run"
    if not todo:
        return
    jobs = jobs_of(todo, site, rates)
    at_once = f", {site.max_parallel} at once" if site.max_parallel else ""
    yield f"jobs      {len(jobs)} of {len(group_by_calibration(todo))} groups that share calibration images{at_once}"
    processes = site.nodes * site.tasks
    times = [cost.START + sum(cost.group_seconds(job, rates)) / processes for job in jobs]
    unit = "GPU hours" if rates.name != "cpu" else "hours of two cores"
    known = "fitted to the embedded results" if rates.measured else "assumed, not measured"
    yield f"time      {sum(times) * processes / 3600:,.1f} {unit} ({rates.name}: rates {known})"
    longest = max(range(len(jobs)), key=times.__getitem__)
    label = f"{jobs[longest][0].label}, {len(jobs[longest])} trials"
    yield f"          the longest job takes {_hours(times[longest])} ({label}){_restarts(times[longest], site)}"
    yield from _memory(todo, site)
    rows, checkpoints = sum(map(cost.storage, todo)), max(map(cost.checkpoint_bytes, todo))
    yield f"storage   {_bytes(rows)} of results, {_bytes(checkpoints)} for the checkpoints of a running job"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _restarts(seconds: float, site: ClusterConfig) -> str:
    if site.time is None or seconds <= 60 * site.time:
        return ""
    times = int(seconds // (60 * site.time))
    return f"; with a limit of {_hours(60 * site.time)} it is requeued and goes on {times} times"


def _bytes(size: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB")
    power = next((power for power in range(len(units)) if size < 1024 ** (power + 1)), len(units) - 1)
    return f"{size / 1024**power:,.{int(power == len(units) - 1)}f} {units[power]}"


def _memory(trials: Sequence[Trial], site: ClusterConfig) -> Iterator[str]:
    largest = max(trials, key=lambda trial: cost.fit_bytes(trial)[0])
    least, once = cost.fit_bytes(largest)
    asked = f"; each job asks for {site.mem_gb:g} GB" if site.mem_gb is not None else ""
    yield (
        f"memory    a fit takes {_bytes(least)} at the least and {_bytes(once)} with one pass over the gradients "
        f"({largest.model} {largest.pruner}), beside model and activations{asked}"
    )
