from __future__ import annotations

from bench.reports.sweep.claims.finding import Finding


def test_it_is_on_the_large_models_at_half_of_their_weights(make, frame, one, none) -> None:
    large = {"sweep": "large_ssl", "family": "dino"}
    good = make("cap", "0.5", [89.5, 89.7], model="dinov2_large", **large)
    worse = make("cap", "0.5", [80.0, 82.0], model="dino_base", **large)
    claim = one(frame(good, worse, make("magnitude", "0.5", [10.0], model="dino_base", **large)), "C6")
    assert "holds in part, with CAP on 1 of 2 models" in claim
    assert "dinov2_large 0.44 %" in claim
    assert "dino_base 10.00 %" in claim
    assert none(frame(make("cap", "0.5", [89.5], sweep="table1")), "C6")


def test_small_models_say_what_features_lose_and_give_no_verdict(make, frame, one, none) -> None:
    said = {"sweep": "pretrained", "family": "dino", "model": "vit_small", "dataset": "fashion-mnist"}
    dense = make("cap", "0.5", [80.0], phase="dense", knn_top1=70.0, pixel_knn_top1=60.0, **said)
    pruned = make("cap", "0.5", [78.0], knn_top1=69.3, **said)
    other = make("magnitude", "0.5", [10.0], knn_top1=10.0, **said)
    claim = one(frame(dense, pruned, other), "C6")
    assert "undecided" in claim
    assert "from 80.00 to 78.00 %, a relative drop of 2.50 %" in claim
    assert "from 70.00 to 69.30 %, a relative drop of 1.00 %, raw pixels 60.00 %" in claim
    assert "do not beat" not in claim
    worse = make("cap", "0.5", [80.0], phase="dense", knn_top1=50.0, pixel_knn_top1=60.0, **said)
    assert "its features do not beat them, so it shows nothing" in one(frame(worse, pruned), "C6")
    assert none(frame(make("cap", "0.5", [78.0], knn_top1=69.3, **said)), "C6")


def test_by_the_protocol_a_small_model_stands_in_with_good_features_alone(seeded, frame, judged) -> None:
    def found(neighbours: float | None, params: int = 250_000) -> Finding:
        rows = seeded("cap", "0.5", [89.7, 89.75, 89.8], model="dino", dataset="fashion-mnist", params_dense=params)
        dense = [{**row, "phase": "dense", "pattern": None, "knn_top1": neighbours} for row in rows]
        [finding] = judged(frame(rows, dense), "C6")
        return finding

    assert found(85.0).outcome == "holds"
    assert found(85.0).statement.endswith("; small models stand in")
    assert found(79.4).outcome == "undecided"
    assert "do not beat raw pixels by nearest neighbours (79.4 to 84.0 %)" in found(79.4).text
    assert "was not measured" in found(None).text
    assert found(None, params=300_000_000).outcome == "holds", "a large model stands for itself"
