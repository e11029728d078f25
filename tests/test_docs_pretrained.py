"""docs/pretrained.md says what is so: its files run, its numbers are those of the code."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from bench.data.own import open_data
from bench.models.pretrained import PRETRAINED
from bench.specs.discovery import load_sweep

TEXT = (Path(__file__).parents[1] / "docs/pretrained.md").read_text()
WORDS = " ".join(TEXT.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files, in which the test works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAPBENCH_PRETRAINED_DATA", raising=False)
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, flags=re.DOTALL):
        (tmp_path / name).write_text(code)
    return tmp_path


def test_cifar_10_is_read_as_its_python_version_has_it(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    draw = np.random.default_rng(0)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    first = draw.integers(0, 256, (6, 3072), dtype=np.uint8)
    for name in names:
        pixels = draw.integers(0, 256, (6, 3072), dtype=np.uint8) if name != "test_batch" else first
        batch = {b"data": pixels, b"labels": [0, 1, 2, 3, 4, 5]}
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(batch))
    data = open_data("cifar.py:load")
    assert data.counts()["test"] == 6
    assert sum(data.counts().values()) == 36
    image = np.asarray(data.splits["test"].rows[2]["image"])
    assert (image[3, 5] == first[2, [3 * 32 + 5, 1024 + 3 * 32 + 5, 2048 + 3 * 32 + 5]]).all(), "planes of colour"


def test_the_sweep_of_the_page_is_read(folder: Path) -> None:
    trials = load_sweep("settle.py").trials("pretrained")
    assert [(trial.pruner, trial.batch_norm) for trial in trials] == [
        (pruner, kind) for pruner in ("magnitude", "cap") for kind in ("kept", "reestimated")
    ]


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    vit = PRETRAINED["vit_small"]
    assert f"features of {vit.head_images:,} training images" in WORDS
    assert f"among {vit.bank} training images" in WORDS
    [images] = {trial.evaluation_images for trial in load_sweep("pretrained").trials("pretrained")}
    assert f"evaluates {images} test images" in WORDS
    for name, spec in PRETRAINED.items():
        assert f"| `{name}` |" in TEXT
        assert f"at {spec.input_size} pixels" in WORDS


def test_the_vit_is_called_what_it_is() -> None:
    """Its weights are no longer DINOv2's: only its origin may be named."""
    for sentence in re.findall(r"[^.|]*DINOv2[^.|]*", WORDS):
        assert re.search(r"fine-tuned from DINOv2|not DINOv2|from DINOv2's weights|about DINOv2 itself", sentence)
