"""Statistics of results, as docs/protocol.md has them: arrays in, numbers out; no files, no torch, no pandas."""
