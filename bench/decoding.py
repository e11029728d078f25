"""Photos as inputs of a model: decoded, transformed and put into batches while the model works."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.augment import JITTER, keep_a_bit, mixup, seed_everything
from bench.errors import UserError
from bench.photos import NUM_CLASSES, Photos
from bench.recipes import TrainingSpec

WORKERS = "CAPBENCH_WORKERS"
PIECE = 64  # images that a worker decodes at a time: what is in memory does not grow with the batch
Transform = Callable[[PIL.Image.Image], Tensor]


def workers() -> int:
    """Returns how many processes decode images: as many as this one has threads, or what the environment says.

    Raises:
        UserError: If the environment says no number.
    """
    text = os.environ.get(WORKERS)
    if text is None:
        return torch.get_num_threads()
    if not text.isdecimal():
        raise UserError(f"{WORKERS} is {text!r}: give a number of processes, 0 to decode without any")
    return int(text)


def data_config(timm_name: str, size: int) -> dict[str, Any]:
    """Returns how a model's images are prepared, as timm has it on record for its weights.

    Args:
        timm_name: With the tag of the weights.
        size: Side of the input, pixels.

    Returns:
        `input_size`, `interpolation`, `mean`, `std`, `crop_pct` and `crop_mode` of timm's transforms.
    """
    found = get_pretrained_cfg(timm_name)
    return resolve_data_config({"input_size": (3, size, size)}, pretrained_cfg=found.to_dict() if found else {})


def eval_transform(config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for evaluation, from an image to an input (3, size, size)."""
    return create_transform(**config, is_training=False)


def training_transform(how: TrainingSpec, config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for training, from an image to an input: those of the augmentation set."""
    transform = create_transform(
        config["input_size"],
        is_training=True,
        scale=(how.crop, 1.0),
        color_jitter=JITTER,
        auto_augment=how.augmentation_set.rand_augment,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        re_prob=how.augmentation_set.erasing,
        re_mode="pixel",
    )
    keep_a_bit(transform.transforms)
    return transform


def derived_seed(*parts: int | str) -> int:
    """Returns a seed, below 2^63, for one purpose: numbers, and what they stand for."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Lets timm and torchvision draw from this seed, on the CPU, and leaves the generators as they were."""
    python, legacy, generator = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(generator)


class _Decoded(Dataset[Tensor]):
    """Decodes and transforms single images; with `seeds`, each transform draws from these and the image's index."""

    def __init__(self, rows: Any, transform: Transform, seeds: tuple[int, int] | None) -> None:
        self.rows, self.transform, self.seeds = rows, transform, seeds

    def __getitem__(self, index: int) -> Tensor:
        stored = self.rows[index]["image"]
        drawing = nullcontext() if self.seeds is None else own_random_numbers(derived_seed(*self.seeds, "image", index))
        try:
            with PIL.Image.open(stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"])) as image:
                pixels = image.convert("RGB")
        except OSError as error:
            raise ValueError(f"image {index} ({stored['path']}) cannot be decoded: {error}") from None
        with drawing:
            return self.transform(pixels)


def _obey_parent_alone(_: int) -> None:
    """Keeps a worker out of what the cluster tells the job: that is for the process to handle that it works for.

    A fork inherits submitit's handlers, so that each worker would requeue the job; one that ended would fail the trial.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _decode(
    photos: Photos,
    transform: Transform,
    size: tuple[int, int, int],
    batches: Iterable[Tensor],
    device: str | torch.device,
    seeds: tuple[int, int] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the images of each batch of indices, transformed, and their labels; workers decode ahead.

    Args:
        photos: Where they come from.
        transform: From an image to an input.
        size: Of an input.
        batches: Indices.
        device: Where they are wanted.
        seeds: Together with an image's index they seed its transform.
    """
    batches = list(batches)
    pieces = [[piece.tolist() for piece in batch.split(PIECE)] if len(batch) else [] for batch in batches]
    every = [piece for several in pieces for piece in several]
    count = min(workers(), len(every))
    loader = iter(
        DataLoader(
            _Decoded(photos.rows, transform, seeds),
            batch_sampler=every,
            num_workers=count,
            multiprocessing_context="fork" if count else None,  # they share the rows, and nothing need be pickled
            generator=torch.Generator(),  # not the one that the model draws from
            worker_init_fn=_obey_parent_alone,
            pin_memory=torch.device(device).type == "cuda",
        )
    )
    for batch, several in zip(batches, pieces, strict=True):
        inputs = [next(loader).to(device, non_blocking=True) for _ in several]
        joined = torch.cat(inputs) if inputs else torch.empty(0, *size, device=device)
        yield joined, photos.labels[batch].to(device)


@dataclass(frozen=True)
class DecodedInputs:
    """A split as inputs, with timm's transforms for evaluation: see `bench.data.Inputs`.

    Attributes:
        photos: The images.
        config: How they are prepared, see `data_config`.
        chosen: (n,), the indices of those that belong to this; None for all.
    """

    photos: Photos
    config: dict[str, Any]
    chosen: Tensor | None = None

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> Tensor:
        return torch.arange(len(self.photos.labels)) if self.chosen is None else self.chosen

    def subset(self, count: int, seed: int) -> DecodedInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return replace(self, chosen=self._indices()[drawn])

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised inputs and labels: see `Inputs`."""
        indices = self._indices() if order is None else self._indices()[order]
        transform, size = eval_transform(self.config), self.config["input_size"]
        yield from _decode(self.photos, transform, size, indices.split(batch_size), device)


def share(count: int, rank: int, world_size: int) -> Tensor:
    """Returns a process's share of a batch: positions in pairs from both ends, which timm mixes with each other.

    >>> share(8, 0, 2), share(8, 1, 2)
    (tensor([0, 2, 5, 7]), tensor([1, 3, 4, 6]))
    """
    first = torch.arange(count // 2)[rank::world_size]
    middle = torch.arange(count // 2, count - count // 2) if rank == 0 else torch.arange(0)
    return torch.cat([first, middle, count - 1 - first.flip(0)])


def training_batches(
    photos: Photos,
    how: TrainingSpec,
    config: dict[str, Any],
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    done: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the augmented batches of one epoch; the same for the same seed and epoch.

    What becomes of an image depends on seed, epoch and its index alone, and how images are mixed on the batch's number;
    two that are mixed are of one share. So it matters neither how many processes share a batch nor how many workers
    decode it, and each process decodes its share alone.

    Args:
        photos: The training images.
        how: The training.
        config: How they are prepared, see `data_config`.
        seed: Seed of the run.
        epoch: Its number.
        rank: Which of the processes that share each batch this is.
        world_size: How many share it.
        done: Batches to leave out at the beginning.
        device: Where they are wanted.

    Yields:
        This process's share: inputs (n, 3, size, size), and labels (n,) or, with mixup, smoothed class probabilities
        (n, 1000).
    """
    if not done:  # what the model draws; after a stop the generators are as the checkpoint has them
        seed_everything(seed + epoch)
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "order"))
    whole = torch.randperm(len(photos.labels), generator=generator)[: how.images].split(how.batch_size)[done:]
    shares = [batch[share(len(batch), rank, world_size)] for batch in whole]
    mix = mixup(how, NUM_CLASSES)
    decoded = _decode(photos, training_transform(how, config), config["input_size"], shares, device, (seed, epoch))
    for number, (batch, (inputs, labels)) in enumerate(zip(whole, decoded, strict=True), done):
        if mix is not None and len(batch) % 2 == 0:
            with own_random_numbers(derived_seed(seed, epoch, "mix", number)):
                inputs, labels = mix(inputs, labels)
        yield inputs, labels
