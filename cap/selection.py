"""Exact selection of the weights that a pattern removes, given a score for each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cap.patterns import NM, Allocated, Blocks, Pattern, Units, UnitsThen, Unstructured


def count_removed(sparsity: float, total: int) -> int:
    """Returns how many of `total` weights are removed at a sparsity: the nearest whole number."""
    return round(sparsity * total)


def layer_counts(shapes: Mapping[str, tuple[int, ...]], pattern: Unstructured) -> dict[str, int]:
    """Returns how many weights each layer loses where layers are not ranked together.

    With `erk` a layer's density is proportional to `(n_out + n_in + kh + kw) / (n_out n_in kh kw)` (Evci et al., 2020,
    arXiv 1911.11134, section 3): small layers stay denser. A layer whose density would exceed 1 stays whole, and the
    others make up for it. The counts add up to exactly that of the pattern.

    Args:
        shapes: Shapes of the weights, {layer: shape}.
        pattern: Pattern of scope `layer` or `erk`, or one that says the counts itself.

    Raises:
        ValueError: If the pattern's own counts are not those of these layers.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if isinstance(pattern, Allocated):
        counts = dict(pattern.removed)
        if counts.keys() != sizes.keys():
            raise ValueError(f"{pattern} has counts for {', '.join(counts) or 'no layer'}, not for {', '.join(sizes)}")
        return counts
    if pattern.scope == "layer":
        return {name: count_removed(pattern.sparsity, size) for name, size in sizes.items()}
    total = sum(sizes.values())
    left = total - count_removed(pattern.sparsity, total)
    kept: dict[str, int] = {}
    while len(kept) < len(sizes):
        rest = {name: sum(shape) for name, shape in shapes.items() if name not in kept}
        scale = (left - sum(kept.values())) / sum(rest.values())
        if whole := [name for name, share in rest.items() if scale * share >= sizes[name]]:
            kept |= {name: sizes[name] for name in whole}
            continue
        kept |= {name: math.floor(scale * share) for name, share in rest.items()}
        by_remainder = sorted(rest, key=lambda name: math.floor(scale * rest[name]) - scale * rest[name])
        for name in by_remainder[: left - sum(kept.values())]:
            kept[name] += 1
    return {name: size - kept[name] for name, size in sizes.items()}


def keep_highest(scores: Tensor, num_removed: int) -> Tensor:
    """Removes exactly the `num_removed` lowest scores; of equal scores those at lower positions go first.

    Args:
        scores: Scores, of any shape, no NaN.
        num_removed: Number of scores to remove, between 0 and `scores.numel()`.

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
    check_blocks(scores, pattern.size)
    sums = {name: score.reshape(-1, pattern.size).sum(1) for name, score in scores.items()}
    shapes = {name: score.shape for name, score in scores.items()}
    return keep_ranked_blocks(sums, shapes, pattern)


def check_blocks(weights: Mapping[str, Tensor], size: int) -> None:
    """Refuses weights that cannot be cut into blocks of `size`.

    Raises:
        ValueError: If `size` does not divide a layer's number of weights.
    """
    for name, weight in weights.items():
        if weight.numel() % size:
            raise ValueError(f"{name} has {weight.numel()} weights, no multiple of {size}: leave this layer out")


def zero_blocks(weight: Tensor, size: int) -> Tensor:
    """Returns which blocks of `size` consecutive weights are zero as a whole: (blocks,), boolean."""
    return (weight.reshape(-1, size) == 0).all(1)


def keep_ranked_blocks(
    scores: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]], pattern: Blocks
) -> dict[str, Tensor]:
    """Keeps the blocks of highest score over all layers.

    Args:
        scores: Score of each block of `pattern.size` consecutive weights, {layer: (blocks,)}.
        shapes: Shapes of the weights, {layer: shape}.
        pattern: Pattern to follow.

    Returns:
        {layer: keep-mask in the weight's shape}.
    """
    kept = _joined(scores, count_removed(pattern.sparsity, sum(part.numel() for part in scores.values())))
    return {name: keep.repeat_interleave(pattern.size).view(shapes[name]) for name, keep in kept.items()}


def with_zeros_lowest(
    scores: Mapping[str, Tensor], weights: Mapping[str, Tensor], pattern: Pattern
) -> dict[str, Tensor]:
    """Lowers the scores of what is zero already to -inf, so that `select` removes it first.

    Args:
        scores: Score of each weight, {layer: scores in the weight's own shape}.
        weights: Weights, {layer: weight}.
        pattern: Pattern that the masks are to follow.

    Returns:
        {layer: scores}: -inf for weights that are zero, with `Blocks` only for those of blocks that are wholly zero.

    Raises:
        ValueError: If the blocks of the pattern do not fit a layer.
    """
    if not isinstance(pattern, Blocks):
        return {name: score.double().masked_fill(weights[name] == 0, -math.inf) for name, score in scores.items()}
    check_blocks(scores, pattern.size)
    zeros = {name: zero_blocks(weights[name], pattern.size).repeat_interleave(pattern.size) for name in scores}
    return {name: score.masked_fill(zeros[name].view(score.shape), -math.inf) for name, score in scores.items()}


def select(scores: dict[str, Tensor], pattern: Pattern) -> dict[str, Tensor]:
    """Turns scores into keep-masks that follow a pattern exactly.

    Args:
        scores: Score of each weight, {layer: scores in the weight's own shape}; the lowest are removed.
        pattern: Pattern that the masks follow.

    Returns:
        For every layer a boolean mask of the same shape, True where the weight is kept.
    """
    match pattern:
        case Unstructured(sparsity=sparsity, scope="global"):
            total = sum(score.numel() for score in scores.values())
            return _joined(scores, count_removed(sparsity, total))
        case Unstructured():
            counts = layer_counts({name: tuple(score.shape) for name, score in scores.items()}, pattern)
            return {name: keep_highest(score, counts[name]) for name, score in scores.items()}
        case NM():
            return {name: keep_nm(score, pattern, name) for name, score in scores.items()}
        case Blocks():
            return keep_blocks(scores, pattern)
        case Units() | UnitsThen():
            raise ValueError(f"scores of weights choose no units, as {pattern} asks for: see cap.structured")


def count_zeros(shapes: Mapping[str, tuple[int, ...]], pattern: Pattern) -> int:
    """Returns how many weights a pattern removes, over all layers.

    Args:
        shapes: Shapes of the weights, {layer: shape}; groups and blocks fit into them, see `shape_mismatch`.
        pattern: Pattern to follow.
    """
    total = sum(math.prod(shape) for shape in shapes.values())
    match pattern:
        case NM(keep=keep, of=of):
            return total // of * (of - keep)
        case Blocks(size=size, sparsity=sparsity):
            return size * count_removed(sparsity, total // size)
        case Unstructured(sparsity=sparsity, scope="global"):
            return count_removed(sparsity, total)
        case Unstructured():
            return sum(layer_counts(shapes, pattern).values())
        case Units() | UnitsThen():
            raise ValueError(f"shapes alone do not tell the units of {pattern}: see cap.structured.unit_violations")


def shape_mismatch(weights: Mapping[str, Tensor], pattern: Pattern) -> str | None:
    """Returns why the groups or blocks of a pattern do not fit some layer, or None if they fit all.

    Args:
        weights: Weights, {layer: weight}.
        pattern: Pattern to follow.
    """
    try:
        if isinstance(pattern, NM):
            for name, weight in weights.items():
                check_groups(weight, pattern.of, name)
        elif isinstance(pattern, Blocks):
            check_blocks(weights, pattern.size)
    except ValueError as error:
        return str(error)
    return None


def count_violations(weights: Mapping[str, Tensor], pattern: Pattern) -> int:
    """Counts how far weights are from following a pattern; 0 if they do.

    Args:
        weights: Weights or keep-masks, {layer: weight}; what is not zero counts as kept.
        pattern: Pattern to follow.

    Returns:
        For N:M the weights too many, over all groups; otherwise the zeros, or the blocks of zeros, too few.

    Raises:
        ValueError: If the groups or blocks of the pattern do not fit a layer.
    """
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    sizes = {name: weight.numel() for name, weight in weights.items()}
    match pattern:
        case NM(keep=keep, of=of):
            kept = (nm_groups(weight != 0, of, name).sum(1) for name, weight in weights.items())
            return sum(int((count - keep).clamp(min=0).sum()) for count in kept)
        case Blocks(size=size, sparsity=sparsity):
            check_blocks(weights, size)
            gone = sum(int(zero_blocks(weight, size).sum()) for weight in weights.values())
            return max(0, count_removed(sparsity, sum(sizes.values()) // size) - gone)
        case Unstructured(sparsity=sparsity, scope="global"):
            return max(0, count_removed(sparsity, sum(sizes.values())) - sum(zeros.values()))
        case Unstructured():
            counts = layer_counts({name: tuple(weight.shape) for name, weight in weights.items()}, pattern)
            return sum(max(0, counts[name] - zeros[name]) for name in weights)
        case Units() | UnitsThen():
            raise ValueError(f"weights alone do not tell the units of {pattern}: see cap.structured.unit_violations")
