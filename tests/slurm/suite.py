"""`capbench` on the test cluster, with a results folder and sweeps of its own."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
from cluster import Cluster

from bench.cli import main

HEADER = """
from bench.specs.recipes import FinetuneSpec, GradualSpec
from bench.specs.sweep import Sweep, grid
"""
FIELDS = {  # of a sweep's trials
    # a job for each seed, of a few seconds
    "quick": 'model="convnext", pruner="magnitude", patterns=("0.5", "0.9"), seed=list(range({seeds})), '
    'evaluation_images=500',
    # a job for each seed, which is still at work when it is cancelled: twenty patterns
    "slow": 'model="convnext", pruner="magnitude", patterns=tuple(f"0.{{n}}" for n in range(50, 70)), '
    'seed=list(range({seeds})), evaluation_images=2000',
    # one job of two trials
    "pair": 'model="vit", pruner=["magnitude", "woodfisher"], patterns=("0.5",), seed=0, evaluation_images=500',
    # one job of half a minute or more, which leaves a checkpoint every two seconds
    "gradual": 'model="vit", pruner="magnitude", patterns=("0.5", "0.75"), training=GradualSpec(epochs={epochs}, '
    'images=2048, batch_size=32, lr=5e-4, lr_end=1e-5, period={epochs} // 2, knots=((0, 0.5), ({epochs} // 2, 0.75)), '
    'crop=0.75), evaluation_images=500',
    # one job that a group of processes works on together
    "together": 'model="vit", pruner="woodfisher", pruner_options={{"num_gradients": 256, "block_size": 16}}, '
    'patterns=("0.75",), finetune_at=("0.75",), '
    'finetune=FinetuneSpec(epochs=1, images=1024, batch_size=64, lr=1e-3, lr_end=1e-4, crop=0.75)',
    # 200 trials in a job for each of 10 seeds; wanda can do none of its 100
    "soak": 'model="convnext", pruner=["magnitude", "wanda"], patterns=[(f"0.{{n}}",) for n in range(10, 20)], '
    'seed=list(range(10)), evaluation_images=500',
}  # fmt: skip
DIFFERS = re.compile(r".*_seconds|peak_memory_bytes|host|job|started_at|processes|file_bytes")  # from run to run


class Suite:
    """Runs the command as a user does, in a process of its own.

    Args:
        cluster: Where jobs go.
        folder: Of results and sweeps.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.results = folder / "results"

    def sweep(self, kind: str, **values: int) -> str:
        """Writes a sweep file and returns its path."""
        name = "_".join([kind, *map(str, values.values())])
        fields = FIELDS[kind].format(**values)
        path = self.folder / f"{name}.py"
        path.write_text(
            f'{HEADER}\nSWEEP = Sweep(name="{name}", title="test", profiles={{"embedded": '
            f'grid(sweep="{name}", profile="embedded", {fields})}})\n'
        )
        return str(path)

    def start(self, command: str, sweep: str, *options: str) -> subprocess.Popen[str]:
        """Starts a command on a sweep in a process and a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench", command, sweep, "--results", str(self.results), *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def call(self, command: str, sweep: str, *options: str, code: int = 0, results: Path | None = None) -> str:
        """Runs a command on a sweep, in this process, and returns what it printed."""
        output, ended = io.StringIO(), 0
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                main([command, sweep, "--results", str(results or self.results), *options])
            except SystemExit as end:
                ended = int(end.code or 0)
        assert ended == code, output.getvalue()
        return output.getvalue()

    def submit(self, sweep: str, *options: str) -> list[str]:
        """Submits what is left of a sweep, and returns the arrays."""
        limit = () if "--time" in options else ("--time", "30")
        output = self.call("run", sweep, "--cluster", "slurm", "--allow-dirty", *limit, *options)
        found = re.search(r"submitted \d+ jobs: (.*)", output)
        assert found is not None, output
        return found[1].split(", ")

    def statuses(self, sweep: str) -> dict[str, str]:
        """Returns the line of each trial in `capbench status`: {trial id: the rest of it}."""
        lines = self.call("status", sweep).splitlines()
        return dict(line.split(maxsplit=1) for line in lines[:-1])

    def wait(self, sweep: str, seconds: float, state: str = "done") -> dict[str, str]:
        """Waits until all trials of a sweep are in a state, and returns their lines."""
        found: dict[str, str] = {}

        def reached() -> bool:
            nonlocal found
            found = self.statuses(sweep)
            return all(line.startswith(state) for line in found.values())

        try:
            self.cluster.wait_until(reached, seconds, every=0.5)
        except TimeoutError as error:
            logs = [f"--- {p.name}\n{p.read_text()}" for p in self.results.rglob("*.err")]
            raise TimeoutError("\n".join([str(found), *logs, str(error)])) from None
        return found

    def rows(self, sweep: str, results: Path | None = None) -> pd.DataFrame:
        """Collects a sweep, and returns the columns that do not differ from run to run."""
        self.call("collect", sweep, results=results)
        table = pd.read_parquet((results or self.results) / "embedded" / f"{Path(sweep).stem}.parquet")
        return table[[name for name in table.columns if not DIFFERS.fullmatch(name)]]

    def inline(self, sweep: str) -> pd.DataFrame:
        """Runs a sweep in one process that nothing interrupts, and returns its rows."""
        results = self.folder / "inline"
        self.call("run", sweep, "--jobs", "1", results=results)
        return self.rows(sweep, results)

    def checkpoints(self) -> list[float]:
        """Returns the times at which the checkpoints that are there were written."""
        return [path.stat().st_mtime for path in self.results.rglob("checkpoint/state.pt")]

    def processes(self, job: str) -> list[int]:
        """Returns the ids of the Python processes of a job."""
        array, _, task = job.partition("_")
        wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"} if task else {f"SLURM_JOB_ID={array}"}
        wanted |= {f"SLURM_CONF={self.cluster.env['SLURM_CONF']}", "SUBMITIT_EXECUTOR=slurm"}
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().decode(errors="replace").split("\0")
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted <= set(environment) and b"submitit.core._submit" in command and b"srun" not in command:
                found.append(int(path.name))
        return found
