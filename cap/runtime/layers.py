"""Layers whose zero weights cost nothing, for inference in float32 on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime import kernels
from cap.runtime.codegen import Assembler, Program, even_parts

BAND = 192  # features computed together before they are unpacked, or multiplied on


class SparseLinear(nn.Module):
    """What an `nn.Linear` computes: (..., in_features) to (..., out_features).

    Args:
        dense: The layer; its weights are copied.
        machine_code: Whether to run AVX-512 code, or the kernels for any processor.
    """

    def __init__(self, dense: nn.Linear, machine_code: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = dense.in_features, dense.out_features
        weight, bias = _arrays(dense)
        assembler = Assembler(machine_code)
        bands = [
            (*assembler.multiply(weight[start:stop], bias[start:stop]), start, stop)
            for start, stop in even_parts(len(weight), BAND)
        ]
        self.program = assembler.finish()
        self._bands = np.array(bands, np.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the product; a half-precision input is multiplied in float32."""
        return _run(kernels.linear, self.program, self._bands, x, self.in_features, self.out_features)


class SparseMLP(nn.Module):
    """Two linear layers with an exact GELU between them, in one pass over the tokens.

    Args:
        first: From the features to the hidden ones; its weights are copied.
        second: From the hidden features to the outputs; the same.
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


def _arrays(layer: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight and bias, zeros if there is none."""
    weight = layer.weight.detach().numpy()
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
            tokens.numpy(), y.numpy(), program.steps, bands, kernels.cut(len(tokens), in_features, threads),
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
