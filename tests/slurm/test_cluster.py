"""The cluster of the other tests does what a real one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import submitit
from cluster import Cluster


def submit(cluster: Cluster, script: str, output: Path, *options: str) -> str:
    return cluster.run("sbatch", "--parsable", f"--output={output}", *options, "--wrap", script).strip()


def states(cluster: Cluster, job: str) -> list[str]:
    return [run["State"] for run in cluster.sacct("-j", job, "--duplicates")]


def test_gpu(cluster: Cluster, tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(slurm_partition="test", gpus_per_node=1, cpus_per_task=2, mem_gb=8, timeout_min=5)
    job = executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert job.result() == "0"
    cluster.wait_until(lambda: states(cluster, job.job_id) == ["COMPLETED"], 20)


def test_all_gpus_are_used_and_none_twice(cluster: Cluster, tmp_path: Path) -> None:
    wanted = tmp_path / "all"
    script = f"echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; while [ ! -e {wanted} ]; do sleep 0.2; done"
    job = submit(cluster, script, tmp_path / "%a", "--array=0-4", "--gpus-per-node=1")
    cluster.wait_until(lambda: list(cluster.jobs().values()).count("RUNNING") == 4, 20)
    assert sorted(cluster.jobs()) == [f"{job}_{task}" for task in range(5)]
    wanted.touch()
    cluster.wait_until(lambda: not cluster.jobs(), 30)
    outputs = [(tmp_path / str(task)).read_text().strip() for task in range(5)]
    assert sorted(outputs[:4]) == ["n1 0", "n1 1", "n2 0", "n2 1"]
    assert outputs[4] in outputs[:4]


def test_array_larger_than_the_limit_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Invalid job array specification"):
        submit(cluster, "true", tmp_path / "%a", "--array=0-1001")


def test_preemption(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "low"
    resume = "scontrol requeue $SLURM_JOB_ID; exit"  # as submitit does
    script = f"trap 'echo USR2; {resume}' USR2; echo start $SLURM_RESTART_COUNT; while true; do sleep 0.2; done"
    submit(
        cluster, script, output, "--partition=low", "--exclusive", "--nodes=2", "--requeue", "--open-mode=append",
        "--signal=B:USR2@30",
    )  # fmt: skip
    cluster.wait_until(lambda: output.exists() and "start" in output.read_text(), 20)
    high = submit(cluster, "sleep 1", tmp_path / "high", "--partition=high", "--gpus-per-node=2")
    cluster.wait_until(lambda: states(cluster, high) == ["COMPLETED"], 40)
    cluster.wait_until(lambda: "start 1\n" in output.read_text(), 40)
    assert "USR2\n" in output.read_text()


def test_controller_restart(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    job = submit(cluster, f"touch {output}.started; sleep 4; echo done", output, "--gpus-per-node=1")
    cluster.wait_until(Path(f"{output}.started").exists, 20)
    cluster.stop_controller()
    with pytest.raises(RuntimeError, match="scontrol ping"):
        cluster.run("scontrol", "ping")
    cluster.start_controller()
    cluster.wait_until(lambda: not cluster.jobs(), 40)
    assert output.read_text() == "done\n"
    cluster.wait_until(lambda: states(cluster, job) == ["COMPLETED"], 20)


def test_killed_controller_starts_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.stop_controller(kill=True)
    cluster.start_controller()
    output = tmp_path / "output"
    submit(cluster, "echo done", output)
    cluster.wait_until(lambda: output.exists() and output.read_text() == "done\n", 30)


def test_killed_node(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = "echo $SLURMD_NODENAME; while true; do sleep 0.2; done"
    job = submit(cluster, script, output, "--nodelist=n1", "--requeue", "--open-mode=append")
    cluster.wait_until(lambda: output.exists() and output.read_text() == "n1\n", 20)
    cluster.kill_node("n1")
    cluster.wait_until(lambda: cluster.node_states()["n1"].startswith("down"), 60)
    assert cluster.jobs()[job] == "PENDING"
    cluster.wait_until(lambda: states(cluster, job) == ["NODE_FAIL", "PENDING"], 20)
    cluster.start_node("n1")
    cluster.wait_until(lambda: output.read_text() == "n1\nn1\n", 60)


def test_stop_ends_everything() -> None:
    with Cluster(nodes=1, gpus=0, MaxArraySize=11) as other:
        base = other.base
        assert "MaxArraySize            = 11\n" in other.run("scontrol", "show", "config")
        other.run("sbatch", "--output=/dev/null", "--wrap", "sleep 60")
        other.wait_until(lambda: "RUNNING" in other.jobs().values(), 20)
        environment = f"SLURM_CONF={other.env['SLURM_CONF']}".encode()
        assert processes_with(environment)
    assert not processes_with(environment)
    assert not base.exists()


def processes_with(text: bytes) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found
