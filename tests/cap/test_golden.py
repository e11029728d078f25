"""The released code's own outputs (IST-DASLab/CAP, commit f4cbe69) are reproduced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import cap
from cap.fisher.blocks import split_blocks
from cap.fisher.factors import InverseFactor
from cap.kernels import batched, eliminator, reference

DATA = Path(__file__).parents[1] / "data"
DEVICE = torch.device(os.environ.get("CAPBENCH_TEST_DEVICE", "cpu"))
KERNELS = {
    "reference": reference.eliminate_blocks,
    "batched": batched.eliminate_blocks,
    "chosen": eliminator(DEVICE),  # compiled on the CPU, in Triton on a card
}
FILES = ["small", "few_grads", "row_block", "gradual"]


class Golden:
    def __init__(self, name: str) -> None:
        with safe_open(DATA / f"{name}.safetensors", "pt") as file:
            self.metadata = file.metadata()
            self.tensors = {key: file.get_tensor(key).to(DEVICE) for key in file.keys()}  # noqa: SIM118
        self.num_blocks, self.block_size = self.tensors["loss"].shape
        self.damp = float(self.metadata["damp"])
        self.weight = split_blocks(self.tensors["weight"], self.block_size)

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]


@pytest.fixture(params=FILES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-3) -> None:
    assert (ours.double() - theirs.double()).abs().max() <= tolerance * theirs.double().abs().max()


def test_fisher_inverse(golden: Golden) -> None:
    fisher = cap.BlockFisher(golden["weight"].numel(), golden.block_size, golden.damp, DEVICE)
    for part in golden["gradients"].split(7):
        fisher.update(part)
    close(fisher.inverse(), golden["fisher_inverse"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_losses_and_order(golden: Golden, kernel: str) -> None:
    order, loss = KERNELS[kernel](golden.weight, golden["fisher_inverse"], 1, 1, golden.block_size)
    present = golden.weight != 0
    close(loss[present], golden["loss"][present])
    # of the weights that were there, the order is the released one's
    theirs = golden["loss"].masked_fill(~present, -1).argsort(dim=1, stable=True)
    for block in range(golden.num_blocks):
        ours = [int(i) for i in order[block] if present[block, i]]
        assert ours == [int(i) for i in theirs[block] if present[block, i]]


def stored_weights(golden: Golden) -> dict[int, torch.Tensor]:
    """The released weights after so many removals from every block."""
    end = "pct_of_each_block"
    found = {key: int(key.removeprefix("weight_").removesuffix(end)) for key in golden.tensors if key.endswith(end)}
    assert found
    return {round(golden.block_size * percent / 100): golden[key] for key, percent in found.items()}


def test_weights_after_removal(golden: Golden) -> None:
    order = cap.eliminate(golden.weight, golden["fisher_inverse"]).order
    for count, theirs in stored_weights(golden).items():
        keep = torch.ones_like(golden.weight, dtype=torch.bool).scatter_(1, order[:, :count], False)
        close(cap.compensate(golden.weight, golden["fisher_inverse"], keep), theirs)


def factored(golden: Golden, order: torch.Tensor | None = None) -> InverseFactor:
    fisher = torch.linalg.inv(golden["fisher_inverse"].double())
    factor = InverseFactor.empty(golden.weight.numel(), golden.block_size, DEVICE)
    assert not factor.fill(slice(0, golden.num_blocks), (fisher + fisher.mT) / 2, golden.weight, order).any()
    return factor


def test_weights_read_off_the_factors(golden: Golden) -> None:
    order = cap.eliminate(golden.weight, golden["fisher_inverse"]).order
    factor = factored(golden, order.flip(1))
    close(factor.inverse(slice(0, golden.num_blocks)), golden["fisher_inverse"])
    for count, theirs in stored_weights(golden).items():
        keep = torch.ones_like(golden.weight, dtype=torch.bool).scatter_(1, order[:, :count], False)
        close(factor.without_last(golden.weight, torch.full((golden.num_blocks,), count, device=DEVICE)) * keep, theirs)


def test_woodfisher(golden: Golden) -> None:
    weight, theirs = golden["weight"], golden["obs_weight_50pct"]
    pruner = cap.create("woodfisher", block_size=golden.block_size)
    pruner.weights, pruner.factors = {"w": weight}, {"w": factored(golden)}
    close(pruner.update({"w": theirs != 0})["w"], theirs)


@pytest.mark.parametrize("golden", [name for name in FILES if name != "gradual"], indirect=True)
def test_nm(golden: Golden) -> None:
    loss = cap.eliminate(golden.weight, golden["fisher_inverse"], cap.NM(2, 4)).loss
    pruned = cap.compensate(golden.weight, golden["fisher_inverse"], loss.isinf())
    close(pruned, split_blocks(golden["nm_2_4_weight"], golden.block_size))
