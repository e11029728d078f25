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


def test_by_the_protocol_a_small_model_stands_in_with_good_features_alone(seeded, frame, judged) -> None:
    def found(neighbours: float | None, params: int = 250_000) -> Finding:
        rows = seeded("cap", "0.5", [89.7, 89.75, 89.8], model="dino", dataset="fashion-mnist", params_dense=params)
        dense = [{**row, "phase": "dense", "pattern": None, "knn_top1": neighbours} for row in rows]
        [finding] = judged(frame(rows, dense), "C6")
        return finding

    assert found(85.0).outcome == "holds"
    assert found(85.0).statement.endswith("; small models stand in")
    assert found(79.4).outcome == "undecided"
    assert "do not beat raw pixels by nearest neighbours (79.4 to 82.2 %)" in found(79.4).text
    assert "was not measured" in found(None).text
    assert found(None, params=300_000_000).outcome == "holds", "a large model stands for itself"
