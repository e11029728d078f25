"""What a lab meets on the way to its first rows, on a real SLURM: nodes without cards, settings that fail, ImageNet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import timm
import torch
from cluster import Cluster
from safetensors.torch import save_file
from suite import Suite

IMAGENET = """
from bench.specs.sweep import Sweep, grid

SWEEP = Sweep(name="first", title="test", profiles={"imagenet": grid(
    sweep="first", profile="imagenet", model="deit3_small", pruner="magnitude", patterns=("0.5",))})
"""

OWN = """
from bench import own_model, own_profile

DATA = "imagefolder:photos"
NET = own_model("timm:test_resnet", DATA, name="net", weights="net.safetensors", transform={"input_size": 32})
PROFILE = own_profile(DATA, {"net": NET})
"""
OWN_SWEEP = """
from bench import Sweep, get_profile, grid

NAME = "mine.py:PROFILE"
TRIALS = grid(sweep="own", profile=NAME, model="net", pruner="magnitude", seed=[0, 1], patterns=("0.5",),
              calibration=get_profile(NAME).calibration)
SWEEP = Sweep(name="own", title="Own", profiles={NAME: TRIALS})
"""


@pytest.fixture
def suite(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # also of the jobs, which inherit it
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Suite(cluster, tmp_path)
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images of three classes of ImageNet, 8 to train on and 5 to test on of each."""
    for split, count in (("train", 8), ("val", 5)):
        for wnid in ("n01440764", "n01443537", "n01484850"):
            (tmp_path / "images" / split / wnid).mkdir(parents=True)
            for number in range(count):
                PIL.Image.new("RGB", (60, 50), (number, 9, 9)).save(
                    tmp_path / "images" / split / wnid / f"{number}.JPEG"
                )
    return tmp_path / "images"


def ended(suite: Suite, job: str) -> str:
    """Returns the state that accounting has of a job that has ended."""

    def state() -> str:
        (found,) = suite.cluster.sacct("-j", job) or [{"State": "PENDING"}]
        return "" if found["State"] in ("PENDING", "RUNNING", "COMPLETING") else found["State"]

    return suite.cluster.wait_until(state, 60, every=0.5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the nodes have cards")
def test_a_node_without_cuda_gives_a_row_a_log_and_a_failed_job(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=1)
    (job,) = suite.submit(sweep, "--gpus-per-node", "1")
    (line,) = suite.wait(sweep, 90, state="failed").values()
    assert re.match(r"failed +convnext magnitude seed 0  (Runtime|Assertion)Error: \S.* on \S+, job ", line)
    (log,) = suite.results.glob("embedded/*/*.log")
    assert "Traceback" in log.read_text()
    assert str(log) in line
    assert ended(suite, job) == "FAILED"
    (only,) = suite.call("status", sweep, "--state", "failed").splitlines()[:-1]
    assert line in only
    assert suite.call("status", sweep, "--summary").splitlines()[0] == "convnext  1 failed"


def test_a_setup_line_that_fails_fails_the_job(suite: Suite) -> None:
    sweep = suite.sweep("quick", seeds=1)
    (job,) = suite.submit(sweep, "--setup", "module_that_is_not load cuda", "--setup", "export X=1")
    (line,) = suite.wait(sweep, 60, state="failed").values()
    assert "capbench: this line of setup failed: module_that_is_not load cuda: job" in line
    assert ended(suite, job) == "FAILED"


def test_imagenet_runs_where_only_the_nodes_are_told_of_it(
    suite: Suite, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS"):
        monkeypatch.setenv(name, "x")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPBENCH_CACHE", str(suite.folder / "cache"))
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    Path("cluster.toml").write_text(
        f'time = 30\nsetup = ["export CAPBENCH_IMAGENET={images}"]\n[env]\nCAPBENCH_WEIGHTS = "{suite.folder}"\n'
    )
    from bench.models import get_model

    spec = get_model("imagenet", "deit3_small")
    save_file(spec.build().state_dict(), suite.folder / f"{spec.timm_name}.safetensors")
    Path("first.py").write_text(IMAGENET)
    options = ("--profile", "imagenet")
    assert "submitted 1 jobs" in suite.call("run", "first.py", *options, "--cluster", "slurm", "--allow-dirty")
    suite.cluster.wait_until(lambda: "1 done" in suite.call("status", "first.py", *options), 120, every=1)
    rows = pd.read_parquet(next((suite.results / "imagenet" / "first").glob("*[0-9a-f].parquet")))
    assert set(rows["n_images"]) == {15}
    assert set(rows["train_images"]) == {24}
    for name in ("CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS"):
        os.environ.pop(name)
    Path("cluster.toml").unlink()
    assert "1 to run" in suite.call("status", "first.py", *options), "of all of ImageNet, as is assumed without any"


def test_the_nodes_know_a_profile_in_a_file(suite: Suite) -> None:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog", "owl"):
        Path("photos", name).mkdir(parents=True)
        for number in range(10):
            picture = PIL.Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            picture.save(Path("photos", name, f"{number}.png"))
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), "net.safetensors")
    Path("mine.py").write_text(OWN)
    Path("own.py").write_text(OWN_SWEEP)
    profile = ("--profile", "mine.py:PROFILE")
    submit = ("run", "own.py", *profile, "--cluster", "slurm", "--time", "30", "--allow-dirty")
    assert "submitted 2 jobs" in suite.call(*submit)
    suite.cluster.wait_until(lambda: "2 done" in suite.call("status", "own.py", *profile), 120, every=1)
    assert "2 trials, 2 done, 0 to run" in suite.call(*submit, "--dry-run")
    suite.call("collect", "own.py", *profile)
    (table,) = suite.results.glob("mine-py-PROFILE-*/own.parquet")
    rows = pd.read_parquet(table)
    assert (set(rows["n_images"]), set(rows["status"])) == ({9}, {"done"})


def test_what_runs_at_once_is_counted_over_all_submissions(suite: Suite) -> None:
    first, second = suite.sweep("slow", seeds=2), suite.sweep("quick", seeds=2)
    (one,) = suite.submit(first, "--max-parallel", "1")
    (two,) = suite.submit(second, "--max-parallel", "1")
    waits_for = suite.cluster.run("squeue", "--noheader", "--jobs", two, "--format=%E")
    assert f"afterany:{one}" in waits_for
    assert "cancelled 1 jobs" in suite.call("cancel", first, "--seeds", "1")
    suite.cluster.wait_until(lambda: f"{one}_1" not in suite.cluster.jobs(), 30)
    assert f"{one}_0" in suite.cluster.jobs()
    suite.call("cancel", second)
    suite.call("cancel", first)
