"""Results on disk: typed rows, parquet files, the store of a sweep, and the labels that a reader sees."""
