"""`python -m bench`: the `capbench` command."""

from bench.cli import main

main()
