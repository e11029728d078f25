"""`capbench tune`: settings of pruners, chosen on validation images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions
from bench.cli.console import console, say_written
from bench.cli.options import OwnOptions, Profile, Results, Several, first_given
from bench.cli.run import run_here, submit


def tune(
    *,
    pruner: Annotated[tuple[str, ...], Several] = (),
    model: Annotated[tuple[str, ...], Several] = (),
    profile: Profile = "embedded",
    jobs: int | None = None,
    device: str | None = None,
    memory_gb: float | None = None,
    results: Results = Path("runs"),
    dry_run: bool = False,
    cluster: Literal["inline", "local", "slurm"] = "inline",
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster (local and slurm)")] = None,
    own: Annotated[OwnOptions | None, Parameter(name="*", group="Your own model and data")] = None,
) -> None:
    """Choose the settings of pruners on validation images: the same number of tries for each, its authors' first.

    Only what has not run yet runs. The choices go to tuned.json in the profile's folder of results, where compare
    --setting tuned finds them. Test images play no part.

    Args:
        pruner: Pruners to tune; by default all of this package, and the learning rate of the fine-tune. One of your own
            is path/to/file.py:ClassName, with a class attribute search_space.
        model: Models; by default all of the profile. With --data: timm:NAME, or my_model.py:FUNCTION.
        jobs: Parallel processes of an inline run; by default one for each core, on a GPU one.
        device: The torch device of all trials: cpu, cuda, cuda:1, ...; by default cuda for jobs with GPUs, else cpu.
        memory_gb: GiB that the fits of all processes together may take on the device; by default what is free less a
            tenth. Results do not depend on it.
        dry_run: Show what would run, and stop.
        cluster: Where: in processes of this command, as local jobs that outlive it, or as jobs of SLURM; call the
            command again when these have ended.
    """
    model, profile = (own or OwnOptions()).texts(model, profile)
    selection = bench.select_tuning(profile, pruner, model, results)
    if cluster != "inline":
        if jobs is not None:
            raise bench.UserError("--jobs is for inline runs: give --max-parallel")
        target = bench.ClusterTarget(cluster, (site or ClusterOptions()).config(), device, memory_gb)
        submit(selection, target, allow_dirty=False, dry_run=dry_run)
        failures, chosen = 0, not selection.missing()
    elif site is not None:
        raise bench.UserError(f"an inline run has no {first_given(site)}: it needs --cluster slurm or --cluster local")
    else:
        run = bench.LocalRun(selection, bench.LocalResources(jobs, device or "cpu", memory_gb))
        failures, chosen = run_here(run, dry_run), True
    if chosen and not dry_run:
        _choose(selection)
    if failures:
        raise SystemExit(1)


def _choose(selection: bench.TrialSelection) -> None:
    """Chooses by what has run, prints the choices and writes them."""
    tuned = bench.store_choices(selection)
    bench.print_choices(tuned, console)
    say_written([bench.tuned_file(selection.store.profile, selection.results)])
