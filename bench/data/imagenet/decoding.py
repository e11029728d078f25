"""Decoding of stored images by worker processes, when they are wanted."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.core.errors import UserError
from bench.data.imagenet.source import StoredSplit
from bench.data.seeding import combined_seed, temporarily_seeded

WORKERS_VARIABLE = "CAPBENCH_WORKERS"
# a cluster sends its signals to all processes of a job: workers must neither answer them nor die of them
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
JPEG = b"\xff\xd8"  # its first bytes
CHUNK = 64  # images that a worker decodes at a time
Transform = Callable[[Any], Tensor]  # from an image of PIL's; see also `decode_for`


@dataclass(frozen=True)
class BrokenImage:
    """Image that cannot be decoded: a worker hands it on as a value, since what it raises would come with a traceback.

    Attributes:
        index: Index in its split.
        path: Path or name.
        reason: What the decoder said, in one line.
    """

    index: int
    path: str | None
    reason: str


class DecodedImages(Dataset["Tensor | BrokenImage"]):
    """Single images, decoded and transformed; worker processes index it.

    Args:
        rows: Rows of a `StoredSplit`.
        transform: Transform from an image to an input.
        seeds: Numbers that, with an image's index, seed its transform; None draws from the generators as they are.
    """

    def __init__(self, rows: Any, transform: Transform, seeds: tuple[int, ...] | None) -> None:
        self.rows, self.transform, self.seeds = rows, transform, seeds

    def __getitem__(self, index: int) -> Tensor | BrokenImage:
        stored = self.rows[index]["image"]
        try:
            pixels = decode_for(self.transform, stored)
        except OSError as error:
            return BrokenImage(index, stored["path"], " ".join(str(error).split()))
        with nullcontext() if self.seeds is None else temporarily_seeded(combined_seed(*self.seeds, index)):
            return self.transform(pixels)


def decode_for(transform: Transform, stored: Mapping[str, Any] | PIL.Image.Image) -> Any:
    """Returns an image in colour, in the form that a transform takes fastest.

    A transform with `takes_pixels` gets pixels (3, height, width), uint8, of a JPEG that torchvision decodes: the same
    ones that PIL gives, sooner. Any other image is one of PIL's.

    Args:
        transform: Transform of the image.
        stored: See `decode_image`.

    Raises:
        OSError: If it cannot be decoded.
    """
    if getattr(transform, "takes_pixels", False) and not isinstance(stored, PIL.Image.Image):
        from torchvision.io import ImageReadMode, decode_jpeg  # takes long to import; such a transform has it

        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
        if content[: len(JPEG)] == JPEG:
            with suppress(RuntimeError):  # a build without a decoder; a damaged file, of which PIL says more
                return decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
        stored = {**stored, "bytes": content}
    return decode_image(stored)


def decode_image(stored: Mapping[str, Any] | PIL.Image.Image) -> PIL.Image.Image:
    """Returns an image in colour.

    Args:
        stored: Encoded `bytes`, or else the `path` of a file; or an image that is decoded already.

    Raises:
        OSError: If it cannot be decoded.
    """
    if isinstance(stored, PIL.Image.Image):
        return stored.convert("RGB")
    try:
        with PIL.Image.open(stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"])) as image:
            return image.convert("RGB")
    except (SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:  # of some broken files
        raise OSError(str(error)) from None


def _stacked(images: list[Tensor | BrokenImage]) -> Tensor | BrokenImage:
    """Returns a chunk of images, or the first of them that is broken."""
    broken = next((image for image in images if isinstance(image, BrokenImage)), None)
    return broken or torch.stack([image for image in images if isinstance(image, Tensor)])


def num_workers() -> int:
    """Returns how many processes decode images for this one: as many as it has threads, or as the environment says.

    Raises:
        UserError: If the environment says no number.
    """
    text = os.environ.get(WORKERS_VARIABLE)
    if text is None:
        return torch.get_num_threads()
    if not text.isdecimal():
        raise UserError(f"{WORKERS_VARIABLE} is {text!r}: give a number of processes, 0 to decode without any")
    return int(text)


@contextmanager
def _blocked(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Holds signals back; a process that is started meanwhile never sees them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(worker: int) -> None:
    """Lets a worker be ended by the process that it works for, and by nothing else that is meant for this one too."""

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def decode(
    stored: StoredSplit,
    transform: Transform,
    batches: Iterable[Tensor],
    device: str | torch.device,
    seeds: tuple[int, ...] | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the images of each batch of indices, transformed, and their labels.

    Workers decode small chunks of several batches ahead: what is in memory does not grow with the batch.

    Args:
        stored: Split that holds the images.
        transform: Transform from an image to an input.
        batches: Indices of the images of each batch, (n,) each.
        device: Torch device of the batches.
        seeds: Numbers that, with an image's index, seed its transform; None draws from the generators as they are.
        workers: Number of processes that decode; None for `num_workers`.

    Raises:
        UserError: If an image cannot be decoded, with its split, index, name and file.
    """
    batches = list(batches)
    chunks = [[chunk.tolist() for chunk in batch.split(CHUNK) if len(chunk)] for batch in batches]
    all_chunks = [chunk for batch_chunks in chunks for chunk in batch_chunks]
    count = min(num_workers() if workers is None else workers, len(all_chunks))
    loader = DataLoader(
        DecodedImages(stored.rows, transform, seeds),
        batch_sampler=all_chunks,
        collate_fn=_stacked,
        num_workers=count,
        multiprocessing_context="fork" if count else None,  # the rows are shared, and nothing need be pickled
        generator=torch.Generator(),  # not the one that the model draws from
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_end_with_parent,
    )
    with _blocked(SIGNALS):  # so they are in the workers from their first moment
        decoded = iter(loader)
    for batch, batch_chunks in zip(batches, chunks, strict=True):
        inputs = [_whole(next(decoded), stored).to(device, non_blocking=True) for _ in batch_chunks]
        yield torch.cat(inputs or [torch.empty(0, device=device)]), stored.labels[batch].to(device)


def _whole(chunk: Tensor | BrokenImage, stored: StoredSplit) -> Tensor:
    """Returns a chunk of images.

    Raises:
        UserError: If one of them is broken.
    """
    if isinstance(chunk, BrokenImage):
        raise UserError(f"{stored.describe(chunk.index, chunk.path)} cannot be decoded: {chunk.reason}")
    return chunk


@dataclass(frozen=True)
class DecodedInputs:
    """Inputs from a stored split: see `bench.data.inputs.Inputs`.

    Attributes:
        stored: Split that holds the images.
        transform: Transform of the model, from an image to an input.
        chosen: Indices (n,) of the images that belong to these inputs; None for all.
        seeds: Numbers that, with an image's index, seed its transform; None for a transform that draws nothing.
    """

    stored: StoredSplit
    transform: Transform
    chosen: Tensor | None = None
    seeds: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.stored.labels if self.chosen is None else self.chosen)

    def _indices(self) -> Tensor:
        return torch.arange(len(self)) if self.chosen is None else self.chosen

    def subset(self, count: int, seed: int) -> DecodedInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return replace(self, chosen=self._indices()[drawn])

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised inputs and labels: see `bench.data.inputs.Inputs`."""
        indices = self._indices() if order is None else self._indices()[order]
        yield from decode(self.stored, self.transform, indices.split(batch_size), device, self.seeds)

    @property
    def labels(self) -> Tensor:
        """Labels (n,), int64."""
        return self.stored.labels[self._indices()]

    def load(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yields the inputs of each of some batches of indices into these inputs, (n,) each."""
        chosen = [self._indices()[batch] for batch in batches]
        for images, _ in decode(self.stored, self.transform, chosen, "cpu", self.seeds):
            yield images
