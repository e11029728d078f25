from __future__ import annotations

import torch

from bench.data.seeding import combined_seed, temporarily_seeded


def test_random_numbers_of_others_go_on() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = torch.rand(1)
    with temporarily_seeded(2):
        torch.rand(5)
    assert torch.cat([first, torch.rand(1)]).equal(expected)


def test_combined_seeds_differ_in_every_part() -> None:
    seeds = [combined_seed(*parts) for parts in ((1, 2), (2, 1), (1, 2, 3), (1, 3))]
    assert len(set(seeds)) == 4, "order and value of every part count"
    assert combined_seed(1, 2) == seeds[0]
