"""`capbench list`: pruners, models and sweeps."""

from __future__ import annotations

from typing import Literal

import bench


def list_(what: Literal["pruners", "models", "sweeps"]) -> None:
    """List pruners with their options, models of every profile, or sweeps."""
    if what == "pruners":
        import cap

        for name in cap.available():
            options = ", ".join(f"{key}={value!r}" for key, value in cap.default_options(name).items())
            print(f"{name:16} {options}")
    elif what == "models":
        for profile, models in bench.MODELS.items():
            for name, spec in models.items():
                print(f"{profile:10} {name:20} {spec.family:10} {spec.timm_name}")
    else:
        for name in bench.sweep_modules():
            loaded = bench.load_sweep(name)
            sizes = ", ".join(f"{profile}: {len(trials)} trials" for profile, trials in loaded.profiles.items())
            print(f"{name:16} {loaded.title} ({sizes})")
