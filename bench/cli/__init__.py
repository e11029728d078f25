"""Command line: `capbench`, one file a topic."""

from bench.cli.app import main

__all__ = ["main"]
