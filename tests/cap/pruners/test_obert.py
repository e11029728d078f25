"""oBERT: the mask of WoodFisher, the joint update by a direct solution."""

from __future__ import annotations

import torch

import cap
from cap.fisher.blocks import split_blocks


def test_mask_of_woodfisher_and_joint_update(model, layers, calibration) -> None:
    options = {"block_size": 16, "damp": 1e-3}
    ours = cap.create("obert", **options).fit(model, layers, calibration).prune(cap.Unstructured(0.6))
    theirs = cap.create("woodfisher", **options).fit(model, layers, calibration).prune(cap.Unstructured(0.6))
    for name, weight in layers.items():
        assert ours.masks[name].equal(theirs.masks[name])
        rows = torch.cat([batch[name] for batch in calibration.gradients(model, layers)]).double()
        parts = (split_blocks(t, 16) for t in (weight.detach().double(), ours.masks[name], ours.weights[name]))
        for number, (w, keep, found) in enumerate(zip(*parts, strict=True)):
            g = torch.nn.functional.pad(rows[:, 16 * number : 16 * number + 16], (0, 0))
            inverse = torch.linalg.inv(g.T @ g / len(g) + 1e-3 * torch.eye(16, dtype=torch.float64))
            gone = (~keep).nonzero().flatten()
            expected = w - inverse[:, gone] @ torch.linalg.solve(inverse[gone][:, gone], w[gone])
            torch.testing.assert_close(found.double(), expected * keep, rtol=1e-4, atol=1e-5)


def test_a_refusal_is_in_its_own_name() -> None:
    assert "obert needs a block size that is a multiple of 4" in (
        cap.create("obert").supports(cap.Blocks(4, 0.5)) or ""
    )


def test_blocks_of_weights_get_the_joint_update_too(model, calibration) -> None:
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    pruner = cap.create("obert", block_size=16, damp=1e-3).fit(model, layers, calibration)
    pruned = pruner.prune(cap.Blocks(4, 0.5))
    for name, keep in pruned.masks.items():
        assert pruned.weights[name].equal(pruner.joint_update(name, keep))
