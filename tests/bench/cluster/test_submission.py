from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from bench import cli
from bench.cluster.slurm import JobState
from bench.cluster.submission import SubmissionFolder, folders
from bench.cluster.submitted import SubmittedJob, all_jobs, busy
from bench.core import provenance
from bench.core.errors import UserError
from bench.results.store import Store
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial
from sweeps import table1

WAITING = JobState("PENDING", "", "Resources", active=True)

# as the code of commit 606d1dd wrote it
OLD_TRIAL = (
    '{"sweep":"table1","profile":"embedded","model":"vit","pruner":"magnitude","pruner_options":{},'
    '"patterns":["0.5","0.75","0.8","0.9","0.95","0.98"],"finetune_at":["0.5","0.75","0.9"],"finetune":{"epochs":1,'
    '"images":4096,"batch_size":32,"optimizer":"adamw","lr":0.001,"lr_end":0.0001,"schedule":"linear",'
    '"label_smoothing":0.1,"augmentation":"light1","crop":0.75,"distillation":0.0,"temperature":1.0,'
    '"precision":"float32"},"training":null,"quantization":null,"calibration":{"images":1024,"batch_size":128,'
    '"gradient":"sample"},"seed":0}'
)
OLD_TRIAL_ID = "c76b7a327ecd60e9"
OLD_SUBMISSION = (
    '{"cluster":"local","profile":"embedded","sweep":"table1","results":"/r","device":"cpu","threads":1,'
    '"memory_gb":null,"micro_batch":null,"time_limit":10,"signal_delay":60,"commit":"606d1dd","dirty":false,'
    '"versions":"{}","constraints":"727f6a4e8030b096f894bc6b7b1814200fa074bb174760c7bc6372bf1ef3f53b",'
    f'"jobs":[[{OLD_TRIAL}]]}}'
)
OLD_NOTE = '{"event": "start", "at": "2026-11-26T10:00:00+00:00", "host": "n1", "progress": "0123456789abcdef"}\n'


def test_submissions_are_read_back_oldest_first(
    store: Store, trials: Sequence[Trial], make_job: Callable[..., SubmittedJob]
) -> None:
    jobs = [make_job(WAITING, str(number)) for number in range(3)]
    assert [folder.path for folder in folders(store)] == [one.folder.path for one in jobs]
    assert folders(store)[0].submission().jobs == (tuple(trials),)


def test_a_line_that_is_cut_off_is_no_note(make_job: Callable[..., SubmittedJob]) -> None:
    folder = make_job(WAITING).folder
    folder.note("7_0", "start", progress="x")
    with (folder.logs / "7_0_notes.jsonl").open("a") as file:
        file.write('{"event": "tri')
    (note,) = folder.notes("7_0")
    assert (note.event, note.progress, note.trial_id) == ("start", "x", None)


@pytest.fixture
def old_folder(store: Store) -> Iterator[SubmissionFolder]:
    """The folder of a submission of older code, whose one local job runs."""
    folder = SubmissionFolder(store.folder / "jobs" / "20260101-000000-000000")
    folder.logs.mkdir(parents=True)
    (folder.path / "submission.json").write_text(OLD_SUBMISSION)
    environment = {**os.environ, "SUBMITIT_LOCAL_COMMAND": f"python -m submitit.core._submit {folder.logs}"}
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env=environment) as process:
        (folder.path / "jobs.json").write_text(json.dumps({str(process.pid): [OLD_TRIAL_ID]}))
        (folder.logs / f"{process.pid}_notes.jsonl").write_text(OLD_NOTE)
        yield folder
        process.kill()


def test_a_submission_of_other_code_is_refused_in_a_line(old_folder: SubmissionFolder) -> None:
    with pytest.raises(UserError) as refused:
        old_folder.submission()
    message = str(refused.value)
    assert "\n" not in message
    assert str(old_folder.path) in message
    assert "commit 606d1dd" in message
    assert str(provenance.commit()) in message
    assert "constraints" in message
    assert "check that commit out again" in message
    assert "capbench cancel" in message


def test_the_jobs_of_other_code_are_seen_and_cancelled(
    old_folder: SubmissionFolder,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    then = Sweep(name="table1", title="As it was", profiles={"embedded": (Trial.model_validate_json(OLD_TRIAL),)})
    monkeypatch.setattr(table1, "SWEEP", then)

    def call(command: str, *options: str) -> str:
        cli.main([command, "table1", "--results", str(store.folder.parents[1]), *options])
        return capsys.readouterr().out

    (job,) = all_jobs(store)
    assert job.state.active
    assert busy(store) == {OLD_TRIAL_ID}, "a trial's id is what it was"
    assert f"{OLD_TRIAL_ID}  pending" in call("status")
    run = ("run", "--cluster", "local", "--allow-dirty", "--dry-run")
    assert "1 in jobs already, 0 to run" in call(*run)
    assert "cancelled 1 jobs" in call("cancel")
    end = time.monotonic() + 30  # its process ends as soon as it gets to it
    while f"{OLD_TRIAL_ID}  cancelled" not in (told := call("status")):
        assert time.monotonic() < end, told
    assert "1 trials, 0 done, 1 to run" in call(*run)


def test_a_submission_that_cannot_be_read_is_named(old_folder: SubmissionFolder, store: Store) -> None:
    (old_folder.path / "submission.json").write_text("{")
    with pytest.raises(UserError, match=r"submission\.json cannot be read"):
        all_jobs(store)
