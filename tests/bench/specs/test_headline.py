from __future__ import annotations

import re
from pathlib import Path

from bench.specs.discovery import load_sweep
from cap.patterns import Unstructured, parse_pattern

PROTOCOL = (Path(__file__).parents[3] / "docs/protocol.md").read_text()


def test_the_headline_is_of_the_protocols_sparsities_and_dense_seeds() -> None:
    trials = load_sweep("headline").trials("embedded")
    [listed] = re.findall(r"measured sparsities \(0, ([\d, ]+) %\)", " ".join(PROTOCOL.split()))
    for trial in trials:
        patterns = [parse_pattern(pattern) for pattern in trial.patterns]
        assert [f"{100 * pattern.sparsity:g}" for pattern in patterns] == listed.split(", ")
        assert trial.dense_seed == trial.seed
    assert {trial.seed for trial in trials} == {0, 1, 2}
    assert {trial.model for trial in trials} == {"vit", "convnext", "xcit", "simclr"}


def test_rivals_are_of_every_kind() -> None:
    """Table 1 has the fine-tune."""
    scopes: dict[str, set[str]] = {"global": set(), "layer": set()}
    for trial in load_sweep("headline").trials("embedded"):
        assert not trial.finetune_at
        for pattern in map(parse_pattern, trial.patterns):
            assert isinstance(pattern, Unstructured)
            scopes[pattern.scope].add(trial.pruner)
    assert scopes["layer"] == {"alps"}
    assert scopes["global"] == {"magnitude", "gradient_weight", "woodfisher", "obert", "mfac", "obc", "cap"}
