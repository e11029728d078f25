"""What to run: one file per table or figure, each with a `SWEEP`."""
