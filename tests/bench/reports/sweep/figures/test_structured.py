from __future__ import annotations


def test_accuracy_against_size_and_speed(make, frame, drawn, line) -> None:
    sizes = {"params_dense": 100, "params_small": 60, "macs_dense": 1000, "latency_dense": 0.3}
    rows = frame(
        make("cap", "0.25@units", [80.0], **sizes, macs_small=800, latency_small=0.2),
        make("cap", "0.5@units", [70.0], **sizes, macs_small=500, latency_small=0.1),
        make("magnitude", "0.5@units", [60.0], **sizes, macs_small=400, latency_small=0.15),
    )
    figures = drawn(rows)
    assert list(figures) == ["sweep", "sweep_size"]
    by_macs, by_speed = figures["sweep_size"].panels
    assert line(by_macs, "CAP") == ([80.0, 50.0], [80.0, 70.0])
    assert line(by_speed, "GM") == ([0.3 / 0.15], [60.0])
    assert "multiply-adds" in by_macs.get_xlabel()
    assert "speed" in by_speed.get_xlabel()
