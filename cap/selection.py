"""Exact selection: which weights a pattern removes, given a score for each."""

from __future__ import annotations

import torch
from torch import Tensor

from cap.patterns import NM, Blocks, Pattern, Unstructured


def count_removed(sparsity: float, total: int) -> int:
    """Returns how many of `total` weights are removed at a sparsity: the nearest whole number."""
    return round(sparsity * total)


def keep_highest(scores: Tensor, num_removed: int) -> Tensor:
    """Removes exactly the `num_removed` lowest scores; of equal scores those at lower positions go first.

    Args:
        scores: Any shape, no NaN.
        num_removed: Between 0 and `scores.numel()`.

    Returns:
        Boolean mask of the same shape, True where the weight is kept.

    Raises:
        ValueError: If a score is NaN or the count is out of range.
    """
    flat = scores.flatten()
    if not 0 <= num_removed <= flat.numel():
        raise ValueError(f"cannot remove {num_removed} of {flat.numel()} weights")
    if torch.isnan(flat).any():
        raise ValueError("scores contain NaN: check the model's weights and the calibration data")
    keep = torch.ones_like(flat, dtype=torch.bool)
    if num_removed:
        threshold = flat.kthvalue(num_removed).values
        below = flat < threshold
        ties = (flat == threshold).nonzero().flatten()
        keep[below] = False
        keep[ties[: num_removed - int(below.sum())]] = False
    return keep.view(scores.shape)


def _joined(parts: dict[str, Tensor], num_removed: int) -> dict[str, Tensor]:
    """Ranks all entries of all tensors together."""
    keep = keep_highest(torch.cat([part.flatten() for part in parts.values()]), num_removed)
    pieces = keep.split([part.numel() for part in parts.values()])
    return {name: piece.view(parts[name].shape) for name, piece in zip(parts, pieces, strict=True)}


def check_groups(weight: Tensor, of: int, name: str) -> None:
    """Refuses a weight whose inputs cannot be cut into groups of `of`.

    Raises:
        ValueError: If `of` does not divide the number of inputs.
    """
    if weight.shape[1] % of:
        raise ValueError(f"{name} has {weight.shape[1]} inputs, which are no multiple of {of}: leave this layer out")


def nm_groups(tensor: Tensor, of: int, name: str) -> Tensor:
    """Views a weight (out, in) or (out, in, height, width) as groups of `of` consecutive inputs: (groups, of).

    Raises:
        ValueError: If `of` does not divide the number of inputs.
    """
    check_groups(tensor, of, name)
    return tensor.movedim(1, -1).reshape(-1, of)


def keep_nm(scores: Tensor, pattern: NM, name: str) -> Tensor:
    """Keeps the `pattern.keep` highest scores of every group of `pattern.of` consecutive inputs."""
    groups = nm_groups(scores, pattern.of, name)
    removed = groups.argsort(dim=1, stable=True)[:, : pattern.of - pattern.keep]
    keep = torch.ones_like(groups, dtype=torch.bool).scatter_(1, removed, False)
    moved = scores.movedim(1, -1).shape
    return keep.view(moved).movedim(-1, 1).contiguous()


def keep_blocks(scores: dict[str, Tensor], pattern: Blocks) -> dict[str, Tensor]:
    """Keeps whole blocks of `pattern.size` consecutive weights, ranked by their summed scores over all layers."""
    for name, score in scores.items():
        if score.numel() % pattern.size:
            raise ValueError(f"{name} has {score.numel()} weights, no multiple of {pattern.size}: leave this layer out")
    sums = {name: score.reshape(-1, pattern.size).sum(1) for name, score in scores.items()}
    total = sum(part.numel() for part in sums.values())
    kept = _joined(sums, count_removed(pattern.sparsity, total))
    return {name: kept[name].repeat_interleave(pattern.size).view(score.shape) for name, score in scores.items()}


def select(scores: dict[str, Tensor], pattern: Pattern) -> dict[str, Tensor]:
    """Turns scores into keep-masks that follow a pattern exactly.

    Args:
        scores: For every layer a score per weight, in the weight's own shape; the lowest are removed.
        pattern: What the masks must look like.

    Returns:
        For every layer a boolean mask of the same shape, True where the weight is kept.
    """
    match pattern:
        case Unstructured(sparsity=sparsity, scope="global"):
            total = sum(score.numel() for score in scores.values())
            return _joined(scores, count_removed(sparsity, total))
        case Unstructured(sparsity=sparsity):
            return {n: keep_highest(score, count_removed(sparsity, score.numel())) for n, score in scores.items()}
        case NM():
            return {name: keep_nm(score, pattern, name) for name, score in scores.items()}
        case Blocks():
            return keep_blocks(scores, pattern)
