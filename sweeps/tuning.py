"""Settings of all pruners and the learning rate of the fine-tune, chosen on validation images.

Twelve configurations of each pruner on each model, its authors' first, one-shot at 50, 75 and 90 %; and the fine-tune
at five rates after magnitude pruning and CAP at 75 %. What is tried stands in `bench.specs.search_spaces`, how it is
chosen in docs/protocol.md. `capbench tune` runs it and chooses, `capbench publish tuning` publishes.
"""

from bench.specs.tuning import tuning_sweep

SWEEP = tuning_sweep("embedded")
