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

import cap
from bench.cluster.estimate import DECODED, RATES, Rates, model_size
from bench.core.errors import UserError
from bench.core.files import atomic_write
from bench.core.hardware import hardware
from bench.core.timing import seconds_since
from bench.data import imagenet
from bench.data.imagenet.decoding import decode_image
from bench.models.imagenet import ImageNetModel
from bench.specs.trial import Trial
from cap.gradients import per_sample_gradients

SECONDS = 6.0  # for each of the five rates
BATCH = {"cpu": 8, "cuda": 64}  # images in a forward pass
BLOCKS, BLOCK_SIZE, GRADIENTS = {"cpu": 256, "cuda": 4096}, 128, 128  # of the sums of gradient products


def measure_rates(trials: Sequence[Trial], device: str | None = None) -> Rates:
    """Measures the rates of a device of this machine, and keeps them.

    Args:
        trials: Trials whose smallest model, with random weights, and whose images are measured with.
        device: Torch device; None for cuda where there is one, else the processor with the threads of this process.

    Returns:
        The rates, by the name of the card or processor.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    smallest = min(trials, key=lambda trial: model_size(trial.resolve().model).macs)
    found = replace(_model_rates(smallest, kind), decoded=_decoded(smallest))
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


def _model_rates(trial: Trial, device: str) -> Rates:
    """Returns the rates of everything but the decoding of images."""
    spec, batch = trial.resolve().model, BATCH[torch.device(device).type]
    model = spec.build().to(device).eval()
    layers = cap.select_layers(model, spec.prunable)
    images = torch.randn(batch, *spec.input_shape, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    macs = batch * model_size(spec).macs
    recipe = trial.recipe
    half = recipe is not None and recipe.precision != "float32"
    precision = getattr(torch, recipe.precision) if recipe is not None and half else torch.bfloat16
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    kind = torch.device(device).type

    def infer() -> None:
        with torch.inference_mode():
            model(images)

    def train() -> None:
        with torch.autocast(kind, precision, enabled=half):
            F.cross_entropy(model(images).float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    blocks = torch.randn(BLOCKS[kind], GRADIENTS, BLOCK_SIZE, device=device)
    products = float(blocks.numel()) * BLOCK_SIZE
    inference = _rate(macs, infer, device)
    gradients = _rate(3 * macs, lambda: per_sample_gradients(model, layers, images, labels, F.cross_entropy), device)
    training = _rate(3 * macs, train, device)
    gram = _rate(products, lambda: blocks.mT @ blocks, device)
    assumed = RATES["a100" if kind == "cuda" else "cpu"]
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30 if kind == "cuda" else None
    return Rates(
        name=_slug(hardware(device), kind),
        measured=True,
        inference=inference,
        gradients=gradients,
        training=training,
        gram=gram,
        solve=gram * assumed.solve / assumed.gram,
        memory_gib=memory,
        has_bfloat16=kind == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False),
    )


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
            transform(decode_image(stored.rows[count * 7919 % total]["image"]))
            count += 1
    finally:
        torch.set_num_threads(threads)
    return count / (time.perf_counter() - start)
