"""Calibration images: of which classes, and how many for a Fisher block."""

from __future__ import annotations

from collections.abc import Iterator

from bench.diagnosis.finding import Finding
from bench.diagnosis.subject import Subject

SKEW = 10.0  # times the mean from which a class is too frequent


def check_calibration(subject: Subject) -> Iterator[Finding]:
    """Yields which classes the calibration images have, and whether they are as many as a Fisher block is wide."""
    trial, labels = subject.resolved.trial, subject.calibration.labels
    classes, images = subject.resolved.model.num_classes, trial.calibration.images
    counts = labels.bincount(minlength=classes)
    there, largest = int((counts > 0).sum()), float(counts.max()) / len(labels)
    values = {"images": images, "classes": classes, "classes_seen": there, "largest_share": largest}
    if largest > SKEW / classes and largest > 0.5:
        message = f"{100 * largest:.0f} % of {len(labels)} calibration images are of one class: shuffle or balance them"
        yield Finding("calibration", "warning", message, values)
    elif len(labels) >= 4 * classes and there < classes:
        message = f"{classes - there} of {classes} classes are not among {len(labels)} calibration images"
        yield Finding("calibration", "warning", message, values)
    else:
        yield Finding("calibration", "ok", f"{images:,} images, {there} of {classes} classes in {len(labels)} of them",
                      values)  # fmt: skip
    options = trial.pruner_options
    block, gradients = options.get("block_size"), options.get("num_gradients") or images
    if block and "damp_scale" in options and gradients < block:
        message = f"{gradients} gradients for blocks of {block} weights: the Fisher is singular but for its dampening"
        yield Finding("gradients per block", "warning", message, {"gradients": gradients, "block_size": block})
