"""CIFAR-10 from a user's own copy: its layouts, and images as inputs."""

from bench.data.cifar10.source import (
    CLASSES,
    DATASET,
    FOLDER_VARIABLE,
    SPLITS,
    WAYS,
    Cifar10,
    load_images,
    split_sizes,
)

__all__ = ["CLASSES", "DATASET", "FOLDER_VARIABLE", "SPLITS", "WAYS", "Cifar10", "load_images", "split_sizes"]
