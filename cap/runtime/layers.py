"""Layers whose zero weights cost nothing, for inference in float32 on the CPU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime.codegen import TILE, Assembler
from cap.runtime.driver import Operation
from cap.runtime.operations import BAND, Attention, Constants, FeedForward, arrays, quantized, row_bands, word_rooms
from cap.runtime.routines import Entry, Phase, Room, may_stream, num_runs, run


class SparseLinear(nn.Module):
    """Sparse counterpart of `nn.Linear`: (..., in_features) to (..., out_features).

    Args:
        dense: The layer, or a convolution of kernel size 1; its weights are copied.
        assembler: Maker of the program; it is finished.
        activation: Name of the class of an activation after it, "ReLU", "ReLU6" or "GELU", or "none".
    """

    def __init__(self, dense: nn.Linear | nn.Conv2d, assembler: Assembler, activation: str = "none") -> None:
        super().__init__()
        self.weight, self.bias = dense.weight, dense.bias  # for models that look at them, as XCiT does at the type
        weight, bias = arrays(dense)
        self.out_features, self.in_features = weight.shape
        self._constants = Constants()
        inputs, quantization = quantized(assembler, 0, self.in_features, 2)
        pack = [(Operation.PACK, 0, 0, self.in_features), *quantization]
        bands = row_bands(assembler, weight, bias, inputs, 1, 1, activation=self._activate(activation))
        self.program = assembler.finish()
        self._together = [Phase([*pack, *bands])]
        self._by_rows = [Phase(pack), Phase(bands, separate=2 if activation == "none" else 3)]
        self._rooms = {
            few: (
                Room(self.in_features, shared=few),
                Room(min(BAND, self.out_features)),
                *word_rooms(assembler, self.in_features, shared=few),
            )
            for few in (False, True)
        }

    def _activate(self, activation: str) -> Entry | None:
        """Returns the operation of an activation on the buffer of products, but for their number."""
        if activation == "none":
            return None
        if activation == "GELU":
            return (Operation.GELU, 1)
        low, high = {"ReLU": (0.0, np.inf), "ReLU6": (0.0, 6.0)}[activation]
        return (Operation.CLAMP, 1, 0, self._constants.add(low), self._constants.add(high))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the product; a half-precision input is multiplied in float32."""
        source = tokens_of(x, self.in_features)
        y = torch.empty(len(source), self.out_features)
        if y.numel():
            threads = torch.get_num_threads()
            few = len(source) <= TILE * threads  # too few tiles to share: the threads share the outputs
            run(
                self._by_rows if few else self._together, self.program, self._rooms[few], (source, y), 1, len(source),
                num_runs(len(source), self.in_features, threads), may_stream(y),
            )  # fmt: skip
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)


class SparseConv(SparseLinear):
    """Sparse counterpart of a pointwise `nn.Conv2d`, (images, channels, height, width), in the channels-last layout.

    Args:
        dense: The layer, of kernel size 1, without groups and padding; its weights are copied.
        assembler: Maker of the program; it is finished.
    """

    activations: ClassVar = ("none", "ReLU", "ReLU6", "GELU")

    def __init__(self, dense: nn.Conv2d, assembler: Assembler) -> None:
        super().__init__(dense, assembler, getattr(dense, "activation", "none"))
        self._stride = dense.stride

    def forward(self, x: Tensor) -> Tensor:
        """Returns (images, out_channels, ...), where the stride leaves only some rows and columns."""
        if x.ndim != 4:
            raise ValueError(f"the sparse convolution takes images, not an input of shape {tuple(x.shape)}")
        x = x[:, :, :: self._stride[0], :: self._stride[1]]
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SparseMLP(nn.Module):
    """Two linear layers with an exact GELU between them, in one pass over the tokens.

    Args:
        first: Layer from the features to the hidden ones; its weights are copied.
        second: Layer from the hidden features to the outputs; the same.
        assembler: Maker of the program; it is finished.
    """

    def __init__(self, first: nn.Linear, second: nn.Linear, assembler: Assembler) -> None:
        super().__init__()
        self.in_features, self.out_features = first.in_features, second.out_features
        self._mlp = FeedForward(assembler, arrays(first), arrays(second))
        self.program = assembler.finish()

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., out_features); a half-precision input is multiplied in float32."""
        source = tokens_of(x, self.in_features)
        y = torch.empty(len(source), self.out_features)
        if y.numel():
            self._mlp.run(self.program, source, y)
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)


class SparseAttention(nn.Module):
    """Self-attention: projection to queries, keys and values, softmax of the scaled scores, output projection.

    Args:
        qkv: Projection to the queries of all heads, their keys and their values; its weights are copied.
        proj: Projection of the heads' outputs; the same.
        num_heads: Number of heads; their size is a multiple of 16.
        assembler: Maker of the program; it is finished.
    """

    def __init__(self, qkv: nn.Linear, proj: nn.Linear, num_heads: int, assembler: Assembler) -> None:
        super().__init__()
        self.in_features, self.out_features = qkv.in_features, proj.out_features
        self._attention = Attention(assembler, arrays(qkv), arrays(proj), num_heads)
        self.program = assembler.finish()

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """Returns (images, tokens, out_features) for (images, tokens, in_features).

        Raises:
            ValueError: If an option such as a mask is given.
        """
        if given := [name for name, value in options.items() if value is not None and value is not False]:
            raise ValueError(f"sparse attention knows no {given[0]}: compile with an example input that needs it")
        check_input(x, self.in_features)
        y = torch.empty(*x.shape[:-1], self.out_features)
        if y.numel():
            self._attention.run(self.program, x.float().contiguous(), y)
        return y.to(x.dtype)


def tokens_of(x: Tensor, features: int) -> Tensor:
    """Returns an input as (tokens, features), contiguous and float32."""
    check_input(x, features)
    return x.float().reshape(-1, features).contiguous()


def check_input(x: Tensor, features: int) -> None:
    """Makes sure that a sparse layer can take an input.

    Raises:
        RuntimeError: If gradients are enabled.
        TypeError: If the input is not on the CPU, or of no type that float32 holds.
        ValueError: If the last dimension is not `features`.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("sparse layers are for inference only: call the model under torch.inference_mode()")
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"sparse layers take float32 or half-precision tensors on the CPU, not {x.dtype} on {x.device}")
    if not x.ndim or x.shape[-1] != features:
        raise ValueError(f"the sparse layer takes {features} features, not an input of shape {tuple(x.shape)}")
