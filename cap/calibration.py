"""The data that a pruner may see."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap import distributed
from cap.collecting import collect
from cap.drawn_labels import DrawnLabels
from cap.finite import check_gradients, check_inputs
from cap.fit_resources import FitResources
from cap.functional_gradients import Loss
from cap.gradients import GradientBatch, batch_gradient, check_used, per_sample_gradients, unused_weights
from cap.image_order import held_out, shuffled_batches, turn
from cap.inputs import Inputs, as_inputs, as_tensor, check_labels
from cap.layer_inputs import input_layers, input_rows
from cap.model_state import evaluating, fingerprint
from cap.recording import Calls, intact, run_recorded
from cap.sequential import SequentialLayer, forward_order, sequential_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

T = TypeVar("T")


class Calibration(FitResources):
    """Training images, their labels, the loss and the means of a fit: all that a pruner may use; never test images.

    Args:
        images: Model inputs, (n, ...), in random order: fewer gradients than images means the first images. A tensor or
            an array; a tuple of these for several arguments, a mapping for keywords; `cap.StreamedInputs` to hold none.
        labels: Targets, (n, ...), tensor or array.
        loss: Function of (outputs, labels) that returns the mean loss over the batch; cross-entropy by default. It gets
            what the model returns, be it a tensor or not. For per-sample gradients it must not mix samples.
        batch_size: Images in one forward pass and, with `gradient="batch"`, in one gradient.
        gradient: Kind of gradients: `sample` for that of every single image's loss, which is what the empirical Fisher
            is defined on; `batch` for those of mini-batch means, which the release uses.
        seed: Seed of the order in which images are drawn when `batch` gradients go around the images again.
        share: Whether what a pruner computed from the gradients is kept for the next pruner that is fitted to the same
            model.
        label_source: Labels of the gradients: `given`, or `drawn` from the model's own softmax, anew for every fit with
            numbers that `seed` decides: see `cap.drawn_labels`.

    Attributes:
        inputs: Model inputs, in the form in which every part of them goes through the model.
        seconds_saved: Seconds that the pruners fitted so far would have taken longer without `share`.
        computed: Number of times that something was computed to be shared.
        shared_bytes: Memory of what is kept for sharing, in bytes.
    """

    def __init__(
        self,
        images: Tensor | NDArray[Any] | Sequence[Any] | Mapping[str, Any] | Inputs,
        labels: Tensor | NDArray[Any] | Sequence[Any],
        loss: Loss = F.cross_entropy,
        batch_size: int = 128,
        gradient: Literal["sample", "batch"] = "sample",
        seed: int = 0,
        share: bool = False,
        label_source: Literal["given", "drawn"] = "given",
    ) -> None:
        self.inputs, self.labels, self.loss = as_inputs(images), as_tensor(labels, "the labels"), loss
        found, targets = len(self.inputs), len(self.labels)
        if found != targets or not found:
            raise ValueError(f"{found} images and {targets} labels: there must be as many, and at least one")
        if gradient not in ("sample", "batch"):
            raise ValueError(f"unknown gradient {gradient!r}: choose sample or batch")
        if label_source not in ("given", "drawn"):
            raise ValueError(f"unknown label source {label_source!r}: choose given or drawn")
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} is not valid: it must be at least 1")
        self.batch_size, self.gradient, self.seed = batch_size, gradient, seed
        self.share, self.seconds_saved, self.label_source = share, 0.0, label_source
        self.computed = self.shared_bytes = 0
        self._shared: tuple[Any, Any, float] | None = None  # key, value, seconds it took

    @classmethod
    def from_data(
        cls, data: Any, num_images: int | None, *, seed: int = 0, label_key: str | None = None, **options: Any
    ) -> Self:
        """Returns a calibration set of images from a data set or a loader, which are held in memory.

        Samples of a data set and batches of a loader are (inputs, labels), or mappings with the labels under a key of
        their own; inputs are whatever `images` may be.

        Args:
            data: Data set with a length, of which random samples are taken; or a DataLoader, an IterableDataset or any
                other iterable of batches, of which the first images are, so a loader should shuffle.
            num_images: Number of images; None for all.
            seed: Seed of the choice from a data set, and of the order in which batches are drawn.
            label_key: Key of the labels in mappings; by default `labels` or `label`.
            options: Other arguments of the class.

        Raises:
            ValueError: If there are fewer images, or no images and labels can be told in them.
        """
        inputs, labels = collect(data, num_images, seed, label_key)
        return cls(inputs, labels, seed=seed, **options)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def images(self) -> Tensor:
        """Images, (n, ...), of a model of one argument.

        Raises:
            ValueError: If the model has several or keyword arguments: these are `inputs`.
        """
        if len(self.inputs.positional) != 1 or self.inputs.keywords:
            raise ValueError("the calibration inputs are no single tensor: use calibration.inputs")
        return self.inputs.positional[0]

    def shared(self, model: nn.Module, key: Hashable, compute: Callable[[], T], size: int) -> T:
        """Returns what was computed for a model before, if it is the last that was, or else computes it.

        Args:
            model: Model that it is computed for, told by architecture and values.
            key: Name of what is computed, with all options.
            compute: Function that computes it.
            size: Memory that it takes, in bytes.
        """
        full_key = (key, self.gradient, self.batch_size, self.label_source, fingerprint(model))
        if self._shared is not None and self._shared[0] == full_key:
            self.seconds_saved += self._shared[2]
            return self._shared[1]
        self.forget()
        start = time.perf_counter()
        value = compute()
        self._shared = (full_key, value, time.perf_counter() - start)
        self.computed, self.shared_bytes = self.computed + 1, size
        return value

    def forget(self) -> None:
        """Frees what was kept for sharing."""
        self._shared, self.shared_bytes = None, 0

    def count(self, num_gradients: int | None = None) -> int:
        """Returns how many gradients there will be; by default one per image, or per whole batch.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images.
        """
        if self.gradient == "batch":
            return max(1, len(self) // self.batch_size) if num_gradients is None else num_gradients
        total = len(self) if num_gradients is None else num_gradients
        if total > len(self):
            raise ValueError(f"{total} per-sample gradients need as many images, but calibration has {len(self)}")
        return total

    def gradients(
        self, model: nn.Module, layers: Mapping[str, Tensor], num_gradients: int | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yields gradients of the loss with respect to the chosen weights, model in eval mode.

        The model's own `.grad` is not touched.

        Args:
            model: The model.
            layers: Weights to differentiate by, {name: weight}, as `select_layers` returns them.
            num_gradients: Number of gradients in all; by default one per image, or per whole batch.

        Yields:
            For every layer (b, num_weights) gradients, b rows at a time.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images.
        """
        for batch in self.gradient_batches(model, layers, num_gradients):
            gradients = {name: batch.of(name) for name in layers}
            del batch  # before the next one is computed
            yield gradients

    def gradient_batches(
        self,
        model: nn.Module,
        layers: Mapping[str, Tensor],
        num_gradients: int | None = None,
        forward_images: int | None = None,
        divided: bool = False,
    ) -> Iterator[GradientBatch]:
        """Yields the same gradients, each layer's to be computed when it is asked for.

        Args:
            model: The model.
            layers: Weights to differentiate by, {name: weight}.
            num_gradients: Number of gradients in all; by default one per image, or per whole batch.
            forward_images: Images in one forward pass of per-sample gradients; by default `batch_size`.
            divided: Whether the batches that other processes of a torch.distributed group compute are left out, so that
                sums over the processes (`cap.distributed.all_reduce_sum`) are those over all gradients.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images, no image goes through a layer,
                or a gradient is not finite.
        """
        device = next(iter(layers.values())).device
        total = self.count(num_gradients)
        compute = per_sample_gradients if self.gradient == "sample" else batch_gradient
        size = forward_images or self.batch_size
        batches = list(distributed.shard(self._batches(total, size)) if divided else self._batches(total, size))
        known: set[str] = set()
        with evaluating(model):
            check_labels(model, self.inputs[:1].to(device), self.labels, self.loss)
        labels, loss = self.labels, self.loss
        if self.label_source == "drawn":
            labels, loss = DrawnLabels.numbers(len(self), self.seed), DrawnLabels(self.loss)
        steps = zip(batches, self.inputs.take(c for _, c in batches), strict=True)
        for (first, chosen), images in self.counted(steps, len(batches), "batches of gradients"):
            found = compute(model, layers, images.to(device), labels[chosen].to(device), loss).at(first)
            yield self._checked(found, model, known, device, size)

    def _checked(
        self, batch: GradientBatch, model: nn.Module, known: set[str], device: torch.device, size: int
    ) -> GradientBatch:
        """Returns a batch as it is, or refuses layers that no calibration image goes through.

        Args:
            batch: Gradients.
            model: The model.
            known: Layers that an image goes through; those found now are added.
            device: Device of the model.
            size: Images in one forward pass.
        """
        names = [name for name in batch.in_doubt if name not in known]
        known.update(names)
        for images, labels in zip(self.inputs.split(size), self.labels.split(size), strict=True):
            if not names:
                break
            names = unused_weights(model, names, images.to(device), labels.to(device), self.loss)
        check_used(names)
        check_gradients(batch, model, self.inputs)
        return batch

    @torch.no_grad()
    def layer_inputs(
        self, model: nn.Module, layers: Mapping[str, Tensor], divided: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Yields what each layer's weights are multiplied with, model in eval mode.

        Args:
            model: The model.
            layers: Weights of Linear and convolution layers, {name: weight}. The inputs of all layers that share a
                weight are joined.
            divided: Whether what other processes compute is left out, as in `gradient_batches`.

        Yields:
            For every layer (groups, positions, columns): positions are those of all images of a batch, columns the
            weights of one output, by kernel position and then by input; groups are 1 but for grouped convolutions.

        Raises:
            ValueError: If a layer is of another kind, or is not called, or an input is not finite.
        """
        modules, device = input_layers(model, layers), next(iter(layers.values())).device
        count = -(-len(self) // (self.batch_size * (distributed.world_size() if divided else 1)))
        for images in self.counted(self._image_batches(divided), count, "batches of layer inputs"):
            with evaluating(model):
                rows = run_recorded(modules, partial(_input_rows, model, images.to(device)))
            check_inputs(rows, model, self.inputs)
            yield rows

    def sequential(self, model: nn.Module, layers: Mapping[str, Tensor]) -> Iterator[SequentialLayer]:
        """Yields layer after layer of a model that is pruned on the way, in the order of the forward pass.

        Each layer's `inputs()` are those of the model as pruned so far; its pruned weight goes back by `replace`.
        A copy of the model and the inputs of one layer, batch after batch, are all that is held.

        Args:
            model: Dense model, left as it is.
            layers: Weights of Linear and convolution layers, {name: weight}.

        Raises:
            ValueError: If a layer is of another kind, is not called, or was not handed back.
        """
        order = forward_order(model, layers, next(iter(self._image_batches(False))))
        return sequential_layers(model, layers, self._image_batches, order)

    def split(self, fraction: float = 0.2) -> tuple[Calibration, Calibration]:
        """Returns two disjoint parts, the same for the same `seed`: one to fit on, one to validate on.

        Args:
            fraction: Fraction of the images in the second part, larger than 0 and below 1; each part has at least one.

        Raises:
            ValueError: If the fraction is none, or there is a single image.
        """
        if not 0 < fraction < 1 or len(self) < 2:
            raise ValueError(f"cannot split {len(self)} images by {fraction}: two images and a fraction in (0, 1)")
        first, second = held_out(len(self), fraction, self.seed)
        return self._part(first), self._part(second)

    def renewed(self, number: int, num_gradients: int | None = None) -> Calibration:
        """Returns a calibration set for one of several estimates, with other images than those before have seen.

        Single images go on where the estimate before ended, and around to the first ones again; where one takes them
        all, all see the same. Batches are drawn in another order.

        Args:
            number: Number of the estimate, 0 for the first, which is made with this set itself.
            num_gradients: Gradients of each estimate; by default one per image, or per whole batch.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images.
        """
        if self.gradient == "batch":
            part = self._part(slice(None))
            part.seed = self.seed + number
            return part
        return self._part(turn(len(self), self.count(num_gradients), number))

    def _part(self, chosen: Tensor | slice) -> Calibration:
        """Returns a calibration set of some of the images, with the same means."""
        inputs, labels = self.inputs[chosen], self.labels[chosen]
        part = Calibration(
            inputs, labels, self.loss, self.batch_size, self.gradient, self.seed, label_source=self.label_source
        )
        part.share_resources(self)
        return part

    def _image_batches(self, divided: bool) -> Iterable[Inputs]:
        """Returns the inputs batch by batch, or this process's share of the batches."""
        batches = self.inputs.split(self.batch_size)
        return distributed.shard(batches) if divided else batches

    def _batches(self, total: int, size: int) -> Iterator[tuple[int, slice | Tensor]]:
        """Yields the number of each batch's first gradient, and the batch's images."""
        if self.gradient == "batch":
            yield from enumerate(shuffled_batches(len(self), min(self.batch_size, len(self)), total, self.seed))
        else:
            for start in range(0, total, size):
                yield start, slice(start, min(start + size, total))


def _input_rows(model: nn.Module, images: Inputs, calls: Calls) -> dict[str, Tensor]:
    """Returns what each layer's weights are multiplied with in a forward pass."""
    images.run(model)
    intact(calls)
    check_used([name for name in calls if not calls[name]])
    rows = {}
    for name in list(calls):  # inputs of one layer are freed before those of the next are laid out
        rows[name] = torch.cat([input_rows(call.module, call.inputs) for call in calls.pop(name)], dim=1)
    return rows
