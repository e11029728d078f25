"""Preparation of both splits of ImageNet-1k, so that no job has to: `python -m bench.scripts.prepare_imagenet`.

They are fetched, or the copy of parquet files is made that is read.
"""

from __future__ import annotations

import sys

from bench.core.errors import UserError
from bench.data.imagenet import check_data, load_stored_split
from bench.data.imagenet.source import SPLITS


def main() -> None:
    """Opens both splits and prints their sizes."""
    try:
        check_data()
        for split, (hub_name, _) in SPLITS.items():
            print(f"{hub_name}: {len(load_stored_split(split).labels):,} images")
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
