"""Everything that a reader sees of results; made from parquet and JSON alone, without torch."""
