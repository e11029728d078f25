from __future__ import annotations

import base64
import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the tests must not fight others for the cores

import pytest
from hypothesis import settings
from torch import nn

import cap
from cap.testing import TinyNet, tiny_calibration, tiny_layers, tiny_model

settings.register_profile("suite", deadline=None)  # how long an example takes depends on what else runs
settings.load_profile("suite")


@pytest.fixture
def device() -> str:
    """Device that tests run on which a card has to pass too: the CPU, or `cuda` in `nox -s gpu_tests`."""
    return os.environ.get("CAPBENCH_TEST_DEVICE", "cpu")


@pytest.fixture
def model() -> TinyNet:
    return tiny_model()


@pytest.fixture
def layers(model: TinyNet) -> dict[str, nn.Parameter]:
    return tiny_layers(model)


@pytest.fixture
def calibration() -> cap.Calibration:
    return tiny_calibration()


@pytest.fixture
def page_text() -> Callable[[Path], str]:
    """Returns a function that reads a page of HTML with its data unpacked."""

    def read(file: Path) -> str:
        start, data, end = re.split(r'(?<=id="data">)([^<]*)', file.read_text(), maxsplit=1)
        return start + gzip.decompress(base64.b64decode(data)).decode() + end

    return read
