"""ImageNet-1k: from the hub, from parquet files or from an image folder; images are decoded when they are wanted."""

from bench.data.imagenet.card import find_card
from bench.data.imagenet.decoding import DecodedInputs
from bench.data.imagenet.source import (
    DATASET,
    FOLDER_VARIABLE,
    NUM_CLASSES,
    StoredSplit,
    cache_folder,
    check_data,
    load_stored_split,
)

__all__ = [
    "DATASET",
    "FOLDER_VARIABLE",
    "NUM_CLASSES",
    "DecodedInputs",
    "StoredSplit",
    "cache_folder",
    "check_data",
    "find_card",
    "load_stored_split",
]
