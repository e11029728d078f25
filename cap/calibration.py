"""The data that a pruner may see, and the gradients of the loss on it."""

from __future__ import annotations

import functools
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from cap import distributed
from cap.layers import owner

Loss = Callable[[Tensor, Tensor], Tensor]
T = TypeVar("T")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode and each of its modules back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class Calibration:
    """Training images, their labels and the loss: all that a pruner may see, and never validation data.

    Args:
        images: Model inputs, (n, ...), in random order: fewer gradients than images means the first images.
        labels: Targets, (n, ...).
        loss: Maps (outputs, labels) to the mean loss over the batch; cross-entropy by default. For per-sample gradients
            it must not mix samples.
        batch_size: Images in one forward pass and, with `gradient="batch"`, in one gradient.
        gradient: `sample` for the gradient of every single image's loss, which is what the empirical Fisher is defined
            on; `batch` for the gradients of mini-batch means, which the release uses.
        seed: Order in which images are drawn when `batch` gradients go around the images again.
        share: Keep what a pruner computed from the gradients for the next pruner that is fitted to the same model.

    Attributes:
        seconds_saved: Time that the pruners fitted so far would have taken longer without `share`.
        computed: How often something was computed to be shared.
        shared_bytes: Memory of what is kept for sharing.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        loss: Loss = F.cross_entropy,
        batch_size: int = 128,
        gradient: Literal["sample", "batch"] = "sample",
        seed: int = 0,
        share: bool = False,
    ) -> None:
        if len(images) != len(labels) or not len(images):
            raise ValueError(f"{len(images)} images and {len(labels)} labels: there must be as many, and at least one")
        if gradient not in ("sample", "batch"):
            raise ValueError(f"unknown gradient {gradient!r}: choose sample or batch")
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} is not valid: it must be at least 1")
        self.images, self.labels, self.loss = images, labels, loss
        self.batch_size, self.gradient, self.seed = batch_size, gradient, seed
        self.share, self.seconds_saved = share, 0.0
        self.computed = self.shared_bytes = 0
        self._shared: tuple[Any, Any, float] | None = None  # key, value, seconds it took

    def __len__(self) -> int:
        return len(self.images)

    def shared(self, model: nn.Module, key: Hashable, compute: Callable[[], T], size: int) -> T:
        """Returns what was computed for a model before, if it is the last that was, or else computes it.

        Args:
            model: The model; what was computed for other weights is no use.
            key: Says what is computed, with all options.
            compute: Computes it.
            size: Bytes that it takes.
        """
        full_key = (key, self.gradient, self.batch_size, fingerprint(model))
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
            layers: Parameter names to weights, as `select_layers` returns them.
            num_gradients: How many in all; by default one per image, or per whole batch.

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
            layers: Parameter names to weights.
            num_gradients: How many in all.
            forward_images: With per-sample gradients the images in one forward pass, if not `batch_size`.
            divided: In a torch.distributed group leave out the batches that the other processes compute, so that sums
                over the processes (`cap.distributed.add_up`) are those over all gradients.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images.
        """
        device = next(iter(layers.values())).device
        total = self.count(num_gradients)
        compute = per_sample_gradients if self.gradient == "sample" else batch_gradient
        batches = self._batches(total, forward_images or self.batch_size)
        for first, chosen in distributed.shard(batches) if divided else batches:
            images, labels = self.images[chosen].to(device), self.labels[chosen].to(device)
            yield compute(model, layers, images, labels, self.loss).at(first)

    @torch.no_grad()
    def layer_inputs(
        self, model: nn.Module, layers: Mapping[str, Tensor], divided: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Yields what each layer's weights are multiplied with, model in eval mode.

        Args:
            model: The model.
            layers: Names to weights of Linear and Conv2d layers.
            divided: Leave out what other processes compute, as in `gradient_batches`.

        Yields:
            For every layer (groups, positions, columns): positions are those of all images of a batch, columns the
            weights of one output, by kernel position and then by input; groups are 1 but for grouped convolutions.

        Raises:
            ValueError: If a layer is of another kind, or is not called.
        """
        modules = {name: owner(model, name) for name in layers}
        for name, module in modules.items():
            if not _has_rule(module, name):
                raise ValueError(
                    f"{name} belongs to a {type(module).__name__}: only Linear and Conv2d inputs are known"
                )
        device = next(iter(layers.values())).device
        batches = self.images.split(self.batch_size)
        for images in distributed.shard(batches) if divided else batches:
            seen: dict[str, list[Tensor]] = {name: [] for name in layers}
            handles = [
                module.register_forward_pre_hook(
                    lambda module, args, parts=seen[name]: parts.append(_rows(module, args[0]))
                )
                for name, module in modules.items()
            ]
            try:
                with evaluating(model):
                    model(images.to(device))
            finally:
                for handle in handles:
                    handle.remove()
            if unused := [name for name, parts in seen.items() if not parts]:
                raise ValueError(f"{unused[0]} is not called in the model's forward pass: leave it out")
            yield {name: torch.cat(parts, dim=1) for name, parts in seen.items()}

    def _batches(self, total: int, size: int) -> Iterator[tuple[int, slice | Tensor]]:
        """Yields the number of each batch's first gradient, and the batch's images."""
        if self.gradient == "batch":
            yield from enumerate(self._batch_indices(total))
        else:
            for start in range(0, total, size):
                yield start, slice(start, min(start + size, total))

    def _batch_indices(self, count: int) -> Iterator[Tensor]:
        """Yields `count` batches of indices; each pass over the images is in a new order."""
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.batch_size, len(self))
        while count > 0:
            for chosen in torch.randperm(len(self), generator=generator).split(size)[: len(self) // size][:count]:
                count -= 1
                yield chosen


def fingerprint(model: nn.Module) -> str:
    """Returns a hash of a model's architecture and values."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class GradientBatch:
    """The gradients of one batch: those of Linear and Conv2d layers are computed when they are asked for.

    Until then a layer's inputs and output gradients are all that is held, which for most layers is less than the
    gradients are, and a caller that has room for them already need not make any other.

    Args:
        count: n, the number of gradients.
        calls: For every layer read off its inputs and output gradients its module and a pair of these for every call.
        ready: The other layers' gradients: {name: (n, num_weights)}.

    Attributes:
        first: Number of the first of them among all gradients.
    """

    def __init__(
        self, count: int, calls: dict[str, tuple[nn.Module, list[tuple[Tensor, Tensor]]]], ready: dict[str, Tensor]
    ) -> None:
        self.count, self._calls, self._ready = count, calls, ready
        self.first = 0

    def at(self, first: int) -> GradientBatch:
        """Returns this batch, which stands at a place among all gradients."""
        self.first = first
        return self

    def of(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Returns a layer's gradients (n, num_weights), or a range of their columns.

        Args:
            name: The layer.
            start: First weight; a multiple of the weights of one output.
            stop: One past the last weight, likewise.
        """
        if name in self._ready:
            return self._ready[name][:, start:stop]
        module, calls = self._calls[name]
        parts = (_weight_gradients(module, x, flow, self.count, start, stop) for x, flow in calls)
        return functools.reduce(torch.add, parts)

    def write(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """Writes a range of a layer's gradients where they are wanted, if possible without a copy.

        Args:
            name: The layer.
            start: First weight; a multiple of the weights of one output.
            stop: One past the last weight, likewise.
            out: (n, stop - start).
        """
        if name in self._calls:
            module, calls = self._calls[name]
            if (
                isinstance(module, nn.Linear)
                and len(calls) == 1
                and out.is_contiguous()
                and out.dtype == calls[0][0].dtype
            ):
                flow, inputs = _linear_factors(module, *calls[0], self.count, start, stop)
                torch.bmm(flow, inputs, out=out.view(self.count, -1, inputs.shape[-1]))
                return
        out.copy_(self.of(name, start, stop))


def batch_gradient(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of the batch's mean loss."""
    weights = {name: model.get_parameter(name) for name in layers}
    with evaluating(model), differentiable(model, list(weights.values())), torch.enable_grad():
        gradients = torch.autograd.grad(loss(model(images), labels), list(weights.values()))
    return GradientBatch(
        1, {}, {name: gradient.detach().reshape(1, -1) for name, gradient in zip(weights, gradients, strict=True)}
    )


@contextmanager
def differentiable(model: nn.Module, weights: list[nn.Parameter]) -> Iterator[None]:
    """Lets gradients flow to these weights, frozen or not, and to no others: what comes before them is not recorded."""
    states = [(weight, weight.requires_grad) for weight in model.parameters()]
    for weight, _ in states:
        weight.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, state in states:
            weight.requires_grad_(state)


def per_sample_gradients(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of every image's own loss.

    One forward and one backward pass serve the whole batch: the gradient of a linear layer's weight for one image is
    the sum over tokens of output gradient times input. Linear and Conv2d layers are read off their inputs and output
    gradients; the weights of any other module, those that several modules share and those that are used without calling
    their module go through `torch.func`. The first dimension of every layer's input must run over the images (each may
    own several consecutive entries, like windows).
    """
    hooked = hooked_layers(model, layers)
    calls: dict[str, list[tuple[Tensor, GradientEdge]]] = {name: [] for name in hooked}

    def record(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        # the edge stays valid when a later operation overwrites the output in place
        calls[name].append((args[0].detach(), get_gradient_edge(output)))

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: record(name, args, output))
        for name, module in hooked.items()
    ]
    flows: Iterator[Tensor] = iter(())
    try:
        weights = [model.get_parameter(name) for name in hooked]
        with evaluating(model), differentiable(model, weights), torch.enable_grad():
            if hooked:
                total = loss(model(images), labels) * len(images)
                edges = [edge for pairs in calls.values() for _, edge in pairs]
                flows = iter(torch.autograd.grad(total, edges) if edges else ())
    finally:
        for handle in handles:
            handle.remove()
    found = {
        name: (hooked[name], [(inputs, next(flows)) for inputs, _ in pairs]) for name, pairs in calls.items() if pairs
    }
    others = [name for name in layers if name not in found]
    ready = _functional_gradients(model, others, images, labels, loss) if others else {}
    return GradientBatch(len(images), found, ready)


def hooked_layers(model: nn.Module, layers: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Returns the modules of those layers whose per-sample gradients can be read off inputs and output gradients."""
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    modules = {name: owner(model, name) for name in layers}
    return {
        name: module
        for name, module in modules.items()
        if _has_rule(module, name) and owners[id(model.get_parameter(name))] == 1
    }


def _has_rule(module: nn.Module, name: str) -> bool:
    if not name.endswith("weight"):
        return False
    return type(module) is nn.Linear or (
        type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    )


def _linear_factors(
    module: nn.Linear, inputs: Tensor, flow: Tensor, n: int, start: int, stop: int | None
) -> tuple[Tensor, Tensor]:
    """Returns (n, outputs, tokens) and (n, tokens, in), whose product is the gradient of weights start to stop."""
    outputs = slice(start // module.in_features, None if stop is None else stop // module.in_features)
    flow = flow.reshape(n, -1, module.out_features)[:, :, outputs]
    return flow.transpose(1, 2), inputs.reshape(n, -1, module.in_features)


def _weight_gradients(module: nn.Module, inputs: Tensor, flow: Tensor, n: int, start: int, stop: int | None) -> Tensor:
    """Returns per-sample gradients (n, stop - start) of one call of a layer.

    Args:
        module: Linear or Conv2d.
        inputs: The layer's inputs.
        flow: Gradient of the summed loss with respect to the layer's outputs.
        n: Number of images.
        start: First weight; a multiple of the weights of one output.
        stop: One past the last weight, likewise.
    """
    if isinstance(module, nn.Linear):
        return torch.bmm(*_linear_factors(module, inputs, flow, n, start, stop)).flatten(1)
    assert isinstance(module, nn.Conv2d)
    groups = module.groups
    columns = _columns(module, inputs).reshape(n, groups, -1, flow[0, 0].numel())
    flow = flow.reshape(n, groups, module.out_channels // groups, -1)  # (n, groups, out / groups, positions)
    if groups == 1:
        width = columns.shape[2]
        flow, start, stop = flow[:, :, start // width : None if stop is None else stop // width], 0, None
    return torch.matmul(flow, columns.transpose(-1, -2)).flatten(1)[:, start:stop]


def _rows(module: nn.Module, inputs: Tensor) -> Tensor:
    """Returns what a layer's weights are multiplied with: (groups, positions, columns)."""
    if isinstance(module, nn.Linear):
        return inputs.detach().reshape(1, -1, module.in_features)
    assert isinstance(module, nn.Conv2d)
    n, groups = len(inputs), module.groups
    kernel = module.kernel_size[0] * module.kernel_size[1]
    columns = _columns(module, inputs.detach()).reshape(n, groups, module.in_channels // groups, kernel, -1)
    return columns.permute(1, 0, 4, 3, 2).flatten(3).flatten(1, 2)


def _columns(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Returns what each output position sees: (n, in * kh * kw, positions), in any shape of that order."""
    height, width = module.kernel_size
    if module.stride == module.kernel_size and module.padding == (0, 0) and module.dilation == (1, 1):
        n, channels = inputs.shape[:2]  # patches side by side: a view, where `unfold` would go through every entry
        rows, columns = inputs.shape[2] // height, inputs.shape[3] // width
        patches = inputs[:, :, : rows * height, : columns * width].reshape(n, channels, rows, height, columns, width)
        return patches.permute(0, 1, 3, 5, 2, 4)
    assert not isinstance(module.padding, str)  # see _has_rule
    return F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)


def _functional_gradients(
    model: nn.Module, names: list[str], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Per-sample gradients of any weights at all, through `torch.func`; slower than the hooks."""
    state = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {name: state.pop(name) for name in names}

    def sample_loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, {**state, **weights}, (image[None],))
        return loss(outputs, label[None])

    with evaluating(model), torch.enable_grad():
        per_sample = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))(chosen, images, labels)
    return {name: gradient.detach().flatten(1) for name, gradient in per_sample.items()}
