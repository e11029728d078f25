"""The cost of a fit, known before anything runs: multiply-adds of each kind, and bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitSize:
    """A model and a calibration set in numbers.

    Attributes:
        macs: Multiply-adds of a forward pass for one image.
        weights: Number of weights in the layers to prune.
        calibration_images: Number of calibration images.
        images_per_gradient: Images in one gradient: 1 for per-sample gradients, the batch size for those of batches.
        largest_layer: Number of weights in the largest of the layers; `weights` if there is one alone.
        layers: Number of layers to prune.
    """

    macs: int
    weights: int
    calibration_images: int
    images_per_gradient: int = 1
    largest_layer: int | None = None
    layers: int = 1

    def gradients(self, num_gradients: int | None = None) -> int:
        """Returns the number of gradients of one pass; by default one per image, or per whole batch.

        Args:
            num_gradients: Number of gradients that is asked for, if any.
        """
        return num_gradients or max(1, self.calibration_images // self.images_per_gradient)

    def gradient_macs(self, num_gradients: int | None = None) -> int:
        """Returns the multiply-adds of one pass over the gradients, forward and backward."""
        return 3 * self.macs * self.gradients(num_gradients) * self.images_per_gradient


@dataclass(frozen=True)
class FitWork:
    """Work of a fit, in multiply-adds of kinds that a device does at different rates.

    Attributes:
        inference: Forward passes in float32.
        gradients: Forward and backward passes that give gradients, in float32.
        gram: Sums of products of gradients.
        solve: Factors, elimination and updates of weights.
    """

    inference: float = 0.0
    gradients: float = 0.0
    gram: float = 0.0
    solve: float = 0.0

    def __add__(self, other: FitWork) -> FitWork:
        return FitWork(
            self.inference + other.inference,
            self.gradients + other.gradients,
            self.gram + other.gram,
            self.solve + other.solve,
        )


@dataclass(frozen=True)
class FitBytes:
    """Memory of a fit beside the model and its activations, in bytes.

    Attributes:
        least: Memory with a pass over the gradients for each small part of the weights, but for the sums of that part.
        single_pass: Memory with one pass over the gradients for all weights.
        without_factors: Memory where nothing is kept of the factors, and pruning takes the gradients again; None for a
            pruner that has to keep them, or has none.
    """

    least: int = 0
    single_pass: int = 0
    without_factors: int | None = None

    @property
    def minimum(self) -> int:
        """Memory that a fit cannot do without."""
        return self.least if self.without_factors is None else min(self.least, self.without_factors)
