"""Whole blocks of networks in one: norms, residual sums and layer scales cost no pass of their own over the tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime.codegen import TILE, Assembler
from cap.runtime.driver import Operation
from cap.runtime.layers import check_input
from cap.runtime.operations import Attention, Constants, FeedForward, after_norm, arrays, scaled
from cap.runtime.program import Program
from cap.runtime.routines import Entry, Phase, Room, num_runs, run

CHANNELS = 2 * TILE  # that one part of a depthwise convolution takes


class SparseBlock(nn.Module):
    """Sparse counterpart of a transformer's block: x += attention(norm(x)); x += MLP(norm(x)).

    Args:
        norms: Norms before the attention and the MLP.
        attention: Projection to queries, keys and values, output projection.
        num_heads: Number of heads; their size is a multiple of 16.
        mlp: Linear layers of the MLP.
        scales: Factors of the outputs of attention and MLP, or None.
        assembler: Maker of the program; it is finished.
    """

    def __init__(
        self, norms: tuple[nn.LayerNorm, nn.LayerNorm], attention: tuple[nn.Linear, nn.Linear], num_heads: int,
        mlp: tuple[nn.Linear, nn.Linear], scales: tuple[Tensor | None, Tensor | None], assembler: Assembler,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = attention[0].in_features
        self._constants = Constants()
        qkv, proj = after_norm(arrays(attention[0]), norms[0]), scaled(arrays(attention[1]), scales[0])
        epsilons = [self._constants.add(norm.eps) for norm in norms]
        self._attention = Attention(assembler, qkv, proj, num_heads, epsilon=epsilons[0], residual=True)
        first, second = after_norm(arrays(mlp[0]), norms[1]), scaled(arrays(mlp[1]), scales[1])
        self._mlp = FeedForward(assembler, first, second, epsilons[1], residual=0)
        self.program = assembler.finish()

    def forward(self, x: Tensor, **options: object) -> Tensor:
        """Returns (images, tokens, features)."""
        if given := [name for name, value in options.items() if value is not None and value is not False]:
            raise ValueError(f"a sparse block knows no {given[0]}: compile with an example input that needs it")
        check_input(x, self.features)
        source = x.float().contiguous()
        middle, y = torch.empty_like(source), torch.empty_like(source)
        if y.numel():
            self._attention.run(self.program, source, middle)
            self._mlp.run(self.program, middle, y)
        return y.to(x.dtype)


class SparseXCABlock(nn.Module):
    """Sparse counterpart of a block of XCiT (arXiv 2106.09681): cross-covariance attention, local interaction, MLP.

    Args:
        norms: Norms before the three.
        attention: Projection to queries, keys and values, output projection.
        temperature: Temperature of each head.
        local: Depthwise convolutions and the batch norm between them, which GELU precedes.
        mlp: Linear layers of the MLP.
        scales: Factors of the outputs of the three.
        assembler: Maker of the program; it is finished.
    """

    def __init__(
        self, norms: tuple[nn.LayerNorm, nn.LayerNorm, nn.LayerNorm], attention: tuple[nn.Linear, nn.Linear],
        temperature: Tensor, local: tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d], mlp: tuple[nn.Linear, nn.Linear],
        scales: tuple[Tensor, Tensor, Tensor], assembler: Assembler,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = attention[0].in_features
        self._constants = Constants()
        epsilons = [self._constants.add(norm.eps) for norm in norms]
        qkv, proj = after_norm(arrays(attention[0]), norms[0]), scaled(arrays(attention[1]), scales[0])
        factors = self._constants.add(temperature.detach().flatten().numpy())
        heads = temperature.numel()
        self._attention = Attention(assembler, qkv, proj, heads, factors, epsilons[0], residual=True)
        self._local = _LocalInteraction(self._constants, norms[1], epsilons[1], local, scales[1])
        first, second = after_norm(arrays(mlp[0]), norms[2]), scaled(arrays(mlp[1]), scales[2])
        self._mlp = FeedForward(assembler, first, second, epsilons[2], residual=0)
        self.program = assembler.finish()

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Returns (images, height * width, features)."""
        check_input(x, self.features)
        source = x.float().contiguous()
        one, other = torch.empty_like(source), torch.empty_like(source)
        if source.numel():
            self._attention.run(self.program, source, one)
            self._local.run(self.program, width, one, other)
            self._mlp.run(self.program, other, one)
        return one.to(x.dtype)


class SparseConvNeXtBlock(nn.Module):
    """Sparse counterpart of a block of ConvNeXt (arXiv 2201.03545), (images, channels, height, width), channels last.

    Args:
        convolution: Depthwise convolution.
        norm: Norm after it.
        mlp: Linear layers of the MLP.
        scale: Factors of the MLP's outputs, or None.
        assembler: Maker of the program; it is finished.
    """

    def __init__(
        self, convolution: nn.Conv2d, norm: nn.LayerNorm, mlp: tuple[nn.Linear, nn.Linear], scale: Tensor | None,
        assembler: Assembler,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = convolution.in_channels
        self._constants = Constants()
        self._depthwise = _Depthwise(self._constants, convolution)
        first, second = after_norm(arrays(mlp[0]), norm), scaled(arrays(mlp[1]), scale)
        self._mlp = FeedForward(assembler, first, second, self._constants.add(norm.eps), residual=2)
        self.program = assembler.finish()

    def forward(self, x: Tensor) -> Tensor:
        """Returns (images, channels, height, width)."""
        if x.ndim != 4:
            raise ValueError(f"the sparse block takes images, not an input of shape {tuple(x.shape)}")
        source = x.permute(0, 2, 3, 1)
        check_input(source, self.features)
        source = source.float().contiguous()
        convolved, y = torch.empty_like(source), torch.empty_like(source)
        if y.numel():
            images, height, width, features = source.shape
            phase = Phase([self._depthwise.entry(0, 1, 0, features, width)])
            runs = num_runs(height * width, features, 1 if images % torch.get_num_threads() == 0 else height)
            run([phase], self.program, (), (source, convolved), images, height * width, runs)
            self._mlp.run(self.program, convolved, y, source)
        return y.permute(0, 3, 1, 2).to(x.dtype)


class _Depthwise:
    """Depthwise convolution of stride 1 that keeps the size.

    Args:
        constants: Owner of the weights.
        layer: The convolution.
        before: Factors of its inputs, or None.
        after: Factors of its outputs, or None.
    """

    def __init__(
        self, constants: Constants, layer: nn.Conv2d, before: Tensor | None = None, after: Tensor | None = None
    ) -> None:
        weight = layer.weight.detach()[:, 0]  # (channels, size, size)
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        if after is not None:
            weight, bias = weight * after[:, None, None], bias * after
        self._channels, self._size = len(weight), weight.shape[1]
        self._weights = constants.add(weight.permute(1, 2, 0).contiguous().numpy())
        self._biases = constants.add(bias.numpy())

    def entry(self, source: int, target: int, first: int, channels: int, width: int, residual: int = -1) -> Entry:
        """Returns the operation on some channels; see `cap.runtime.driver`."""
        return (
            Operation.CONVOLVE, source, target, first, channels, self._weights, self._biases, self._size,
            self._channels, width, residual,
        )  # fmt: skip


class _LocalInteraction:
    """Operations of XCiT's local patch interaction: norm, convolution, GELU, batch norm, convolution, sum.

    Args:
        constants: Owner of the weights.
        norm: The norm.
        epsilon: Address of its epsilon.
        local: The convolutions and the batch norm between them.
        scale: Factors of the outputs.
    """

    def __init__(
        self, constants: Constants, norm: nn.LayerNorm, epsilon: int,
        local: tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d], scale: Tensor,
    ) -> None:  # fmt: skip
        convolution, batch_norm, last = local
        self._features = features = convolution.in_channels
        self._first, self._last = _Depthwise(constants, convolution), _Depthwise(constants, last, after=scale.detach())
        weight = np.ones(features, np.float32) if norm.weight is None else norm.weight.detach().numpy()
        bias = np.zeros(features, np.float32) if norm.bias is None else norm.bias.detach().numpy()
        self._normalize = Phase([
            (Operation.PACK, 0, 0, features),
            (Operation.NORMALIZE, 0, features, epsilon),
            (Operation.UNPACK, 0, 1, features, 0, -1),
            (Operation.SCALE, 1, features, constants.add(weight), constants.add(bias)),
        ])  # fmt: skip
        variance, mean = (batch_norm.get_buffer(name) for name in ("running_var", "running_mean"))
        factor = (variance + batch_norm.eps).rsqrt() * (1 if batch_norm.weight is None else batch_norm.weight.detach())
        shift = (0 if batch_norm.bias is None else batch_norm.bias.detach()) - mean * factor
        self._factor, self._shift = constants.add(factor.numpy()), constants.add(shift.numpy())
        self._rooms = (Room(features), Room(CHANNELS))

    def run(self, program: Program, width: int, x: Tensor, y: Tensor) -> None:
        """Writes x + local interaction(x), (images, tokens, features), to `y`; neither is empty."""
        images, tokens = x.shape[:2]
        threads = torch.get_num_threads()
        normalized = torch.empty_like(x)
        flat = images * tokens
        run(
            [self._normalize],
            program,
            self._rooms[:1],
            (x, normalized),
            1,
            flat,
            num_runs(flat, self._features, threads),
        )
        entries: list[Entry] = []
        for start in range(0, self._features, CHANNELS):
            channels = min(CHANNELS, self._features - start)
            entries += [
                self._first.entry(0, -2, start, channels, width),
                (Operation.GELU_ROWS, 1, channels),
                (Operation.SCALE, -2, channels, self._factor + 4 * start, self._shift + 4 * start),
                self._last.entry(-2, 1, start, channels, width, residual=2),
            ]
        if images % threads == 0:
            run([Phase(entries)], program, self._rooms, (normalized, y, x), images, tokens, 1)
            return
        phase = Phase(entries, separate=4)
        for image in range(images):
            run([phase], program, self._rooms, (normalized[image], y[image], x[image]), 1, tokens, 1)
