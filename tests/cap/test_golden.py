"""The released code's own outputs (IST-DASLab/CAP, commit f4cbe69) are reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import cap
from cap.fisher import as_blocks
from cap.kernels import cpu, left_looking, reference

DATA = Path(__file__).parents[1] / "data"
FILES = ["small", "few_grads", "row_block", "gradual"]


class Golden:
    def __init__(self, name: str) -> None:
        with safe_open(DATA / f"{name}.safetensors", "pt") as file:
            self.metadata = file.metadata()
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.num_blocks, self.block_size = self.tensors["loss"].shape
        self.damp = float(self.metadata["damp"])
        self.weight = as_blocks(self.tensors["weight"], self.block_size)

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]


@pytest.fixture(params=FILES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-3) -> None:
    assert (ours.double() - theirs.double()).abs().max() <= tolerance * theirs.double().abs().max()


def test_fisher_inverse(golden: Golden) -> None:
    fisher = cap.BlockFisher(golden["weight"].numel(), golden.block_size, golden.damp)
    for part in golden["gradients"].split(7):
        fisher.update(part)
    close(fisher.inverse(), golden["fisher_inverse"])


@pytest.mark.parametrize("kernel", [reference, left_looking, cpu])
def test_losses_and_order(golden: Golden, kernel) -> None:  # type: ignore[no-untyped-def]
    order, loss = kernel.eliminate_blocks(golden.weight, golden["fisher_inverse"], 1, 1)
    present = golden.weight != 0
    close(loss[present], golden["loss"][present])
    # of the weights that were there, the order is the released one's
    theirs = golden["loss"].masked_fill(~present, -1).argsort(dim=1, stable=True)
    for block in range(golden.num_blocks):
        ours = [int(i) for i in order[block] if present[block, i]]
        assert ours == [int(i) for i in theirs[block] if present[block, i]]


def test_weights_after_removal(golden: Golden) -> None:
    order = cap.eliminate(golden.weight, golden["fisher_inverse"]).order
    checked = 0
    for key in golden.tensors:
        if not key.endswith("of_each_block"):
            continue
        percent = int(key.removeprefix("weight_").removesuffix("pct_of_each_block"))
        removed = order[:, : round(golden.block_size * percent / 100)]
        keep = torch.ones_like(golden.weight, dtype=torch.bool).scatter_(1, removed, False)
        close(cap.compensate(golden.weight, golden["fisher_inverse"], keep), golden[key])
        checked += 1
    assert checked


def test_woodfisher(golden: Golden) -> None:
    inverse, weight = golden["fisher_inverse"], golden["weight"]
    pruner = cap.create("woodfisher", block_size=golden.block_size)
    pruner.weights, pruner.inverses = {"w": weight}, {"w": inverse}
    theirs = golden["obs_weight_50pct"]
    close(pruner.update({"w": theirs != 0})["w"], theirs)


@pytest.mark.parametrize("golden", [name for name in FILES if name != "gradual"], indirect=True)
def test_nm(golden: Golden) -> None:
    loss = cap.eliminate(golden.weight, golden["fisher_inverse"], cap.NM(2, 4)).loss
    pruned = cap.compensate(golden.weight, golden["fisher_inverse"], loss.isinf())
    close(pruned, as_blocks(golden["nm_2_4_weight"], golden.block_size))
