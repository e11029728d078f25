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


def test_a_state_of_a_card_serves_where_there_is_none_or_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    set_on_card = list[torch.Tensor]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", set_on_card.append)
    state = random_state()
    assert [one.tolist() for one in state["cuda"]] == [[7]], "of the card at work alone"
    set_random_state(state)
    assert [one.tolist() for one in set_on_card] == [[7]]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    set_random_state(state)
    assert len(set_on_card) == 1


def test_derived_seeds_are_those_that_committed_results_were_made_with() -> None:
    assert derive_seed(0, "calibration") == 0x5E495E6E3312
    assert len({derive_seed(seed, purpose) for seed in range(3) for purpose in ("calibration", "fine-tune")}) == 6
