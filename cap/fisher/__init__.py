"""The block-diagonal empirical Fisher: its sums, inverses, factors, and their estimation within a memory budget."""
