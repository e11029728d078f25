"""Recognition of the modules that are computed as a whole: MLPs, attention, blocks of transformers and of ConvNeXt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from cap.runtime.blocks import SparseBlock, SparseConvNeXtBlock, SparseXCABlock
from cap.runtime.codegen import TILE, Assembler


@dataclass(frozen=True, eq=False)
class Block:
    """A block that is computed as a whole.

    Attributes:
        kind: Class that computes it.
        layers: Its pruned layers.
        build: Function that makes it; takes the maker of its program.
    """

    kind: str
    layers: tuple[nn.Linear, ...]
    build: Callable[[Assembler], nn.Module]


def find_block(module: nn.Module, shape: tuple[int, ...], arguments: tuple[int, ...] = ()) -> Block | None:
    """Returns the block that a module is, or None.

    Args:
        module: The module.
        shape: Shape of its input.
        arguments: Numbers that it is called with after the input.
    """
    kind = type(module).__name__
    if kind == "Block" and len(shape) == 3 and not arguments:
        return _transformer_block(module)
    if kind == "XCABlock" and len(shape) == 3 and len(arguments) == 2:
        return _xcit_block(module)
    if kind == "ConvNeXtBlock" and len(shape) == 4 and not arguments:
        return _convnext_block(module)
    return None


def _transformer_block(module: nn.Module) -> Block | None:
    """Returns the block that a `timm.models.vision_transformer.Block` of the usual parts is."""
    children = dict(module.named_children())
    norms = _norms(children, "norm1", "norm2")
    attention, mlp = attention_layers(children.pop("attn", None)), mlp_layers(children.pop("mlp", None))
    scales = [_layer_scale(children.pop(name, None)) for name in ("ls1", "ls2")]
    if norms is None or attention is None or mlp is None or None in scales or not nothing_else(module, children):
        return None
    heads = int(module.attn.num_heads)  # type: ignore[union-attr, arg-type]
    one, other = (scale or None for scale in scales)
    factors = (None if one is None else one[0], None if other is None else other[0])
    two = (norms[0], norms[1])
    return Block("SparseBlock", (*attention, *mlp), lambda made: SparseBlock(two, attention, heads, mlp, factors, made))


def _xcit_block(module: nn.Module) -> Block | None:
    """Returns the block that a `timm.models.xcit.XCABlock` is."""
    children = dict(module.named_children())
    norms = _norms(children, "norm1", "norm3", "norm2")
    attention = cross_attention_layers(children.pop("attn", None))
    local, mlp = _local_interaction(children.pop("local_mp", None)), mlp_layers(children.pop("mlp", None))
    scales = tuple(getattr(module, name, None) for name in ("gamma1", "gamma3", "gamma2"))
    if norms is None or attention is None or local is None or mlp is None:
        return None
    if not all(isinstance(scale, Tensor) for scale in scales):
        return None
    if not nothing_else(module, children, "gamma1", "gamma2", "gamma3"):
        return None
    temperature = module.attn.temperature  # type: ignore[union-attr]
    return Block(
        "SparseXCABlock", (*attention, *mlp),
        lambda made: SparseXCABlock(norms, attention, temperature, local, mlp, scales, made),  # type: ignore[arg-type]
    )  # fmt: skip


def _convnext_block(module: nn.Module) -> Block | None:
    """Returns the block that a `timm.models.convnext.ConvNeXtBlock` with linear layers is."""
    children = dict(module.named_children())
    norms, mlp = _norms(children, "norm"), mlp_layers(children.pop("mlp", None))
    convolution = children.pop("conv_dw", None)
    scale = getattr(module, "gamma", None)
    if norms is None or mlp is None or not _is_depthwise(convolution) or not nothing_else(module, children, "gamma"):
        return None
    return Block(
        "SparseConvNeXtBlock", mlp,
        lambda made: SparseConvNeXtBlock(convolution, norms[0], mlp, scale, made),  # type: ignore[arg-type]
    )  # fmt: skip


def cross_attention_layers(module: nn.Module | None) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns qkv and proj of a module that is cross-covariance attention, as `timm.models.xcit.XCA` is."""
    return None if module is None or type(module).__name__ != "XCA" else _projections(module, "temperature")


def _norms(children: dict[str, nn.Module], *names: str) -> tuple[nn.LayerNorm, ...] | None:
    """Takes layer norms over the last dimension out of the children, or returns None."""
    norms = [children.pop(name, None) for name in names]
    if all(isinstance(norm, nn.LayerNorm) and len(norm.normalized_shape) == 1 for norm in norms):
        return tuple(norms)  # type: ignore[arg-type]
    return None


def _layer_scale(module: nn.Module | None) -> tuple[Tensor, ...] | None:
    """Returns the factors of a `timm.layers.LayerScale`, none if it is the identity, or None if it is neither."""
    if isinstance(module, nn.Identity):
        return ()
    if type(module).__name__ == "LayerScale" and isinstance(getattr(module, "gamma", None), Tensor):
        return (module.gamma,)  # type: ignore[union-attr, return-value]
    return None


def _is_depthwise(module: nn.Module | None) -> bool:
    """Returns whether a module convolves each of a multiple of 16 channels by itself and keeps the size."""
    return (
        type(module) is nn.Conv2d
        and module.groups == module.in_channels == module.out_channels
        and module.in_channels % TILE == 0
        and module.kernel_size[0] == module.kernel_size[1]
        and module.stride == module.dilation == (1, 1)
        and module.padding == (module.kernel_size[0] // 2,) * 2
        and module.kernel_size[0] % 2 == 1
        and module.padding_mode == "zeros"
    )


def _local_interaction(module: nn.Module | None) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d] | None:
    """Returns convolutions and batch norm of a module that is convolution, exact GELU, batch norm, convolution."""
    children = {} if module is None else dict(module.named_children())
    first, act, norm, last = (children.pop(name, None) for name in ("conv1", "act", "bn", "conv2"))
    if (
        type(module).__name__ == "LPI"
        and _is_depthwise(first)
        and _is_depthwise(last)
        and _is_gelu(act)
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is not None
        and not children
    ):
        return first, norm, last  # type: ignore[return-value]
    return None


def _is_gelu(module: nn.Module | None) -> bool:
    """Returns whether a module is the exact GELU."""
    return type(module).__name__ == "GELU" and getattr(module, "approximate", "none") == "none"


def mlp_layers(module: nn.Module | None) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns the layers of a module that is linear, exact GELU, linear, as `timm.layers.Mlp` is by default."""
    if module is None or type(module).__name__ != "Mlp":
        return None
    children = dict(module.named_children())
    first, act, second = (children.pop(name, None) for name in ("fc1", "act", "fc2"))
    if (
        type(first) is nn.Linear
        and type(second) is nn.Linear
        and first.out_features == second.in_features
        and _is_gelu(act)
        and nothing_else(module, children)
    ):
        return first, second
    return None


def attention_layers(module: nn.Module | None) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns qkv and proj of a module that is plain self-attention, as `timm.layers.Attention` is by default."""
    if module is None or type(module).__name__ != "Attention":
        return None
    layers = _projections(module)
    if layers and getattr(module, "scale", None) == (layers[1].in_features // module.num_heads) ** -0.5:  # type: ignore[operator]
        return layers
    return None


def _projections(module: nn.Module, *parameters: str) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns qkv and proj of an attention with heads of a multiple of 16 features and no other part."""
    children = dict(module.named_children())
    qkv, proj = (children.pop(name, None) for name in ("qkv", "proj"))
    heads = getattr(module, "num_heads", 0)
    if (
        type(qkv) is nn.Linear
        and type(proj) is nn.Linear
        and isinstance(heads, int)
        and heads > 0
        and proj.in_features % (TILE * heads) == 0
        and qkv.out_features == 3 * proj.in_features
        and nothing_else(module, children, *parameters)
    ):
        return qkv, proj
    return None


def nothing_else(module: nn.Module, children: dict[str, nn.Module], *parameters: str) -> bool:
    """Returns whether other children do nothing in evaluation mode and a module's own weights are only those named."""
    own = {name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
    idle = [
        isinstance(child, nn.Identity | nn.Dropout) or type(child).__name__ == "DropPath" for child in children.values()
    ]
    return own <= {*parameters} and all(idle)
