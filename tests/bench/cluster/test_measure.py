from __future__ import annotations

from pathlib import Path

import pytest

from bench.cluster import measure
from bench.cluster.rates import DECODED, RATES
from bench.core.errors import UserError
from bench.data.imagenet import cache_folder
from bench.specs.discovery import load_sweep


def test_rates_are_measured_and_kept(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "BLOCKS", {"cpu": 2, "cuda": 2})
    assert measure.find_rates(None, on_gpu=False) == RATES["cpu"]
    trials = load_sweep("table1").trials("embedded")
    found = measure.measure_rates(trials[:1], "cpu")
    assert found.measured
    assert found.name.endswith("threads")
    assert min(found.inference, found.gradients, found.training, found.gram, found.solve) > 1e6
    assert found.decoded == DECODED, "these images need no decoding"
    assert found.trains_in == trials[0].recipe.precision
    assert measure.kept_rates() == {found.name: found}
    assert measure.find_rates(None, on_gpu=False) == found
    assert measure.find_rates(None, on_gpu=True) == RATES["a100"], "of a processor nothing follows for a card"
    assert measure.find_rates(found.name, on_gpu=True) == found
    with pytest.raises(UserError, match=r"--hardware abacus is not known: choose from cpu, a100, .*threads"):
        measure.find_rates("abacus", on_gpu=False)


def test_decoding_is_measured_with_the_images_that_are_there(
    imagenet_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    monkeypatch.setattr(measure, "BLOCKS", {"cpu": 2, "cuda": 2})
    monkeypatch.setattr(measure, "BATCH", {"cpu": 1, "cuda": 1})
    trials = [trial for trial in load_sweep("first_imagenet").trials("imagenet") if trial.pruner == "magnitude"]
    found = measure.measure_rates(trials, "cpu")
    assert found.decoded not in (DECODED, 0.0)


def test_a_file_that_cannot_be_read_is_left_out(no_network: None) -> None:
    folder = cache_folder() / "rates"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text("{}")
    assert measure.kept_rates() == {}
