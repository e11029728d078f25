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
