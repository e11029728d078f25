"""Optimiser and learning rate of the scripts' training."""

from __future__ import annotations

import torch
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR


def create_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Returns AdamW with weight decay for all but biases, norms, embeddings and tokens."""
    exempt = [name for name, _ in model.named_parameters() if "embed" in name or "token" in name]
    return torch.optim.AdamW(param_groups_weight_decay(model, weight_decay, no_weight_decay_list=exempt), lr=lr)


def create_scheduler(optimizer: torch.optim.Optimizer, steps: int, warmup: int) -> LRScheduler:
    """Returns a linear warm-up from 1 / `warmup` of the rate, then half a cosine to zero.

    Args:
        optimizer: Optimiser that holds the highest rate.
        steps: Number of steps in all.
        warmup: Number of steps of the warm-up, at least 1.
    """
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    fall = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    return SequentialLR(optimizer, [rise, fall], milestones=[warmup])
