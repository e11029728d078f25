from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of all tests, which SLURM's commands and submitit find by the environment."""
    if missing := Cluster.missing_packages():
        reason = f"SLURM is not installed: apt-get install {' '.join(missing)}"
        if os.environ.get("CAPBENCH_REQUIRE_SLURM") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with Cluster(MaxArraySize=8) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(autouse=True)
def clean_cluster(cluster: Cluster) -> Iterator[None]:
    """Leaves no jobs, and all nodes up, to the next test."""
    yield
    cluster.clean()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows SLURM's logs with a test that failed."""
    report = yield
    running = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and running is not None:
        report.sections.append(("SLURM's logs", running.logs()))
    return report
