"""A saved pruner prunes as before; one that keeps more than tensors says so."""

from __future__ import annotations

import io

import pytest
import torch

import cap
from cap.testing import Subject, tiny_calibration, tiny_layers, tiny_model
from cap.testing.tiny import PATTERN_LAYERS

PATTERNS = (cap.Unstructured(0.6), cap.Unstructured(0.6, scope="layer"), cap.NM(2, 4), cap.Blocks(4, 0.5))


# those that go through the model again at every sparsity, at least with default options
AGAIN = [
    ("alps", {}),
    ("snows", {}),
    ("sparsegpt", {}),
    ("synflow", {}),
    ("cap", {"block_size": 8, "num_recomputations": 2}),
]


@pytest.mark.parametrize("name", [name for name in cap.available() if name not in ("alps", "snows", "synflow")])
def test_a_fresh_pruner_takes_a_state_up(name: str) -> None:
    options = {"sequential": False} if "sequential" in cap.default_options(name) else {}
    subject, model = Subject(name, options), tiny_model()
    pruner = subject.create().fit(model, tiny_layers(model, PATTERN_LAYERS), tiny_calibration())
    file = io.BytesIO()
    torch.save(pruner.state_dict(), file)
    file.seek(0)
    fresh = cap.create(name)  # of other options: those that were fitted come with the state
    fresh.load_state_dict(torch.load(file, weights_only=True))
    patterns = [pattern for pattern in PATTERNS if pruner.supports(pattern) is None]
    assert patterns
    for pattern in patterns:
        ours, theirs = fresh.prune(pattern), pruner.prune(pattern)
        assert all(ours.weights[layer].equal(weight) for layer, weight in theirs.weights.items())
        assert all(ours.masks[layer].equal(mask) for layer, mask in theirs.masks.items())
        assert fresh.predicted_loss(ours) == pruner.predicted_loss(theirs)


@pytest.mark.parametrize(("name", "options"), AGAIN, ids=str)
def test_what_needs_model_and_images_again_has_no_state(name: str, options: dict[str, int]) -> None:
    model = tiny_model()
    pruner = cap.create(name, **options).fit(model, tiny_layers(model), tiny_calibration())
    with pytest.raises(NotImplementedError, match=r"keeps \w+, \w+.*, which is no tensor.*fit it again"):
        pruner.state_dict()
