"""Inputs of a model: a tensor, several, or keyword arguments, each with one entry per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs of a model for n images: `model(*positional, **keywords)`.

    Attributes:
        positional: Arguments by position, (n, ...) each.
        keywords: Arguments by keyword, {name: (n, ...)}.
    """

    positional: tuple[Tensor, ...]
    keywords: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self._tensors()[0])

    def __getitem__(self, chosen: slice | Tensor) -> Inputs:
        return Inputs(tuple(x[chosen] for x in self.positional), {k: x[chosen] for k, x in self.keywords.items()})

    def _tensors(self) -> list[Tensor]:
        return [*self.positional, *self.keywords.values()]

    def split(self, size: int) -> Iterator[Inputs]:
        """Yields the inputs of `size` images after those of another."""
        yield from self.take([slice(start, start + size) for start in range(0, len(self), size)])

    def take(self, batches: Iterable[slice | Tensor]) -> Iterator[Inputs]:
        """Yields the inputs of each of some batches of indices."""
        for chosen in batches:
            yield self[chosen]

    def to(self, device: torch.device) -> Inputs:
        """Returns the inputs on a device."""
        return Inputs(tuple(x.to(device) for x in self.positional), {k: x.to(device) for k, x in self.keywords.items()})

    def clone(self) -> Inputs:
        """Returns a copy."""
        return Inputs(tuple(x.clone() for x in self.positional), {name: x.clone() for name, x in self.keywords.items()})

    def run(self, model: nn.Module) -> Any:
        """Returns the model's outputs; it gets a copy, which it may write into.

        Raises:
            ValueError: If the forward pass fails on inputs of a type that no weight of the model has.
        """
        own = self.clone()
        try:
            return model(*own.positional, **own.keywords)
        except RuntimeError as error:
            if mismatch := self._dtype_mismatch(model):
                raise ValueError(f"{mismatch}, and the forward pass fails on them: {_first_line(error)}") from error
            raise

    def _dtype_mismatch(self, model: nn.Module) -> str | None:
        """Returns how the inputs' types differ from those of the weights, or None if a weight has each of them."""
        ours = {x.dtype for x in self._tensors()}
        theirs = {weight.dtype for weight in model.parameters()}
        if not theirs or ours <= theirs:
            return None
        return f"the calibration images are {_names(ours - theirs)}, the model's weights {_names(theirs)}"


Load = Callable[[Sequence[Tensor]], Iterator[Tensor]]


class StreamedInputs(Inputs):
    """Inputs of a model of one argument that are made when they are wanted, such as decoded images: never held all.

    Args:
        load: Function that yields the images (n, ...) of each of some batches of indices, (n,) each; of an index the
            same each time.
        indices: Indices (n,) of the images.
    """

    def __init__(self, load: Load, indices: Tensor) -> None:
        vars(self).update(_load=load, _indices=indices)  # the class is frozen
        self._load: Load
        self._indices: Tensor

    @property
    def positional(self) -> tuple[Tensor, ...]:
        """All images, which are made now."""
        return tuple(self._load([self._indices]))

    @property
    def keywords(self) -> Mapping[str, Tensor]:
        """No arguments by keyword."""
        return {}

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, chosen: slice | Tensor) -> StreamedInputs:
        return StreamedInputs(self._load, self._indices[chosen])

    def take(self, batches: Iterable[slice | Tensor]) -> Iterator[Inputs]:
        """Yields the inputs of each of some batches of indices, made one batch after another."""
        for images in self._load([self._indices[chosen] for chosen in batches]):
            yield Inputs((images,), {})


Images = Tensor | Inputs


def as_inputs(images: Any) -> Inputs:
    """Returns images in any of their forms as inputs of a model.

    Args:
        images: Tensor or array, (n, ...); a tuple or list of these, arguments by position; or a mapping, arguments by
            keyword.

    Raises:
        ValueError: If they are anything else, or of different numbers.
    """
    if isinstance(images, Inputs):
        return images
    if isinstance(images, Mapping):
        inputs = Inputs((), {str(name): as_tensor(x, f"input {name}") for name, x in images.items()})
    elif isinstance(images, list | tuple):
        inputs = Inputs(tuple(as_tensor(x, f"input {number}") for number, x in enumerate(images)), {})
    else:
        inputs = Inputs((as_tensor(images, "the images"),), {})
    tensors = inputs._tensors()
    if not tensors:
        raise ValueError("there are no calibration inputs: give at least one tensor")
    if len({len(x) for x in tensors}) > 1:
        names = [*range(len(inputs.positional)), *inputs.keywords]
        sizes = ", ".join(f"{name}: {len(x)}" for name, x in zip(names, tensors, strict=True))
        raise ValueError(f"the calibration inputs are of different numbers of images ({sizes}): there must be as many")
    return inputs


def as_tensor(values: Tensor | NDArray[Any] | Sequence[Any], what: str) -> Tensor:
    """Returns values with one entry per image as a tensor, without a copy if possible.

    Args:
        values: Tensor, array or anything else that torch makes a tensor of.
        what: Name of the values, for the error.

    Raises:
        ValueError: If they are no numbers, have no first dimension, or are on the meta device.
    """
    try:
        tensor = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(values).__name__
        raise ValueError(f"{what}: {kind} is no tensor or array of numbers: {_first_line(error)}") from None
    if not tensor.ndim:
        raise ValueError(f"{what}: a single number, where the first dimension must run over the images")
    if tensor.is_meta:
        raise ValueError(f"{what}: on the meta device, where tensors have no values: load them onto a real one")
    return tensor


def check_labels(model: nn.Module, inputs: Inputs, labels: Tensor, loss: object) -> None:
    """Refuses outputs and labels that cross-entropy cannot be computed of; one image goes through the model.

    Args:
        model: The model.
        inputs: Inputs of the model, on its device.
        labels: All labels.
        loss: Loss function; none but PyTorch's cross-entropy is checked.

    Raises:
        ValueError: If the outputs are no tensor of class scores, or a label is no class.
    """
    if loss is not nn.functional.cross_entropy and type(loss) is not nn.CrossEntropyLoss:
        return
    ignored = loss.ignore_index if isinstance(loss, nn.CrossEntropyLoss) else -100
    with torch.no_grad():
        outputs = inputs[:1].run(model)
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"cross-entropy needs a tensor, but the model returns a {type(outputs).__name__}: give Calibration a loss "
            "that reads it, like loss=lambda outputs, labels: F.cross_entropy(outputs.logits, labels)"
        )
    if outputs.ndim < 2 or labels.is_floating_point():
        if tuple(labels.shape[1:]) != tuple(outputs.shape[1:]):
            raise ValueError(f"labels of shape {tuple(labels.shape)} do not go with outputs {tuple(outputs.shape)}")
        return
    expected = (len(labels), *outputs.shape[2:])
    if labels.shape != expected or labels.dtype not in (torch.int64, torch.uint8):
        raise ValueError(
            f"cross-entropy on outputs {tuple(outputs.shape)} needs labels of shape {expected} and type int64, not "
            f"{tuple(labels.shape)} and {_names({labels.dtype})}"
        )
    wrong = labels[(labels != ignored) & ((labels < 0) | (labels >= outputs.shape[1]))]
    if len(wrong):
        raise ValueError(f"label {int(wrong[0])} is out of range: the model has {outputs.shape[1]} classes, from 0")


def _names(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
