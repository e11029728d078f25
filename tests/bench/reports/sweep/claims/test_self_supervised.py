from __future__ import annotations


def test_it_is_on_the_large_models_at_half_of_their_weights(make, frame, one, none) -> None:
    large = {"sweep": "large_ssl", "family": "dino"}
    good = make("cap", "0.5", [89.5, 89.7], model="dinov2_large", **large)
    worse = make("cap", "0.5", [80.0, 82.0], model="dino_base", **large)
    claim = one(frame(good, worse, make("magnitude", "0.5", [10.0], model="dino_base", **large)), "C6")
    assert "holds in part, with CAP on 1 of 2 models" in claim
    assert "dinov2_large 0.44 %" in claim
    assert "dino_base 10.00 %" in claim
    assert none(frame(make("cap", "0.5", [89.5], sweep="table1")), "C6")
