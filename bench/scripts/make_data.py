"""Script for the embedded data set: Fashion-MNIST as parquet, small enough to live in the repository.

The full 10,000-image test split, the first 2,700 training images of each of the ten classes, and as validation split
the next 1,000 of each, in the order of the original files. The columns are those that the `datasets` library writes:
`image` (PNG bytes) and `label`. The PNGs are stored uncompressed and parquet's zstd compresses across images, a seventh
smaller than compressing each alone.

Run `nox -s embed_data -- --source DIR`, where DIR holds the four original `*-ubyte.gz` files (Debian package
`dataset-fashion-mnist` puts them in /usr/share/datasets/fashion-mnist).
"""

from __future__ import annotations

import argparse
import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

from bench.assets import ASSETS, write_checksums
from bench.core.files import atomic_write
from bench.data.fashion_mnist import CLASSES, SPLIT_FILES, split_file

IMAGES_PER_CLASS, VALIDATION_PER_CLASS = 2700, 1000


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file of unsigned bytes: (n,) labels or (n, 28, 28) images."""
    content = gzip.decompress(path.read_bytes())
    num_dims = content[3]
    shape = np.frombuffer(content, ">i4", count=num_dims, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_dims).reshape(shape)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes one (28, 28) image as an uncompressed PNG."""
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def balanced_subset(labels: np.ndarray, per_class: int, skip: int = 0) -> np.ndarray:
    """Returns the sorted indices of `per_class` images of every class, the first after `skip` of them."""
    chosen = slice(skip, skip + per_class)
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[chosen] for c in np.unique(labels)]))


def split_indices(split: str, labels: np.ndarray) -> np.ndarray:
    """Returns which images of an original file a split takes.

    Args:
        split: `train`, `validation` or `test`.
        labels: Labels of the file, (n,).
    """
    if split == "train":
        return balanced_subset(labels, IMAGES_PER_CLASS)
    if split == "validation":
        return balanced_subset(labels, VALIDATION_PER_CLASS, skip=IMAGES_PER_CLASS)
    return np.arange(len(labels))


def write_split(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Writes one split to parquet in the layout of the `datasets` library."""
    features = Features({"image": Image(), "label": ClassLabel(names=list(CLASSES))})
    rows = {"image": [{"bytes": encode_png(i), "path": None} for i in images], "label": labels.astype(int).tolist()}
    table = Dataset.from_dict(rows, features=features).data.table  # its schema metadata names the features
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19, use_dictionary=False)


def main() -> None:
    """Writes the splits and the checksums of all assets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--split", nargs="+", choices=list(SPLIT_FILES), default=list(SPLIT_FILES))
    arguments = parser.parse_args()
    for split in arguments.split:
        stem = arguments.source / ("t10k" if split == "test" else "train")
        images = read_idx(Path(f"{stem}-images-idx3-ubyte.gz"))
        labels = read_idx(Path(f"{stem}-labels-idx1-ubyte.gz"))
        chosen = split_indices(split, labels)
        path = ASSETS / split_file(split)
        write_split(images[chosen], labels[chosen], path)
        print(f"{path}: {len(chosen)} images, {path.stat().st_size / 1e6:.2f} MB")
    write_checksums()


if __name__ == "__main__":
    main()
