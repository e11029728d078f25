"""Weights that are stored under other names than timm's: what the names mean, and where nameless ones belong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.packages import require
from bench.models.packages import EXTRA

# of the ViT, as the transformers library calls its parts, in the order in which they are replaced
VIT_NAMES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
QKV = ("query", "key", "value")
# of EfficientNet-Lite: outside the blocks, in a block that expands its channels, and in one that does not
OUTSIDE = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}
EXPANDING = {
    "expand_conv": "conv_pw",
    "bn0": "bn1",
    "depthwise_conv": "conv_dw",
    "bn1": "bn2",
    "project_conv": "conv_pwl",
    "bn2": "bn3",
}
SEPARABLE = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}


def read_vit_onnx(path: Path, backbone: str = "backbone.") -> dict[str, Tensor]:
    """Returns the weights of a ViT in an ONNX graph by timm's names, position embeddings at their own resolution.

    Biases, norms and scales have names. The exporter made nameless constants of the rest: a transposed matrix is the
    one whose product goes into the addition of a named bias; the two parts of the position embeddings, of the class
    token (1, 1, width) and of the patches (1, patches, width), are all that is left.

    Args:
        path: File of the graph.
        backbone: Beginning of the names of the ViT's parts.

    Raises:
        UserError: If the package onnx is missing, or the file holds no such graph.
    """
    require(["onnx"], EXTRA, f"reading {path.name}")
    import onnx
    from onnx.numpy_helper import to_array

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # noqa: BLE001  of several kinds, by what the file holds
        raise UserError(f"{path} is no ONNX file: {(str(error).splitlines() or [''])[0]}") from None
    constants = {one.name: torch.from_numpy(to_array(one).copy()) for one in graph.initializer}
    named = {name.removeprefix(backbone): value for name, value in constants.items() if name.startswith(backbone)}
    matrices = _matrices(graph, constants, backbone)
    state = {_renamed(name): value for name, value in named.items()}
    state |= {_renamed(f"{name}weight"): constants[matrix].T for name, matrix in matrices.items()}
    left = {name: value for name, value in constants.items() if "." not in name and name not in matrices.values()}
    state["pos_embed"] = _position_embeddings(left, path)
    return _joined(state)


def _matrices(graph: Any, constants: Mapping[str, Tensor], backbone: str) -> dict[str, str]:
    """Returns {name of a layer, with a dot: constant that is its matrix}."""
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    found = {}
    for node in graph.node:
        bias = next((name for name in node.input if name.startswith(backbone) and name.endswith(".bias")), None)
        product = next((products[name] for name in node.input if name in products), "")
        if node.op_type == "Add" and bias is not None and product in constants:
            found[bias.removeprefix(backbone).removesuffix("bias")] = product
    return found


def _renamed(name: str) -> str:
    for pattern, replacement in VIT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _position_embeddings(left: Mapping[str, Tensor], path: Path) -> Tensor:
    """Returns (1, 1 + patches, width) of the constants that no layer has."""
    token = [value for value in left.values() if value.ndim == 3 and value.shape[:2] == (1, 1)]
    patches = [value for value in left.values() if value.ndim == 3 and value.shape[1] > 1]
    if len(token) != 1 or len(patches) != 1 or math.isqrt(patches[0].shape[1]) ** 2 != patches[0].shape[1]:
        raise UserError(f"{path} has no position embeddings of a class token and of a square of patches")
    return torch.cat([token[0], patches[0]], dim=1)


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights with queries, keys and values of each block one after another, as timm has them."""
    for name in [name for name in state if ".attn.query." in name]:
        parts = [state.pop(name.replace("query", part), None) for part in QKV]
        if all(part is not None for part in parts):
            state[name.replace("query", "qkv")] = torch.cat([part for part in parts if part is not None])
    return state


def rename_efficientnet_lite(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of an EfficientNet-Lite by timm's names.

    Args:
        state: Weights by the names of the PyTorch port of EfficientNet: blocks are counted through all stages.
        model: timm's architecture, whose stages say where a block lies.
    """
    stages: Any = model.blocks
    places = [f"blocks.{stage}.{number}" for stage, blocks in enumerate(stages) for number in range(len(blocks))]
    expanding = {int(key.split(".")[1]) for key in state if re.fullmatch(r"_blocks\.\d+\._expand_conv\.weight", key)}
    found = {}
    for key, value in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", key):
            block, layer, kind = int(match[1]), match[2], match[3]
            names = EXPANDING if block in expanding else SEPARABLE
            place = places[block] if block < len(places) else f"blocks.{block}"
            found[f"{place}.{names.get(layer, layer)}.{kind}"] = value
        else:
            layer, _, kind = key.removeprefix("_").partition(".")
            found[f"{OUTSIDE.get(layer, layer)}.{kind}"] = value
    return found
