"""Scale of the gradients, the dampening that goes with it, and images that are fitted perfectly."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

import cap
from bench.core.timing import seconds_since
from bench.diagnosis.finding import Finding, Status
from bench.diagnosis.subject import Subject
from bench.specs.profiles.untuned import RELATIVE_DAMP

FORWARD = 16  # images in one pass
FITTED = 0.01  # loss in nats, below which an image says next to nothing
DEAD = 0.01  # share of the weights without gradients from which it is worth a warning
RELATIVE = (3e-3, 3.0)  # dampening, of the mean of F's diagonal, within which pruners on the Fisher serve
FEW = 0.03  # share of the images, below which an effective number of them is worth a warning


@dataclass(frozen=True)
class GradientScale:
    """Squares of the gradients of single images.

    Attributes:
        count: m, number of gradients.
        layers: {name: mean of F's diagonal over the weights that are not zero}.
        mean: The same over all layers.
        dead: Number of weights, not zero, that no image has a gradient of.
        weights: Number of weights that are not zero.
        effective: Number of images that decide: `(sum_i |g_i|^2)^2 / sum_i |g_i|^4`.
        seconds: Time that it took, seconds.
    """

    count: int
    layers: Mapping[str, float]
    mean: float
    dead: int
    weights: int
    effective: float
    seconds: float


def measure_gradients(subject: Subject, labels: Literal["given", "drawn"] = "given") -> GradientScale:
    """Goes through the gradients of the subject's calibration images once.

    Args:
        subject: Model and images.
        labels: Labels of the gradients, see `cap.Calibration`.

    Raises:
        ValueError: If a gradient is not finite, or an image goes through no layer.
    """
    given, layers = subject.calibration, subject.layers
    source = cap.Calibration(given.images, given.labels, given.loss, seed=given.seed, label_source=labels)
    squares: dict[str, Tensor] = {}
    norms = []  # of each image
    start, count = time.perf_counter(), source.count(None)
    for batch in source.gradient_batches(subject.model, layers, count, FORWARD):
        of_images = torch.zeros(batch.count, dtype=torch.float64)
        for name in layers:
            found = batch.of(name).double().square()
            squares[name] = squares[name] + found.sum(0) if name in squares else found.sum(0)
            of_images += found.sum(1).cpu()
        norms.append(of_images)
        del batch  # before the next one is computed
    seconds = seconds_since(start, subject.device)
    present = {name: (weight != 0).flatten() for name, weight in layers.items()}
    sums = {name: float((squares[name] * present[name]).sum()) for name in layers}
    sizes = {name: int(there.sum()) for name, there in present.items()}
    return GradientScale(
        count,
        {name: sums[name] / (count * max(1, sizes[name])) for name in layers},
        sum(sums.values()) / (count * max(1, sum(sizes.values()))),
        sum(int((there & (squares[name] == 0)).sum()) for name, there in present.items()),
        sum(sizes.values()),
        _participation(torch.cat(norms)),
        seconds,
    )


def _participation(squares: Tensor) -> float:
    """Returns how many values decide their sum: all if they are equal, 1 if one is all of it."""
    total = float(squares.square().sum())
    return float(squares.sum()) ** 2 / total if total else 0.0


def check_gradients(subject: Subject, given: GradientScale) -> Iterator[Finding]:
    """Yields the scale of the gradients, and weights that have none."""
    ends = sorted(given.layers.items(), key=lambda pair: pair[1])
    (weakest, low), (strongest, high) = ends[0], ends[-1]
    values = {"mean_square": given.mean, "layers": dict(given.layers), "gradients": given.count}
    if not given.mean:
        message = f"all gradients of {given.count} images are zero: does the loss depend on these weights?"
        yield Finding("gradients", "failure", message, values)
        return
    spread = f", by layer from {low:.1e} ({weakest}) to {high:.1e} ({strongest})"
    message = f"mean of the Fisher's diagonal {given.mean:.1e}{spread if len(ends) > 1 else ''}"
    yield Finding("gradients", "ok", message, values)
    share = given.dead / max(1, given.weights)
    if share > DEAD:
        message = f"{100 * share:.1f} % of the weights have no gradient on {given.count} images: they go first"
        yield Finding("dead weights", "warning", message, {"dead": given.dead, "weights": given.weights})


def check_dampening(subject: Subject, given: GradientScale) -> Iterator[Finding]:
    """Yields what the pruner's dampening means beside the mean of the Fisher's diagonal."""
    options = subject.resolved.trial.pruner_options
    scale, damp = options.get("damp_scale"), options.get("damp")
    if scale not in ("absolute", "relative") or damp is None or not given.mean:
        return
    relative = damp if scale == "relative" else damp / given.mean
    low, high = RELATIVE
    status: Status = "ok" if low <= relative <= high else "warning"
    said = f"{scale} {damp:g}" + (f" is {relative:.1e} times the mean of the Fisher's diagonal" if scale != "relative"
                                  else " of the mean of the Fisher's diagonal")  # fmt: skip
    if status == "warning":
        why = "so little that errors of the estimate decide" if relative < low else "so much that it hides the Fisher"
        said = f"{said}, {why}: try damp_scale=relative damp={RELATIVE_DAMP:g} ({low:g} to {high:g})"
    values = {"damp": damp, "damp_scale": scale, "relative": relative, "absolute": relative * given.mean}
    yield Finding("dampening", status, said, values)


@torch.inference_mode()
def image_losses(subject: Subject) -> Tensor:
    """Returns the loss of each calibration image, (n,), nats."""
    found, calibration = [], subject.calibration
    for images, labels in zip(calibration.images.split(64), calibration.labels.split(64), strict=True):
        pairs = zip(subject.model(images.to(subject.device)).split(1), labels.to(subject.device).split(1), strict=True)
        found += [calibration.loss(*pair) for pair in pairs]
    return torch.stack(found).cpu()


def check_fit(subject: Subject, given: GradientScale, drawn: GradientScale) -> Iterator[Finding]:
    """Yields how many calibration images are fitted perfectly, how many decide, and what the labels change."""
    losses = image_losses(subject)
    share = float((losses < FITTED).double().mean())
    ratio = given.mean / drawn.mean if drawn.mean else float("inf")
    values = {"fitted": share, "threshold": FITTED, "effective_images": given.effective, "images": len(losses),
              "empirical_to_true_fisher": ratio, "mean_loss": float(losses.mean())}  # fmt: skip
    said = (
        f"{100 * share:.0f} % of {len(losses)} calibration images have a loss below {FITTED}, the gradients of "
        f"{given.effective:.0f} decide; the Fisher with the given labels is {ratio:.2g} times that with drawn ones"
    )
    if given.effective < FEW * given.count or ratio < FEW:
        advice = "labels drawn from the prediction (label_source)" if ratio < FEW else "more calibration images"
        yield Finding("perfect fit", "warning", f"{said}: take {advice}", values)
    else:
        yield Finding("perfect fit", "ok", said, values)
