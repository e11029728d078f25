"""A user's own labelled images: a folder, parquet files, a data set of the hub, or a function; split into four."""

from bench.data.own.dataset import SPLITS, OwnData, check_images, open_data
from bench.data.own.sources import KINDS, DataSource, find_source

__all__ = ["KINDS", "SPLITS", "DataSource", "OwnData", "check_images", "find_source", "open_data"]
