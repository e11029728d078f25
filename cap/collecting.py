"""Calibration images taken from a data set or its loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from cap.inputs import Inputs, as_inputs, as_tensor

LABEL_KEYS = ("labels", "label")


def collect(data: Any, num_images: int | None, seed: int, label_key: str | None) -> tuple[Inputs, Tensor]:
    """Returns the images and labels that calibration takes from data.

    Args:
        data: Data set with a length, of which random samples are taken; or a DataLoader, an IterableDataset or any
            other iterable, of which the first are.
        num_images: Number of images; None for all.
        seed: Seed of the choice from a data set.
        label_key: Key of the labels where samples are mappings; None for `labels` or `label`.

    Raises:
        ValueError: If there are fewer images, or no images and labels can be told in them.
    """
    if num_images is not None and (isinstance(num_images, bool) or not isinstance(num_images, int) or num_images < 1):
        raise ValueError(f"num_images={num_images!r} is not valid: it is a whole number of at least 1, or None for all")
    if isinstance(data, Mapping) or not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        raise ValueError(
            f"data of type {type(data).__name__} are neither a data set nor a loader: inputs that are in memory "
            "already go to Calibration(inputs, labels)"
        )
    size = _length(data)
    if size is None and num_images is None:
        raise ValueError(f"data of type {type(data).__name__} without a length may have no end: say num_images")
    parts: list[tuple[Inputs, Tensor]] = []
    found = 0
    for batch in _batches(data, num_images, seed, size):
        inputs, labels = _parse(batch, label_key)
        if len(inputs) != len(labels):
            raise ValueError(f"a batch has {len(inputs)} images and {len(labels)} labels: there must be as many")
        parts.append((inputs, labels))
        found += len(inputs)
        if num_images is not None and found >= num_images:
            break
    if found < (num_images or 1):
        wanted = f"{num_images} are wanted" if num_images else "at least one is needed"
        raise ValueError(f"the {type(data).__name__} has {found} images, but {wanted}")
    chosen = slice(0, num_images)
    return _joined([inputs for inputs, _ in parts])[chosen], _cat([labels for _, labels in parts], "labels")[chosen]


def _length(data: Any) -> int | None:
    """Returns how many samples or batches there are, None if data do not say."""
    try:
        return len(data)
    except TypeError:  # a loader of a data set without a length has `__len__`, which raises it
        return None


def _batches(data: Any, num_images: int | None, seed: int, size: int | None) -> Iterator[Any]:
    """Yields batches of a loader as they are, and samples of a data set in batches of one."""
    if isinstance(data, IterableDataset):
        yield from (_collated(sample, number) for number, sample in enumerate(islice(data, num_images)))
    elif isinstance(data, DataLoader) or size is None or not hasattr(data, "__getitem__"):
        yield from data
    else:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:num_images].tolist()
        yield from (_collated(data[index], index) for index in order)


def _collated(sample: Any, number: int) -> Any:
    """Returns a batch of one sample."""
    try:
        return default_collate([sample])
    except TypeError as error:
        raise ValueError(
            f"sample {number} holds what is no tensor, array or number: give the data set a transform, like "
            f"torchvision's ToTensor ({str(error).partition('; found')[2].strip() or error})"
        ) from None


def _parse(batch: Any, label_key: str | None) -> tuple[Inputs, Tensor]:
    """Tells inputs and labels in a batch.

    Raises:
        ValueError: If it is neither (inputs, labels) nor a mapping with labels.
    """
    if isinstance(batch, Mapping):
        keys = (label_key,) if label_key is not None else LABEL_KEYS
        key = next((key for key in keys if key in batch), None)
        if key is None:
            raise ValueError(
                f"a batch has the keys {', '.join(map(str, batch))} and no {' or '.join(keys)}: say label_key"
            )
        inputs, labels = {name: values for name, values in batch.items() if name != key}, batch[key]
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        inputs, labels = batch
    else:
        shown = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, list | tuple) else type(batch).__name__
        raise ValueError(f"a batch is a {shown}, without labels: it must be (inputs, labels), or a dict with labels")
    return as_inputs(inputs), as_tensor(labels, "labels")


def _joined(parts: list[Inputs]) -> Inputs:
    """Returns the inputs of all batches, one after another.

    Raises:
        ValueError: If they are not the same arguments, or of different shapes.
    """
    first = parts[0]
    if any((len(p.positional), set(p.keywords)) != (len(first.positional), set(first.keywords)) for p in parts):
        raise ValueError("batches have different inputs: there must be the same arguments in each")
    return Inputs(
        tuple(_cat([part.positional[i] for part in parts], "images") for i in range(len(first.positional))),
        {name: _cat([part.keywords[name] for part in parts], f"input {name}") for name in first.keywords},
    )


def _cat(tensors: list[Tensor], what: str) -> Tensor:
    """Returns tensors one after another.

    Raises:
        ValueError: If their shapes differ.
    """
    if shapes := {tuple(tensor.shape[1:]) for tensor in tensors if tensor.shape[1:] != tensors[0].shape[1:]}:
        raise ValueError(
            f"{what} are of different shapes, {tuple(tensors[0].shape[1:])} and {min(shapes)}: crop or pad them to one"
        )
    return torch.cat(tensors)
