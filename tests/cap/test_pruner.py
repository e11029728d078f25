from __future__ import annotations

import pytest

import cap


def test_prune_before_fit_and_unsupported_pattern(model, layers, calibration) -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        cap.create("magnitude").prune(cap.Unstructured(0.5))
    with pytest.raises(ValueError, match="no layers"):
        cap.create("magnitude").fit(model, {}, calibration)
    pruner = cap.create("cap", block_size=8).fit(model, layers, calibration)
    with pytest.raises(ValueError, match="not blocks of them"):
        pruner.prune(cap.Blocks(4, 0.5))
