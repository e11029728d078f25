"""Sweeps of the embedded profile as jobs of a real SLURM, and what goes wrong on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from cluster import Cluster
from suite import Suite

from bench.cluster.config import ClusterConfig
from bench.cluster.executor import ClusterExecutor
from bench.results.store import Store
from bench.specs.discovery import load_sweep


@pytest.fixture
def suite(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # also of the jobs, which inherit it
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Suite(cluster, tmp_path)
    torch.set_num_threads(threads)


def notes(suite: Suite, event: str) -> list[dict]:
    lines = [line for path in suite.results.rglob("*_notes.jsonl") for line in path.read_text().splitlines()]
    return [note for note in map(json.loads, lines) if note["event"] == event]


def wait_for_checkpoint(suite: Suite) -> None:
    suite.cluster.wait_until(suite.checkpoints, 120)


def test_a_sweep_runs_on_both_nodes_and_is_submitted_once(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=4)
    (array,) = suite.submit(sweep, "--gpus-per-node", "1", "--device", "cpu", "--mem-gb", "2")
    again = suite.call("run", sweep, "--cluster", "slurm", "--time", "30", "--allow-dirty")
    assert "4 in jobs already, 0 to run" in again
    assert suite.statuses(sweep).keys() == suite.wait(sweep, 180).keys()
    pd.testing.assert_frame_equal(suite.rows(sweep), suite.inline(sweep))
    accounts = suite.cluster.wait_until(lambda: _all_completed(suite.cluster, array), 30)
    assert len(accounts) == 4
    assert {account["NodeList"] for account in accounts} == {"n1", "n2"}
    table = pd.read_parquet(suite.results / "embedded" / "quick_4.parquet")
    assert set(table["job"]) == {f"{array}_{task}" for task in range(4)}


def _all_completed(cluster: Cluster, array: str) -> list[dict[str, str]]:
    accounts = cluster.sacct("-j", array)
    return accounts if {account["State"] for account in accounts} == {"COMPLETED"} else []


def test_a_preempted_job_goes_on_where_it_was(suite: Suite) -> None:
    sweep = suite.sweep("gradual", epochs=6)
    suite.submit(sweep, "--partition", "low", "--gpus-per-node", "2", "--device", "cpu", "--tasks-per-node", "1")
    wait_for_checkpoint(suite)
    command = ("--partition=high", "--nodes=2", "--gpus-per-node=2", "--output=/dev/null", "--wrap=srun sleep 8")
    suite.cluster.run("sbatch", *command)
    suite.cluster.wait_until(lambda: notes(suite, "preempted"), 30)
    suite.wait(sweep, 20, state="preempted")
    suite.wait(sweep, 180)
    assert len(notes(suite, "start")) == 2
    pd.testing.assert_frame_equal(suite.rows(sweep), suite.inline(sweep))


def test_a_job_that_reaches_its_time_limit_is_requeued_and_finishes(suite: Suite) -> None:
    sweep = suite.sweep("gradual", epochs=60)
    suite.submit(sweep, "--time", "2", "--signal-delay", "20")
    suite.wait(sweep, 600)
    assert notes(suite, "timeout")
    # where a start takes a minute, the signal comes too soon after it to be known as that of the limit
    interrupted = len(notes(suite, "timeout")) + len(notes(suite, "preempted"))
    assert len(notes(suite, "start")) == 1 + interrupted
    rows = suite.rows(sweep)
    assert rows["phase"].tolist() == ["dense", "finetuned", "finetuned"]
    assert rows["epoch"].dropna().tolist() == [30, 60]


def test_a_time_limit_without_progress_is_given_up_and_retried_alone(suite: Suite) -> None:
    sweep = suite.sweep("gradual", epochs=6)
    (job,) = suite.submit(sweep, "--time", "10", "--signal-delay", "30")
    (path,) = suite.results.rglob("submission.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "time_limit": 1}))  # SLURM itself shall not signal
    for starts in (1, 2):  # before its first checkpoint
        suite.cluster.wait_until(lambda starts=starts: len(notes(suite, "start")) == starts, 60)
        (process,) = suite.cluster.wait_until(lambda: suite.processes(job), 10)
        os.kill(process, signal.SIGUSR2)
    (line,) = suite.wait(sweep, 60, state="timeout").values()
    assert "time limit of 1 minutes passed 2 times" in line
    assert "no trial to retry" in suite.call("run", sweep, "--retry", "failed", code=2)
    suite.call("run", sweep, "--retry", "timeout", "--cluster", "slurm", "--time", "20", "--allow-dirty")
    suite.wait(sweep, 180)


def test_a_killed_job_fails_with_its_log_and_a_retry_finishes(suite: Suite) -> None:
    sweep = suite.sweep("pair")
    (job,) = suite.submit(sweep)
    suite.cluster.wait_until(lambda: notes(suite, "trial"), 60)
    (process,) = suite.processes(job)
    os.kill(process, signal.SIGKILL)

    def failed() -> list[str]:
        lines = list(suite.statuses(sweep).values())
        return lines if lines[0].startswith("failed") else []

    first, second = suite.cluster.wait_until(failed, 60)
    assert f"job {job}: FAILED on n" in first
    assert f"{job}_0_log.err" in first
    assert second.startswith("to run")
    submitted = suite.call("run", sweep, "--retry", "failed", "--cluster", "slurm", "--time", "30", "--allow-dirty")
    assert "1 trials, 0 done, 1 to run" in submitted
    suite.cluster.wait_until(lambda: _counts(suite, sweep) == {"done": 1, "to": 1}, 120)
    suite.submit(sweep)
    suite.wait(sweep, 120)


def _counts(suite: Suite, sweep: str) -> Counter[str]:
    return Counter(line.split()[0] for line in suite.statuses(sweep).values())


def test_the_executor_yields_each_trial_as_it_ends(suite: Suite) -> None:
    trials = load_sweep(suite.sweep("pair")).trials("embedded")
    store = Store(suite.results, "embedded", "pair")
    executor = ClusterExecutor(store, ClusterConfig(time=30), "slurm", poll_seconds=0.5, allow_dirty=True)
    assert [(end.trial.id, end.status, end.error) for end in executor.run(trials)] == [
        (trial.id, "done", None) for trial in trials
    ]
    assert [end.status for end in executor.run(trials)] == ["done", "done"], "there is nothing to submit"
    assert len(list(suite.results.rglob("submission.json"))) == 1


def test_cancelled_trials_run_again(suite: Suite) -> None:
    sweep = suite.sweep("slow", seeds=2)
    (array,) = suite.submit(sweep, "--max-parallel", "1")
    suite.cluster.wait_until(lambda: notes(suite, "start"), 60)
    suite.cluster.run("scancel", f"{array}_0")
    assert re.search("cancelled [12] jobs", suite.call("cancel", sweep)), "the first may not have ended yet"
    suite.cluster.wait_until(lambda: not suite.cluster.jobs(), 60)
    suite.cluster.wait_until(lambda: _counts(suite, sweep)["cancelled"] == 2, 30)
    suite.submit(sweep)
    suite.wait(sweep, 120)


def test_the_controller_restarts_in_mid_sweep(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=4)
    suite.submit(sweep, "--max-parallel", "2")
    suite.cluster.wait_until(lambda: notes(suite, "start"), 60)
    suite.cluster.stop_controller()
    error = suite.call("status", sweep, code=2)
    assert "SLURM does not answer" in error
    refused = suite.call("run", sweep, "--cluster", "slurm", "--time", "30", "--allow-dirty", code=2)
    assert refused.count("\n") == 1, "one line"
    assert "SLURM does not answer" in refused
    assert len(list(suite.results.rglob("submission.json"))) == 1
    suite.cluster.start_controller()
    suite.wait(sweep, 180)
    assert suite.rows(sweep)["trial_id"].nunique() == 4


def test_the_job_of_a_dead_node_goes_on_elsewhere(suite: Suite) -> None:
    sweep = suite.sweep("gradual", epochs=6)
    (job,) = suite.submit(sweep)
    wait_for_checkpoint(suite)
    node = suite.cluster.run("squeue", "--noheader", "--jobs", job, "--format=%N").strip()
    suite.cluster.kill_node(node)
    seen: set[str] = set()

    def done() -> bool:
        (line,) = suite.statuses(sweep).values()
        seen.add(line.split()[0])
        return line.startswith("done")

    suite.cluster.wait_until(done, 240)
    assert seen <= {"running", "pending", "preempted", "done"}, "SLURM calls it NODE_FAIL, and runs it again"
    assert len(notes(suite, "start")) == 2
    pd.testing.assert_frame_equal(suite.rows(sweep), suite.inline(sweep))


def test_a_folder_that_is_full_or_cannot_be_written_is_found_before_submission(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=1)
    suite.results.mkdir()
    for options, message in (("size=4k", "No space left on device"), ("ro", "Read-only file system")):
        suite.cluster.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(suite.results))
        try:
            if options != "ro":
                (suite.results / "filler").write_bytes(b"\0" * 4096)
            error = suite.call("run", sweep, "--cluster", "slurm", "--time", "30", "--allow-dirty", code=2)
        finally:
            suite.cluster.run("umount", str(suite.results))
        assert f"cannot write results to {suite.results}" in error
        assert message in error
    assert not suite.cluster.jobs()


def test_two_processes_train_one_model_together(suite: Suite) -> None:
    sweep = suite.sweep("together")
    options = ("--tasks-per-node", "2", "--gpus-per-node", "2", "--device", "cpu")
    suite.submit(sweep, *options, "--setup", "export MASTER_ADDR=127.0.0.1")  # the nodes' names are no hosts
    suite.wait(sweep, 180)
    together, alone = suite.rows(sweep), suite.inline(sweep)
    table = pd.read_parquet(suite.results / "embedded" / "together.parquet")
    assert set(table["processes"]) == {2}
    exact = ["phase", "pattern", "params_nonzero", "sparsity_prunable", "finetune_images", "n_images", "top1_dense"]
    pd.testing.assert_frame_equal(together[exact], alone[exact])
    assert (together["top1"] - alone["top1"]).abs().max() <= 0.3
    assert (together["loss"] - alone["loss"]).abs().max() <= 5e-3


def test_soak_every_row_is_there_exactly_once(suite: Suite) -> None:
    """200 trials in 10 jobs, 8 at once, where arrays hold 8."""
    sweep = suite.sweep("soak")
    first, second = suite.submit(sweep, "--max-parallel", "8")
    most = 0
    watch = suite.start("status", sweep, "--watch", "--every", "5")
    while watch.poll() is None:
        running = [job for job, state in suite.cluster.jobs().items() if state == "RUNNING"]
        assert len({job.partition("_")[0] for job in running}) <= 1, "the second array waits for the first"
        most = max(most, len(running))
        time.sleep(0.5)
    assert most == 8
    rows = suite.rows(sweep)
    assert {job.partition("_")[0] for job in rows_with_jobs(suite, "soak")} == {first, second}
    shot = rows[rows["phase"] == "one_shot"]
    assert shot.groupby("trial_id").size().tolist() == [1] * 200
    assert shot.groupby(["pruner", "status"]).size().to_dict() == {
        ("magnitude", "done"): 100,
        ("wanda", "skipped"): 100,
    }
    assert (rows["phase"] == "dense").sum() == 200


def rows_with_jobs(suite: Suite, name: str) -> set[str]:
    return set(pd.read_parquet(suite.results / "embedded" / f"{name}.parquet")["job"])


def test_a_closed_terminal_and_ctrl_c_do_not_end_local_jobs(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=2)
    process = suite.start("run", sweep, "--cluster", "local", "--max-parallel", "2", "--allow-dirty")
    output, _ = process.communicate(timeout=120)
    assert "submitted 2 jobs" in output
    (first, *_) = notes_when_started(suite)
    group = os.getpgid(int(first))
    assert group != os.getpgid(0)
    os.killpg(group, signal.SIGHUP)
    suite.wait(sweep, 120)


def notes_when_started(suite: Suite) -> list[str]:
    return suite.cluster.wait_until(
        lambda: [path.name.partition("_")[0] for path in suite.results.rglob("*_notes.jsonl")], 60
    )


def test_other_code_than_was_submitted_is_refused(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=1)
    command = ("--parsable", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=srun sleep 300")
    hold = suite.cluster.run("sbatch", *command).strip()
    (job,) = suite.submit(sweep)
    (path,) = suite.results.rglob("submission.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": "0" * 40}))
    suite.cluster.run("scancel", hold)
    (line,) = suite.wait(sweep, 60, state="failed").values()
    assert "submitted at commit 0000" in (path.parent / "logs" / f"{job}_0_log.err").read_text()
    assert f"{job}_0_log.err" in line
