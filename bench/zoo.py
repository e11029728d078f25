"""The models: timm names, layers to prune, weights and recorded dense accuracy."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from bench.assets import verified
from bench.errors import UserError
from bench.spec import Spec


class ModelSpec(Spec):
    """One model of the zoo.

    Attributes:
        name: The name that sweeps and the command line use.
        family: vit, convnext, hybrid or dino.
        timm_name: The timm architecture; `timm_options` override its arguments.
        prunable: Regular expressions on parameter names, for `cap.select_layers`.
        input_size: Side of the square input, pixels.
    """

    name: str
    family: str
    timm_name: str
    timm_options: dict[str, Any]
    prunable: tuple[str, ...]
    input_size: int

    @property
    def files(self) -> tuple[str, str]:
        """The weights and their card, below the embedded assets."""
        return f"zoo/{self.name}.safetensors", f"zoo/{self.name}.json"

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with random weights; `overrides` take precedence over `timm_options`."""
        import timm

        return timm.create_model(self.timm_name, **{**self.timm_options, **overrides})

    def card(self) -> dict[str, Any]:
        """Returns the record of how the weights were made: recipe, seed, time, dense accuracy."""
        return json.loads(verified(self.files[1]).read_text())

    def load(self) -> nn.Module:
        """Returns the model with its trained weights, in eval mode.

        Raises:
            UserError: If the weight file is missing or damaged.
        """
        from safetensors.torch import load_file

        model = self.build()
        model.load_state_dict(load_file(verified(self.files[0])))
        return model.eval()


_SMALL: dict[str, Any] = {"in_chans": 1, "num_classes": 10}
_VIT: dict[str, Any] = {**_SMALL, "img_size": 28, "patch_size": 7, "embed_dim": 64, "depth": 4, "num_heads": 4}
_VIT_LAYERS = (r".*(attn.(qkv|proj)|mlp.fc\d+).weight",)

EMBEDDED = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="vit",
            family="vit",
            timm_name="deit_tiny_patch16_224",
            timm_options=_VIT,
            prunable=_VIT_LAYERS,
            input_size=28,
        ),
        ModelSpec(
            name="convnext",
            family="convnext",
            timm_name="convnext_tiny",
            timm_options={**_SMALL, "patch_size": 2, "depths": (1, 1, 3, 1), "dims": (24, 40, 64, 96)},
            prunable=(r".*(downsample.1|fc\d).weight",),
            input_size=32,
        ),
        ModelSpec(
            name="xcit",
            family="hybrid",
            timm_name="xcit_small_12_p8_224",
            timm_options={
                **_SMALL,
                "img_size": 32,
                "embed_dim": 64,
                "depth": 3,
                "num_heads": 4,
                "cls_attn_layers": 1,
            },
            prunable=(r".*(attn.(qkv|q|k|v|proj)|mlp.fc\d+).weight",),
            input_size=32,
        ),
        ModelSpec(
            name="dino",
            family="dino",
            timm_name="vit_small_patch16_224",
            timm_options=_VIT,
            prunable=_VIT_LAYERS,
            input_size=28,
        ),
    )
}
PROFILES = {"embedded": EMBEDDED}


def get_model(profile: str, name: str) -> ModelSpec:
    """Looks a model up.

    Raises:
        UserError: If the profile has no such model; the message lists those it has.
    """
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}: choose from {', '.join(PROFILES)}")
    models = PROFILES[profile]
    if name not in models:
        raise UserError(f"unknown model {name!r} in profile {profile!r}: choose from {', '.join(sorted(models))}")
    return models[name]
