"""Accuracy of the dense model, and the usual reasons why it is low: normalisation, order of the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data.inputs import TensorInputs
from bench.diagnosis.finding import Finding
from bench.diagnosis.subject import Subject
from bench.evaluation.accuracy import Accuracy, evaluate

ERRORS = 3.0  # standard errors that are put up with
LEAST_GAIN = 2.0  # points of top-1 from which another preparation is named
IMAGES_PER_CLASS = 4  # from which another order of the classes can be told
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, pixels in [0, 1].

    Attributes:
        name: Where it is usual.
        mean: Means.
        std: Standard deviations.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, values: Sequence[float]) -> Tensor:
        """Returns values of channels, to be broadcast over images."""
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)

    def apply(self, pixels: Tensor) -> Tensor:
        """Returns normalised images (n, channels, h, w)."""
        return (pixels - self.of(self.mean)) / self.of(self.std)

    def undo(self, inputs: Tensor) -> Tensor:
        """Returns pixels in [0, 1]."""
        return inputs * self.of(self.std) + self.of(self.mean)

    @property
    def options(self) -> str:
        """The normalisation as options of the command line."""
        mean, std = ("[" + ",".join(f"{value:.6g}" for value in values) + "]" for values in (self.mean, self.std))
        return f"--transform mean={mean} std={std}"


def usual_normalisations(channels: int) -> list[Normalisation]:
    """Returns the normalisations that models of timm and others were trained with; of single channels those of one."""
    from timm.data import constants

    found = [
        Normalisation("ImageNet", constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD),
        Normalisation("Inception", constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD),
        Normalisation("EfficientNet-Lite", (127 / 255,) * 3, (128 / 255,) * 3),
        Normalisation("OpenAI CLIP", constants.OPENAI_CLIP_MEAN, constants.OPENAI_CLIP_STD),
        Normalisation("CIFAR-10", *CIFAR10),
        Normalisation("none, pixels in [0, 1]", (0.0,) * 3, (1.0,) * 3),
        Normalisation("none, pixels in [0, 255]", (0.0,) * 3, (1 / 255,) * 3),
    ]
    if channels == 3:
        return found
    grey = [one for one in found if len(set(one.mean)) == len(set(one.std)) == 1]
    return [Normalisation(one.name, one.mean[:1] * channels, one.std[:1] * channels) for one in grey]


def check_accuracy(subject: Subject) -> Iterator[Finding]:
    """Yields what is found of the accuracy, with the likely causes where it is low."""
    try:
        found = evaluate(subject.model, subject.images)
    except ValueError as error:
        yield Finding("accuracy", "failure", f"{error}: the weights are damaged, or not of this architecture")
        return
    yield _against_expectation(subject, found)
    yield from check_normalisation(subject, found)
    yield from check_class_order(subject, found)


def _against_expectation(subject: Subject, found: Accuracy) -> Finding:
    n, top1, expected = found.n_images, found.top1, subject.top1
    chance = 100 * float(found.labels.bincount().max()) / n
    values = {"top1": top1, "images": n, "split": subject.split, "expected": expected, "most_frequent_class": chance}
    said = f"top-1 {top1:.1f} % on {n} images of {subject.split}"
    least = chance + ERRORS * _standard_error(max(chance, 100 / n), n)
    if top1 <= least and (expected is None or expected > least):
        message = f"{said}, no better than always the same class: these are not the weights of this model and data"
        return Finding("accuracy", "failure", message, values)
    if expected is None:
        return Finding("accuracy", "ok", f"{said}; none is on record to hold it against: give --top1", values)
    tolerance = subject.resolved.model.gate + ERRORS * _standard_error(expected, n)
    if top1 < expected - tolerance:
        message = f"{said}, but {expected:.1f} % is expected: weights, data or their preparation are not the right ones"
        return Finding("accuracy", "failure", message, values)
    return Finding("accuracy", "ok", f"{said}, {expected:.1f} % is expected", values)


def _standard_error(top1: float, images: int) -> float:
    """Returns the standard error of a top-1 on so many images, points."""
    return math.sqrt(max(0.0, top1 * (100 - top1)) / images)


def check_normalisation(subject: Subject, found: Accuracy) -> Iterator[Finding]:
    """Yields whether another usual mean and standard deviation serves the model better, on the same images.

    Another one is named if it gains at least `LEAST_GAIN` points, more than `ERRORS` standard errors of the paired
    difference (McNemar), and its loss is lower, too.
    """
    prepared = subject.resolved.model.preparation()
    channels = subject.images.images.shape[1]
    mean, std = (_per_channel(prepared[key], channels) for key in ("mean", "std"))
    given = Normalisation("the present one", mean, std)
    pixels, right = given.undo(subject.images.images), found.classes == found.labels
    best, tried = None, {}
    for other in usual_normalisations(channels):
        if _same(given, other):
            continue
        try:
            accuracy = evaluate(subject.model, TensorInputs(other.apply(pixels), subject.images.labels))
        except ValueError:  # not finite
            continue
        tried[other.name] = accuracy.top1
        there = accuracy.classes == accuracy.labels
        gained, lost = int((there & ~right).sum()), int((right & ~there).sum())
        sure = gained - lost > ERRORS * math.sqrt(gained + lost) and accuracy.top1 - found.top1 >= LEAST_GAIN
        if sure and accuracy.loss < found.loss and (best is None or accuracy.top1 > best[1].top1):
            best = other, accuracy
    values = {"top1": found.top1, "mean": list(mean), "std": list(std), "others": tried}
    if best is not None:
        other, accuracy = best
        advice = f": {other.options}" if subject.own else ""
        message = f"{accuracy.top1:.1f} % with the mean and std of {other.name}, {found.top1:.1f} % as given{advice}"
        yield Finding("normalisation", "failure", message, values)
    elif tried:
        nearest = max(tried, key=tried.__getitem__)
        message = f"no other usual mean and std serves better (at best {tried[nearest]:.1f} %, {nearest})"
        yield Finding("normalisation", "ok", message, values)


def _per_channel(values: float | Sequence[float], channels: int) -> tuple[float, ...]:
    return (float(values),) * channels if isinstance(values, int | float) else tuple(map(float, values))


def _same(one: Normalisation, other: Normalisation) -> bool:
    pairs = zip((*one.mean, *one.std), (*other.mean, *other.std), strict=True)
    return all(abs(a - b) < 1e-4 for a, b in pairs)


def check_class_order(subject: Subject, found: Accuracy) -> Iterator[Finding]:
    """Yields whether another order of the classes fits the outputs better.

    It is chosen on a half of the images and held on the other; with fewer than `IMAGES_PER_CLASS` images a class it
    cannot be told.
    """
    classes, n = subject.resolved.model.num_classes, found.n_images
    if n < IMAGES_PER_CLASS * classes:
        return
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    halves = order[: n // 2], order[n // 2 :]
    right = torch.zeros(n, dtype=torch.bool)
    for known, held in (halves, halves[::-1]):
        renamed = _best_order(found.classes[known], found.labels[known], classes)
        right[held] = renamed[found.classes[held]] == found.labels[held]
    top1 = 100 * float(right.double().mean())
    values = {"top1": found.top1, "top1_in_best_order": top1}
    if top1 - found.top1 > max(10.0, ERRORS * _standard_error(top1, n)):
        message = (
            f"{top1:.1f} % if the classes are renumbered, {found.top1:.1f} % as given: the model was trained with its "
            "classes in another order than the data's"
        )
        yield Finding("order of classes", "failure", message, values)


def _best_order(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Returns the label of each output, (classes,), one to one, with which most images are right."""
    from scipy.optimize import linear_sum_assignment

    counts = torch.zeros(classes, classes).index_put_((predicted, labels), torch.ones(len(labels)), accumulate=True)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return torch.tensor(columns)[torch.tensor(rows).argsort()]
