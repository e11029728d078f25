"""SparseGPT."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import (
    as_columns,
    from_columns,
    obs_column_update,
    second_moments,
    sequential_moment,
    split_count,
    upper_factor,
)
from cap.cost import FitSize, FitWork
from cap.elimination import layer_in_errors
from cap.patterns import NM, Pattern, Unstructured, as_pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner import check_fitted, dense_copies
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_count, check_positive
from cap.registry import register
from cap.selection import check_groups, keep_highest, keep_nm, layer_counts


@register("sparsegpt")
class SparseGPT(LayerwisePruner):
    """One sweep over the columns of each layer (Frantar and Alistarh, 2023, arXiv 2301.00774, Algorithm 1).

    With H the dampened second moment of the layer's inputs and C the upper Cholesky factor of its inverse, columns are
    gone through from left to right: a removed weight's error `w / C_cc` is spread over the columns to its right. The
    mask of a block of columns is chosen by `w^2 / C_cc^2` when the sweep arrives there (N:M: of each group).

    Args:
        block_size: Number of columns whose mask is chosen at a time (Bs in the paper).
        damp: Dampening, relative to the mean of H's diagonal.
        sequential: Whether a layer's inputs are those of the model with the layers before it pruned, as published;
            `prune` then goes through the model anew for every pattern. Otherwise they are those of the dense model.
    """

    monotone = False  # what has been swept decides what goes next

    def __init__(self, block_size: int = 128, damp: float = 0.01, sequential: bool = True) -> None:
        check_count("block_size", block_size)
        check_positive("damp", damp)
        if not isinstance(sequential, bool):
            raise ValueError(f"sequential={sequential!r} is not valid: it is true or false")
        self.block_size, self.damp, self.sequential = block_size, damp, sequential

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments and of spreading errors, or of a forward pass where `prune` does both."""
        if self.sequential:
            return FitWork(size.macs * size.calibration_images)
        return replace(super().work(size), solve=size.weights * self.block_size)

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of the sequence: forward passes up to each layer, moments, and spreading the errors."""
        if not self.sequential:
            return FitWork()
        passes = (size.layers + 1) / 2 + 1  # the i-th of n layers is i / n of a pass away; one more for the moments
        return FitWork(passes * size.macs * size.calibration_images, solve=size.weights * self.block_size)

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> SparseGPT:
        """Factors the dense layers' moments; with `sequential` the inputs depend on the pattern, so `prune` does it.

        Raises:
            ValueError: If there are no layers, or the inputs of one are not known.
        """
        self.weights = dense_copies(model, layers)
        if self.sequential:
            for _ in calibration.layer_inputs(model, self.weights, divided=True):
                pass  # layers and images that will not do are refused now
            self._model, self._calibration = copy.deepcopy(model), calibration
        else:
            moments = second_moments(model, self.weights, calibration)
            self.factors = {name: self._factor(name, moment) for name, moment in moments.items()}
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the pruned weights of the sweeps at this pattern; weights that are zero already stay so.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If it is no pattern, or one that the pruner does not support.
        """
        wanted = as_pattern(pattern)
        check_fitted(self)
        if reason := self.refusal(wanted):
            raise ValueError(reason)
        if isinstance(wanted, NM):
            for name, weight in self.weights.items():
                check_groups(weight, wanted.of, name)
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        counts = layer_counts(shapes, wanted) if isinstance(wanted, Unstructured) else dict.fromkeys(shapes, 0)
        swept: dict[str, tuple[Tensor, Tensor]] = {}
        self.refit_seconds = 0.0
        for name, factors in self._sequence(swept) if self.sequential else self.factors.items():
            swept[name] = self._sweep(self.weights[name], factors, wanted, counts[name])
        masks = {name: swept[name][1] for name in self.weights}
        return PrunedWeights({name: swept[name][0] for name in self.weights}, masks)

    def _sequence(self, swept: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yields each layer's factors, of its inputs in the model with the layers before it swept.

        Args:
            swept: Weights and masks of these layers; the caller adds each before it asks for the next.
        """
        images = self._calibration
        for layer in images.sequential(self._model, self.weights):
            images.progress(len(swept), len(self.weights), "layers")
            start = time.perf_counter()
            factors = self._factor(layer.name, sequential_moment(layer, len(images)))
            self.refit_seconds += time.perf_counter() - start
            yield layer.name, factors
            layer.replace(swept[layer.name][0])

    def _factor(self, name: str, moment: Tensor) -> Tensor:
        """Returns C of one layer: (groups, columns, columns), float64."""
        with layer_in_errors(name, 0):
            return upper_factor(moment, self.damp)

    def _sweep(self, weight: Tensor, factors: Tensor, pattern: Pattern, removed: int) -> tuple[Tensor, Tensor]:
        """Returns a layer's pruned weights and mask.

        Args:
            weight: Weights of the fit.
            factors: C, (groups, columns, columns), float64.
            pattern: Pattern to follow.
            removed: Number of weights that the layer loses; without meaning for N:M.
        """
        rows = as_columns(weight, len(factors)).to(torch.float64, copy=True)  # the sweep changes them in place
        present = rows != 0
        keep = torch.empty_like(present)
        parts = [(group, part) for group in range(len(rows)) for part in self._column_blocks(rows.shape[2], pattern)]
        zeros = [int((~present[group, :, part]).sum()) for group, part in parts]
        alive = [present[group, :, part].numel() - gone for (group, part), gone in zip(parts, zeros, strict=True)]
        counts = split_count(max(0, removed - sum(zeros)), alive)
        if removed < sum(zeros) and isinstance(pattern, Unstructured):  # zeros beyond the count stay in the mask
            zeros = split_count(removed, zeros)
        for (group, part), gone, count in zip(parts, zeros, counts, strict=True):
            w, factor = rows[group], factors[group]
            score = (w[:, part] / factor.diagonal()[part]).square()
            score[~present[group, :, part]] = -1
            chosen = keep_nm(score, pattern, "") if isinstance(pattern, NM) else keep_highest(score, gone + count)
            keep[group, :, part] = chosen
            obs_column_update(w, factor, keep[group] & present[group], part)
        mask = from_columns(keep, weight)
        return from_columns(rows, weight).to(weight.dtype) * (mask & (weight != 0)), mask

    def _column_blocks(self, columns: int, pattern: Pattern) -> list[slice]:
        """Returns the columns whose mask is chosen together."""
        width = pattern.of if isinstance(pattern, NM) else self.block_size
        return [slice(start, min(start + width, columns)) for start in range(0, columns, width)]
