"""ImageNet-1k: from the hub, from parquet files or from an image folder; images are decoded when they are wanted."""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench.core.errors import UserError
from bench.specs.recipes import TrainingSpec

logger = logging.getLogger(__name__)

DATASET, NUM_CLASSES = "imagenet-1k", 1000
HUB = "ILSVRC/imagenet-1k"
VARIABLE = "CAPBENCH_IMAGENET"
WORKERS = "CAPBENCH_WORKERS"
WAYS = (
    f"set {VARIABLE} to a folder with the hub's parquet files (train-*.parquet and validation-*.parquet, there or in "
    "data/) or with the original images (train/<wnid>/*.JPEG, val/<wnid>/*.JPEG); or accept the terms at "
    f"https://huggingface.co/datasets/{HUB} and log in with `hf auth login` or HF_TOKEN (docs/imagenet.md)"
)
SPLITS = {"train": ("train", 1_281_167), "test": ("validation", 50_000)}  # the hub's name, images
# a cluster sends its signals to all processes of a job: workers must neither answer them nor die of them
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
CHUNK = 64  # images that a worker decodes at a time
Transform = Callable[[PIL.Image.Image], Tensor]


@dataclass(frozen=True)
class StoredSplit:
    """A split as it is stored.

    Attributes:
        rows: A data set of the `datasets` library; its column `image` holds encoded bytes, or a path.
        labels: (n,), int64.
    """

    rows: Any
    labels: Tensor


def load_stored_split(split: str) -> StoredSplit:
    """Opens a split, `train` or `test` (ImageNet's validation images), from where the environment says.

    Raises:
        UserError: If there are no data, or of another layout, with the ways to provide them.
    """
    return _load_stored_split(split, os.environ.get(VARIABLE))


def check_data() -> None:
    """Makes sure that both splits are there, or that the hub would give them; reads and downloads no images.

    Raises:
        UserError: If not, with what is missing and the ways to provide it.
    """
    folder = os.environ.get(VARIABLE)
    if folder is not None:
        for split in SPLITS:
            _parquet_files(Path(folder), split) or _class_folders(Path(folder), split)
    elif not _cached_from_hub():
        _check_access()


@cache
def _load_stored_split(split: str, folder: str | None) -> StoredSplit:
    from datasets import Image, disable_progress_bars, load_dataset

    disable_progress_bars()
    hub_name, count = SPLITS[split]
    if folder is None:
        try:
            rows = load_dataset(HUB, split=hub_name)
        except Exception as error:  # noqa: BLE001  of many kinds: no network, no token, no access, no cache
            raise UserError(f"{DATASET} cannot be read from the hub ({_first_line(error)}): {WAYS}") from None
    elif files := _parquet_files(Path(folder), split):
        rows = load_dataset("parquet", data_files={hub_name: [str(file) for file in files]}, split=hub_name)
    else:
        rows = _from_folders(_class_folders(Path(folder), split))
    rows = rows.cast_column("image", Image(decode=False))
    labels = torch.from_numpy(rows.data.column("label").to_numpy().astype(np.int64))
    if labels.min() < 0 or labels.max() >= NUM_CLASSES:
        raise UserError(f"{split} images of {folder or HUB} have labels {int(labels.min())} to {int(labels.max())}: "
                        f"they must be 0 to {NUM_CLASSES - 1}")  # fmt: skip
    if len(labels) != count:
        logger.warning("%s has %d %s images, not %d", folder or HUB, len(labels), split, count)
    return StoredSplit(rows, labels)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _cached_from_hub() -> bool:
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / HUB.replace("/", "___")).is_dir()


def _check_access() -> None:
    """Asks the hub whether it would give the data.

    Raises:
        UserError: If it would not, or cannot be asked.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        reason = f"{VARIABLE} is not set, nothing of it is in the cache of `datasets`, and HF_HUB_OFFLINE is set"
    elif get_token() is None:
        reason = f"{VARIABLE} is not set, and there is no token for the hub"
    else:
        try:
            HfApi().auth_check(HUB, repo_type="dataset")
            return
        except (GatedRepoError, RepositoryNotFoundError):
            reason = f"{VARIABLE} is not set, and the token for the hub has no access to {HUB}"
        except Exception as error:  # noqa: BLE001  whatever a network does
            reason = f"{VARIABLE} is not set, and the hub cannot be reached ({_first_line(error)})"
    raise UserError(f"no {DATASET}: {reason}; {WAYS}")


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """Returns a split's parquet files, in order; none if the folder holds none of any split.

    Raises:
        UserError: If the folder is missing, or holds those of the other split alone, or files of another schema.
    """
    if not folder.is_dir():
        raise UserError(f"no {DATASET}: {VARIABLE} is {folder}, which is no folder; {WAYS}")
    for place in (folder, folder / "data"):
        found = {name: sorted(place.glob(f"{hub_name}-*.parquet")) for name, (hub_name, _) in SPLITS.items()}
        if any(found.values()):
            if not found[split]:
                raise UserError(f"no {DATASET}: {place} has no {SPLITS[split][0]}-*.parquet; {WAYS}")
            _check_columns(found[split][0])
            return found[split]
    return []


def _check_columns(file: Path) -> None:
    try:
        columns = pq.read_schema(file).names
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file} is no readable parquet file ({error}): fetch it again") from None
    if missing := {"image", "label"} - set(columns):
        raise UserError(f"{file} has no column {min(missing)}: it needs image and label, like the hub's files")


def _class_folders(folder: Path, split: str) -> dict[int, Path]:
    """Returns the folder of each class; a class's number is the place of its wnid among all 1,000, sorted.

    Raises:
        UserError: If there are none, or others.
    """
    from timm.data import ImageNetInfo

    place = folder / ("train" if split == "train" else "val")
    folders = sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    if not folders:
        problem = "holds images but no folders of classes" if place.is_dir() else "is missing"
        raise UserError(f"no {DATASET}: {folder} has no parquet files, and {place} {problem}; {WAYS}")
    number = {wnid: index for index, wnid in enumerate(sorted(ImageNetInfo(DATASET).label_names()))}
    if stray := [path.name for path in folders if path.name not in number]:
        raise UserError(f"{place / stray[0]} is not named by a wnid of {DATASET} such as {next(iter(number))}")
    return {number[path.name]: path for path in folders}


def _from_folders(folders: dict[int, Path]) -> Any:
    """Returns the rows of an image folder: paths and labels, in the order of classes and names."""
    from datasets import Dataset

    paths, labels = [], []
    for label, folder in folders.items():
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith((".jpeg", ".jpg")))
        paths += [{"bytes": None, "path": str(folder / name)} for name in names]
        labels += [label] * len(names)
    if not paths:
        raise UserError(
            f"no {DATASET}: {next(iter(folders.values())).parent} has no image *.JPEG in any folder; {WAYS}"
        )
    return Dataset.from_dict({"image": paths, "label": labels})


class _Decoded(TorchDataset[Tensor]):
    """Decodes and transforms single images, in a worker process."""

    def __init__(self, rows: Any, transform: Transform, seeds: tuple[int, ...] | None) -> None:
        self.rows, self.transform, self.seeds = rows, transform, seeds

    def __getitem__(self, index: int) -> Tensor:
        stored = self.rows[index]["image"]
        try:
            with PIL.Image.open(stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"])) as image:
                pixels = image.convert("RGB")
        except OSError as error:
            raise ValueError(f"image {index} ({stored['path']}) cannot be decoded: {error}") from None
        with nullcontext() if self.seeds is None else _drawing_from(derived_seed(*self.seeds, index)):
            return self.transform(pixels)


def derived_seed(*parts: int) -> int:
    """Returns one seed for several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
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


def workers() -> int:
    """Returns how many processes decode images for this one: as many as it has threads, or as the environment says.

    Raises:
        UserError: If the environment says no number.
    """
    text = os.environ.get(WORKERS)
    if text is None:
        return torch.get_num_threads()
    if not text.isdecimal():
        raise UserError(f"{WORKERS} is {text!r}: give a number of processes, 0 to decode without any")
    return int(text)


@contextmanager
def _held_back(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
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


def _decode(
    stored: StoredSplit,
    transform: Transform,
    batches: Iterable[Tensor],
    device: str | torch.device,
    seeds: tuple[int, ...] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the images of each batch of indices, transformed, and their labels.

    Workers decode small pieces of several batches ahead: what is in memory does not grow with the batch.

    Args:
        photos: Where they come from.
        transform: From an image to an input.
        batches: Indices.
        device: Where they are wanted.
        seeds: Together with an image's index they seed its transform.
    """
    batches = list(batches)
    pieces = [[piece.tolist() for piece in batch.split(CHUNK) if len(piece)] for batch in batches]
    every = [piece for several in pieces for piece in several]
    count = min(workers(), len(every))
    loader = DataLoader(
        _Decoded(stored.rows, transform, seeds),
        batch_sampler=every,
        num_workers=count,
        multiprocessing_context="fork" if count else None,  # the rows are shared, and nothing need be pickled
        generator=torch.Generator(),  # not the one that the model draws from
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_end_with_parent,
    )
    with _held_back(SIGNALS):  # so they are in the workers from their first moment
        decoded = iter(loader)
    for batch, several in zip(batches, pieces, strict=True):
        inputs = [next(decoded).to(device, non_blocking=True) for _ in several]
        yield torch.cat(inputs or [torch.empty(0, device=device)]), stored.labels[batch].to(device)


@dataclass(frozen=True)
class DecodedInputs:
    """A split as inputs: see `bench.data.fashion_mnist.Inputs`.

    Attributes:
        photos: The images.
        transform: The model's own.
        chosen: (n,), the indices of those that belong to this; None for all.
    """

    stored: StoredSplit
    transform: Transform
    chosen: Tensor | None = None

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
        """Yields normalised inputs and labels: see `Inputs`."""
        indices = self._indices() if order is None else self._indices()[order]
        yield from _decode(self.stored, self.transform, indices.split(batch_size), device)


def data_config(timm_name: str, size: int) -> dict[str, Any]:
    """Returns how a model's images are prepared, as timm has it on record for its weights.

    Args:
        timm_name: With its tag.
        size: Side of the input, pixels.

    Returns:
        The `input_size`, `interpolation`, `mean`, `std`, `crop_pct` and `crop_mode` of timm's transforms.
    """
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(timm_name)
    assert found is not None
    return resolve_data_config({"input_size": (3, size, size)}, pretrained_cfg=found.to_dict())


def eval_transform(config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for evaluation, from an image to an input."""
    from timm.data import create_transform

    return create_transform(**config, is_training=False)


def training_transform(how: TrainingSpec, config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for training, from an image to an input: those of the augmentation set."""
    from timm.data import create_transform

    from bench.data.augmentation import JITTER, keep_a_bit

    chosen = how.augmentation_set
    transform = create_transform(
        config["input_size"],
        is_training=True,
        scale=(how.crop, 1.0),
        color_jitter=JITTER,
        auto_augment=chosen.rand_augment,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        re_prob=chosen.erasing,
        re_mode="pixel",
    )
    keep_a_bit(transform.transforms)
    return transform


def training_batches(
    stored: StoredSplit,
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

    What becomes of an image depends on seed, epoch and its index alone, and two images that are mixed are of one
    share: so it matters neither how many processes share a batch nor how many workers decode it.

    Args:
        photos: The training images.
        how: The training.
        config: Of the model's images, see `data_config`.
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
    from bench.core.random_state import seed_everything
    from bench.data.augmentation import mixup

    if not done:  # else the generators are in the state that a checkpoint has
        seed_everything(seed + epoch)
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    whole = torch.randperm(len(stored.labels), generator=generator)[: how.images].split(how.batch_size)[done:]
    shares = [batch[share(len(batch), rank, world_size)] for batch in whole]
    mix = mixup(how, NUM_CLASSES)
    decoded = _decode(stored, training_transform(how, config), shares, device, (seed, epoch))
    for number, (batch, (inputs, labels)) in enumerate(zip(whole, decoded, strict=True), done):
        if mix is not None and len(batch) % 2 == 0:
            with _drawing_from(derived_seed(seed, epoch, number)):
                inputs, labels = mix(inputs, labels)
        yield inputs.reshape(-1, *config["input_size"]), labels


def share(count: int, rank: int, world_size: int) -> Tensor:
    """Returns a process's share of a batch: positions in pairs from both ends, which are those that timm's mixup mixes.

    >>> share(8, 0, 2), share(8, 1, 2)
    (tensor([0, 2, 5, 7]), tensor([1, 3, 4, 6]))
    """
    first = torch.arange(count // 2)[rank::world_size]
    middle = torch.tensor([count // 2] if count % 2 and rank == 0 else [], dtype=torch.int64)
    return torch.cat([first, middle, count - 1 - first.flip(0)])


def main() -> None:
    """Prepares both splits, so that no job has to: fetches them, or makes the copy of parquet files that is read."""
    check_data()
    for split, (hub_name, _) in SPLITS.items():
        print(f"{hub_name}: {len(load_stored_split(split).labels):,} images")


if __name__ == "__main__":
    import sys

    try:
        main()
    except UserError as error:
        sys.exit(str(error))
