"""Models: timm names, layers to prune, weights, data and recorded dense accuracy."""

from bench.models.model import ModelSpec
from bench.models.registry import MODELS, get_model

__all__ = ["MODELS", "ModelSpec", "get_model"]
