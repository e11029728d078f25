from __future__ import annotations


def test_order_of_the_layerwise_pruners(make, frame, one) -> None:
    tops = {"magnitude": 50.0, "wanda": 60.0, "obc": 70.0}
    rows = frame(*(make(pruner, "0.5@layer", [top1]) for pruner, top1 in tops.items()))
    assert one(rows, "Same sparsity").endswith("best first: 50 %: OBC 70.00, Wanda 60.00, UM 50.00.")
