from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bench.core.random_state import derive_seed, random_state, seed_everything, set_random_state


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_all_generators_go_back_to_a_state() -> None:
    seed_everything(2**40)
    first = draw()
    state = random_state()
    second = draw()
    assert first != second
    set_random_state(state)
    assert draw() == second
    seed_everything(2**40)
    assert draw() == first


def test_the_state_of_a_machine_with_more_cards_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[int]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", taken.append)
    set_random_state({**random_state(), "cuda": [7, 8, 9, 10]})
    assert taken == [[7]]


def test_derived_seeds_are_those_that_committed_results_were_made_with() -> None:
    assert derive_seed(0, "calibration") == 0x5E495E6E3312
    assert len({derive_seed(seed, purpose) for seed in range(3) for purpose in ("calibration", "fine-tune")}) == 6
