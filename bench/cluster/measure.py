"""Rates of this machine, measured in half a minute and kept for plans."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cap
from bench.cluster.estimate import model_size
from bench.cluster.rates import DECODED, RATES, Rates
from bench.core.errors import UserError
from bench.core.files import atomic_write
from bench.core.hardware import hardware
from bench.core.timing import seconds_since
from bench.data import imagenet
from bench.data.imagenet.decoding import decode_for
from bench.models.imagenet import ImageNetModel
from bench.specs.trial import Trial
from cap.fisher.factors import InverseFactor
from cap.gradients import per_sample_gradients
from cap.kernels import for_device
from cap.training.accelerator import Accelerator, Compute, ComputeMode, float32_products, is_convolutional

SECONDS = 5.0  # for each of the six rates
BATCH = {"cpu": 8, "cuda": 64}  # images in a forward pass
BLOCKS, BLOCK_SIZE, GRADIENTS = {"cpu": 64, "cuda": 1024}, 192, 128  # of the sums of gradient products and the factors
DAMP = 1e-3


def measure_rates(trials: Sequence[Trial], device: str | None = None, compute: Compute = "auto") -> Rates:
    """Measures the rates of a device of this machine, and keeps them.

    Args:
        trials: Trials whose smallest model, with random weights, and whose images are measured with.
        device: Torch device; None for cuda where there is one, else the processor with the threads of this process.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.

    Returns:
        The rates, by the name of the card or processor, and `compute` where it is not `auto`.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    smallest = min(trials, key=lambda trial: model_size(trial.resolve().model).macs)
    found = replace(_model_rates(smallest, kind, compute), decoded=_decoded(smallest))
    with contextlib.suppress(OSError), atomic_write(_folder() / f"{found.name}.json") as temporary:
        temporary.write_text(json.dumps(asdict(found)))
    return found


def kept_rates() -> dict[str, Rates]:
    """Returns the rates that were measured on any machine with this cache folder, {name: rates}, the newest last."""
    found = {}
    for path in sorted(_folder().glob("*.json"), key=lambda path: path.stat().st_mtime):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found[path.stem] = Rates(**json.loads(path.read_text()))
    return found


def find_rates(name: str | None, on_gpu: bool) -> Rates:
    """Returns rates by name, or those measured last for a kind of device, or assumed ones.

    Args:
        name: Name of a kind of hardware; None for what is best known.
        on_gpu: Whether trials run on GPUs.

    Raises:
        UserError: If there is none of that name.
    """
    kept = kept_rates()
    known = {**RATES, **kept}
    if name is None:
        fitting = [rates for rates in kept.values() if (rates.memory_gib is not None) == on_gpu]
        return fitting[-1] if fitting else RATES["a100" if on_gpu else "cpu"]
    if name not in known:
        raise UserError(f"--hardware {name} is not known: choose from {', '.join(known)}")
    return known[name]


def _folder() -> Path:
    return imagenet.cache_folder() / "rates"


def _rate(work: float, run: Callable[[], object], device: str) -> float:
    """Returns how much work a second a function does, which is called for some seconds after a first call."""
    run()
    calls, start = 0, time.perf_counter()
    while seconds_since(start, device) < SECONDS or not calls:
        run()
        calls += 1
    return work * calls / seconds_since(start, device)


@float32_products(tf32=False)
def _model_rates(trial: Trial, device: str, compute: Compute) -> Rates:
    """Returns the rates of everything but the decoding of images."""
    spec, batch = trial.resolve().model, BATCH[torch.device(device).type]
    model = spec.build().to(device).eval()
    layers = cap.select_layers(model, spec.prunable)
    images = torch.randn(batch, *spec.input_shape, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    macs = batch * model_size(spec).macs
    accelerator, kind = Accelerator.of(device), torch.device(device).type
    precision = trial.recipe.precision if trial.recipe is not None else "float32" if kind == "cpu" else "bfloat16"
    mode = accelerator.mode(precision, is_convolutional(model), compute)

    def infer() -> None:
        with torch.inference_mode():
            model(images)

    inference = _rate(macs, infer, device)
    gradients = _rate(3 * macs, lambda: per_sample_gradients(model, layers, images, labels, F.cross_entropy), device)
    training = _rate(3 * macs, _step(model, images, labels, mode), device)
    gram, solve = _fisher_rates(device)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30 if kind == "cuda" else None
    return Rates(
        name=_slug(hardware(device), kind) + ("" if compute == "auto" else f"-{compute}"),
        measured=True,
        inference=inference,
        gradients=gradients,
        training=training,
        gram=gram,
        solve=solve,
        memory_gib=memory,
        has_bfloat16=accelerator.has_bfloat16,
        trains_in=str(mode),
    )


def _fisher_rates(device: str) -> tuple[float, float]:
    """Returns the rates of sums of gradient products, and of factors of the blocks, as `fisher_work` counts them."""
    count, place = BLOCKS[torch.device(device).type], torch.device(device)
    kernels, weights = for_device(place), count * BLOCK_SIZE
    gradients = torch.randn(GRADIENTS, weights, device=place)
    sums = torch.zeros(count, BLOCK_SIZE, BLOCK_SIZE, dtype=torch.float64, device=place)
    gram = _rate(float(GRADIENTS * BLOCK_SIZE * weights), lambda: kernels.add_gram(sums, gradients), device)
    rows = gradients.view(GRADIENTS, count, BLOCK_SIZE).transpose(0, 1).double()
    fisher = rows.mT @ rows / GRADIENTS + DAMP * torch.eye(BLOCK_SIZE, device=place)
    weight, factor = torch.randn(count, BLOCK_SIZE, device=place), InverseFactor.empty(weights, BLOCK_SIZE, place)
    solve = _rate(float(BLOCK_SIZE**2 * weights), lambda: factor.fill(slice(0, count), fisher.clone(), weight), device)
    return gram, solve


def _step(model: nn.Module, images: Tensor, labels: Tensor, mode: ComputeMode) -> Callable[[], object]:
    """Returns a function that takes one step of a training in some mode, as trials do, with a rate of 0."""
    training = cap.Training(
        model, torch.optim.AdamW(model.parameters(), lr=0.0), lambda *_: [(images, labels)], lambda _: 0.0,
        precision=mode.precision, tf32=mode.tf32, channels_last=mode.channels_last,
        compiled="inductor" if mode.compiled else None,
    )  # fmt: skip
    return lambda: training.run_epoch(0)


def _slug(name: str, kind: str) -> str:
    """Returns a name of the hardware for files and the command line; of a processor with the number of threads."""
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or kind
    return f"{text}-{torch.get_num_threads()}-threads" if kind == "cpu" else text


def _decoded(trial: Trial) -> float:
    """Returns how many training images a core decodes and augments in a second; the assumed number without images."""
    resolved = trial.resolve()
    recipe = trial.recipe or resolved.profile.recipes_of(trial.model).finetune
    if not isinstance(resolved.model, ImageNetModel):
        return DECODED
    from bench.data.imagenet.transforms import training_transform

    try:
        stored = imagenet.load_stored_split("train")
    except UserError:
        return DECODED
    transform, total = training_transform(recipe, resolved.model.data_config()), len(stored.labels)
    threads, start, count = torch.get_num_threads(), time.perf_counter(), 0
    torch.set_num_threads(1)
    try:
        while time.perf_counter() - start < SECONDS:
            transform(decode_for(transform, stored.rows[count * 7919 % total]["image"]))
            count += 1
    finally:
        torch.set_num_threads(threads)
    return count / (time.perf_counter() - start)
