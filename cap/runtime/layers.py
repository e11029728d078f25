"""Layers whose zero weights cost nothing, for inference in float32 on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime import kernels
from cap.runtime.codegen import Assembler, Program, even_parts

BAND = 192  # features computed together before they are unpacked, or multiplied on


class SparseLinear(nn.Module):
    """Sparse counterpart of `nn.Linear`: (..., in_features) to (..., out_features).

    Args:
        dense: The layer, or a convolution of kernel size 1; its weights are copied.
        machine_code: Whether to run AVX-512 code, or the kernels for any processor.
    """

    def __init__(self, dense: nn.Linear | nn.Conv2d, machine_code: bool) -> None:
        super().__init__()
        self.weight, self.bias = dense.weight, dense.bias  # for models that look at them, as XCiT does at the type
        weight, bias = _arrays(dense)
        self.out_features, self.in_features = weight.shape
        assembler = Assembler(machine_code)
        self._bands = _row_bands(assembler, weight, bias)
        self.program = assembler.finish()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the product; a half-precision input is multiplied in float32."""
        return _run(kernels.linear, self.program, self._bands, x, self.in_features, self.out_features)


class SparseConv(SparseLinear):
    """Sparse counterpart of a pointwise `nn.Conv2d`, (images, channels, height, width), in the channels-last layout.

    Args:
        dense: The layer, of kernel size 1, without groups and padding; its weights are copied.
        machine_code: Whether to run AVX-512 code, or the kernels for any processor.
    """

    def __init__(self, dense: nn.Conv2d, machine_code: bool) -> None:
        super().__init__(dense, machine_code)
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
        machine_code: Whether to run AVX-512 code, or the kernels for any processor.
    """

    def __init__(self, first: nn.Linear, second: nn.Linear, machine_code: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = first.in_features, second.out_features
        (weight1, bias1), (weight2, bias2) = _arrays(first), _arrays(second)
        assembler = Assembler(machine_code)
        bands = []
        for start, stop in even_parts(len(weight1), BAND):
            steps1 = assembler.multiply(weight1[start:stop], bias1[start:stop])
            steps2 = assembler.multiply(weight2[:, start:stop], None if start else bias2)
            bands.append((*steps1, *steps2, stop - start))
        self.program = assembler.finish()
        self._bands = np.array(bands, np.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., out_features); a half-precision input is multiplied in float32."""
        return _run(kernels.mlp, self.program, self._bands, x, self.in_features, self.out_features)


class SparseAttention(nn.Module):
    """Self-attention: projection to queries, keys and values, softmax of the scaled scores, output projection.

    Args:
        qkv: Projection to the queries of all heads, their keys and their values; its weights are copied.
        proj: Projection of the heads' outputs; the same.
        num_heads: Number of heads; their size is a multiple of 16.
        machine_code: Whether to run AVX-512 code, or the kernels for any processor.
    """

    def __init__(self, qkv: nn.Linear, proj: nn.Linear, num_heads: int, machine_code: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = qkv.in_features, proj.out_features
        self._size = proj.in_features // num_heads
        (weight, bias), (weight_out, bias_out) = _arrays(qkv), _arrays(proj)
        scale = np.ones((3, num_heads, self._size), np.float32)
        scale[0] = self._size**-0.5
        weight = weight.reshape(*scale.shape, -1) * scale[..., None]
        bias = bias.reshape(scale.shape) * scale
        assembler = Assembler(machine_code)
        heads = [
            assembler.multiply(weight[:, head].reshape(3 * self._size, -1), bias[:, head].reshape(-1))
            for head in range(num_heads)
        ]
        self._bands = _row_bands(assembler, weight_out, bias_out)
        self.program = assembler.finish()
        self._heads = np.array(heads, np.int64)

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """Returns (images, tokens, out_features) for (images, tokens, in_features).

        Raises:
            ValueError: If an option such as a mask is given.
        """
        if given := [name for name, value in options.items() if value is not None and value is not False]:
            raise ValueError(f"sparse attention knows no {given[0]}: compile with an example input that needs it")
        check_input(x, self.in_features)
        source = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], self.out_features)
        threads = kernels.use_torch_threads()
        arguments = (source.numpy(), y.numpy(), self.program.steps, self._heads, self._size, self._bands)
        if len(x) % threads == 0 and y.numel():
            kernels.attention_by_image(*arguments)
        elif y.numel():
            kernels.attention_by_head(*arguments, threads)
        return y.to(x.dtype)


def _row_bands(assembler: Assembler, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Adds the steps of a matrix in runs of rows; returns the bands of `cap.runtime.kernels.linear`."""
    parts = even_parts(len(weight), BAND)
    bands = [(*assembler.multiply(weight[start:stop], bias[start:stop]), start, stop) for start, stop in parts]
    return np.array(bands, np.int64)


def _arrays(layer: nn.Linear | nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight, (outputs, inputs), and bias, zeros if there is none."""
    weight = layer.weight.detach().flatten(1).numpy()
    return weight, np.zeros(len(weight), np.float32) if layer.bias is None else layer.bias.detach().numpy()


def _run(
    kernel: kernels.Kernel, program: Program, bands: np.ndarray, x: Tensor, in_features: int, out_features: int
) -> Tensor:
    """Applies a kernel to the last dimension of a tensor."""
    check_input(x, in_features)
    tokens = x.float().reshape(-1, in_features).contiguous()
    y = torch.empty(len(tokens), out_features)
    if y.numel():
        threads = kernels.use_torch_threads()
        kernel(
            tokens.numpy(), y.numpy(), program.steps, bands, kernels.num_parts(len(tokens), in_features, threads),
            kernels.may_stream(y),
        )  # fmt: skip
    return y.view(*x.shape[:-1], out_features).to(x.dtype)


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
