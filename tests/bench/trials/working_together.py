"""What one of several processes does in test_distributed.py; run alone it gives what they are compared with.

Usage: python working_together.py FOLDER, in torchrun's environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cap
from bench.core import distributed
from bench.execution.worker import execute
from bench.specs.recipes import FinetuneSpec, GradualSpec
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from cap.distributed import rank, rank_random_state, world_size
from cap.testing import tiny_calibration, tiny_layers, tiny_model

DEVICE = os.environ.get("CAPBENCH_TEST_DEVICE", "cpu")
COMMON: dict[str, Any] = {"images": 70, "batch_size": 32, "lr": 5e-4, "lr_end": 1e-5, "crop": 0.75}
SPEC: dict[str, Any] = {"sweep": "s", "profile": "embedded", "model": "vit", "calibration": {"images": 64}}
SPEC["evaluation_images"] = 600
CAP: dict[str, Any] = {"pruner": "cap", "pruner_options": {"block_size": 16, "num_gradients": 64}}
TRIALS = {
    "one_shot": Trial(
        **SPEC, **CAP, patterns=("0.5", "0.9"), finetune_at=("0.9",),
        finetune=FinetuneSpec(epochs=2, distillation=0.5, **COMMON),
    ),
    "gradual": Trial(
        **SPEC, **CAP, patterns=("0.5", "0.8"),
        training=GradualSpec(epochs=2, period=1, knots=((0, 0.5), (1, 0.8)), augmentation="medium1", **COMMON),
    ),
}  # fmt: skip
# as many gradients as there are images (48), in batches of 20, 20 and 8: summed for B = 8, kept for B = 16
PRUNERS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "cap, summed": ("cap", {"block_size": 8}, "sample", "0.6"),
    "cap, kept": ("cap", {"block_size": 16}, "sample", "0.6"),
    "cap, few": ("cap", {"block_size": 16, "num_gradients": 7}, "sample", "0.6"),
    "cap, batches": ("cap", {"block_size": 8, "num_gradients": 35}, "batch", "0.6"),
    "woodfisher, recomputed": ("woodfisher", {"block_size": 8, "num_recomputations": 2}, "sample", "0.6"),
    "mfac": ("mfac", {"block_size": 64}, "sample", "0.6"),
    "fastcap": ("fastcap", {"block_size": 8}, "sample", "0.6@layer"),
    "gradient_weight": ("gradient_weight", {}, "sample", "0.6"),
    "wanda": ("wanda", {}, "sample", "0.6@layer"),
    "sparsegpt": ("sparsegpt", {}, "sample", "0.6@layer"),
    "sparsegpt, dense inputs": ("sparsegpt", {"sequential": False}, "sample", "0.6@layer"),
    "obc": ("obc", {}, "sample", "0.6@layer"),
    "ria": ("ria", {}, "sample", "0.6@layer"),
    "dsnot": ("dsnot", {}, "sample", "0.6@layer"),
    "alps": ("alps", {}, "sample", "0.6@layer"),
    "random": ("random", {}, "sample", "0.6"),
}
BROKEN = """
import cap
from cap.distributed import rank, world_size
class Everywhere(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        raise OSError(f"no memory in process {rank()}")
class InTheLast(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        if rank() == world_size() - 1:
            raise OSError(f"no memory in process {rank()}")
        return {name: weight.abs() for name, weight in layers.items()}
"""


def prune_tiny(batch_size: int) -> dict[str, dict[str, Tensor]]:
    """Returns the weights that each pruner leaves; with one large batch there is none for the second process."""
    found = {}
    for case, (name, options, gradient, pattern) in PRUNERS.items():
        model, data = tiny_model().to(DEVICE), tiny_calibration(gradient)  # type: ignore[arg-type]
        calibration = cap.Calibration(data.images, data.labels, batch_size=batch_size, gradient=data.gradient)
        pruner = cap.create(name, **options).fit(model, tiny_layers(model), calibration)
        found[case] = pruner.prune(cap.parse_pattern(pattern)).weights
    return found


def batches(*_: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields this process's share of three batches; of the last, a single image, only the first has any."""
    data, own = tiny_calibration(), slice(rank(), None, world_size())
    for part in (slice(0, 30), slice(30, 47), slice(47, 48)):
        yield data.images[part][own].to(DEVICE), data.labels[part][own].to(DEVICE)


def start(model: nn.Module, **options: Any) -> cap.Training:
    return cap.Training(model, torch.optim.SGD(model.parameters(), 0.1), batches, lambda _: 0.1, 0.1, 1.0, **options)


def train_tiny(**options: Any) -> dict[str, Tensor]:
    """Returns the weights after two epochs, with masks that only process 0 knows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 5)).to(DEVICE)
    torch.manual_seed(rank())
    masks = {"1.weight": torch.rand(16, 64) < 0.5}
    training = start(model, **options)
    training.set_masks(masks)
    for epoch in range(2):
        training.run_epoch(epoch)
    return {**model.state_dict(), "mask": training.masks.state_dict()["1.weight"]}  # type: ignore[union-attr]


def train_with_batch_norm() -> dict[str, Tensor]:
    model = tiny_model().to(DEVICE)
    start(model).run_epoch(0)
    return model.state_dict()


def dropped() -> Tensor:
    """Returns which activations of the first batch are dropped, and leaves the generator where it was."""
    torch.manual_seed(3)
    with rank_random_state(step=0):
        mask = torch.rand(8) < 0.5
    assert world_size() == 1 or torch.rand(1).equal(torch.rand(1, generator=torch.Generator().manual_seed(3)))
    return mask


def drifted() -> str:
    """Returns what is said when one process's weights are not those of the others."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).to(DEVICE)
    training = start(model)
    training.optimizer.register_step_post_hook(
        lambda *_: model[1].bias.data.add_(rank())  # type: ignore[union-attr,operator]
    )
    try:
        training.run_epoch(0)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.LOST_AFTER = timedelta(seconds=3)
    distributed.init(DEVICE)
    distributed.run_on_rank0(lambda: (folder / "broken.py").write_text(BROKEN))
    everywhere, in_the_last = (
        Trial(**SPEC, pruner=f"{folder / 'broken.py'}:{name}", patterns=("0.5",))
        for name in ("Everywhere", "InTheLast")
    )
    config = ExecutionConfig(DEVICE, micro_batch=None if world_size() == 1 else 5)

    def ended(chosen: Trial) -> tuple[str, str | None]:
        finished = execute(chosen, folder / "results", config)
        return finished.status, finished.error

    outcome = {
        "pruned": prune_tiny(20),
        "pruned from one batch": prune_tiny(64),
        "trained": train_tiny(micro_batch=4 if world_size() > 1 else None),
        "bfloat16": train_tiny(precision="bfloat16"),
        "batch norm": train_with_batch_norm(),
        "dropped": dropped(),
        "drifted": drifted(),
        "failed": ended(everywhere),
        "done": {name: ended(chosen) for name, chosen in TRIALS.items()},
        "again": ended(TRIALS["one_shot"]),
    }
    path = folder / f"{rank()}.pt"
    try:  # the others wait in vain for the last one's share of the evaluation
        outcome["lost"] = ended(in_the_last)
    except distributed.LostProcessError as error:
        outcome["lost"] = str(error)
    torch.save(outcome, path)
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
