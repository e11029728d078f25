"""Eight-bit integers: weights with a scale for each output, activations with one for each token, found as they come.

Activations are quantized symmetrically to -127 ... 127 and shifted by 128, as the instruction VPDPBUSD wants one of its
factors unsigned: it adds four products to each of sixteen sums, so that a step multiplies four features of sixteen
tokens at a time. The shift is undone by what the sums begin with. Four weights that are all zero cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types

from cap.runtime import llvm
from cap.runtime.llvm import ALIGNED, INTEGERS, LANES, intrinsic

QUAD = 4  # weights in a word
LARGEST = 127
SHIFT = 128  # of the activations
_TINY = 1e-30  # largest activation of a token of zeros


@dataclass(frozen=True, eq=False)
class Words:
    """A matrix as machine code multiplies with it, in words of 32 bits, and what is done with the sums.

    Attributes:
        words: Weights, (rows, columns) int32: a float each, or four integers of eight bits.
        scales: Factors of the sums, (rows,) int32 that are floats; of no length for float weights.
        bias: Biases, the same; of no length if the products are added to the output.
    """

    words: np.ndarray
    scales: np.ndarray
    bias: np.ndarray

    @classmethod
    def floats(cls, weight: np.ndarray, bias: np.ndarray | None) -> Words:
        """Takes weights as they are.

        Args:
            weight: Weights, (rows, columns) float32.
            bias: Biases, (rows,) float32, or None to add to the output.
        """
        return cls(_bits(weight + np.float32(0)), _bits(None), _bits(bias))  # -0.0 becomes 0.0, which has no bit set

    @classmethod
    def quantized(cls, weight: np.ndarray, bias: np.ndarray | None) -> Words:
        """Quantizes weights symmetrically, each row for itself; features are filled up with zeros to a whole word.

        Args:
            weight: Weights, (rows, columns) float32.
            bias: Biases, (rows,) float32, or None to add to the output.
        """
        largest = np.abs(weight).max(1, initial=0.0)
        scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
        integers = np.zeros((len(weight), words_of(weight.shape[1]) * QUAD), np.int8)
        integers[:, : weight.shape[1]] = np.rint(weight / scales[:, None])
        return cls(integers.view(np.int32), _bits(scales), _bits(bias))

    def start(self, left: int, right: int) -> np.ndarray:
        """Returns what the sums over some columns begin with, (rows,) int32; of no length for what the output holds."""
        if not len(self.scales):
            return self.summands(left)
        integers = np.ascontiguousarray(self.words[:, left:right]).view(np.int8)
        return (-SHIFT * integers.sum(1, dtype=np.int32)).astype(np.int32)

    def summands(self, left: int) -> np.ndarray:
        """Returns what is added to the scaled sums over columns from `left` on; of no length for the output."""
        return self.bias[: 0 if left else None]


@extending.register_jitable
def words_of(features: int) -> int:
    """Returns the number of words that hold so many features."""
    return -(-features // QUAD)


@extending.register_jitable
def vectors_of(features: int) -> int:
    """Returns the number of vectors that hold the quantized features of sixteen tokens, and then the tokens' scales."""
    return words_of(features) + 1


def _bits(values: np.ndarray | None) -> np.ndarray:
    """Returns floats as integers of the same bits; none for None."""
    return np.ascontiguousarray(np.zeros(0) if values is None else values, np.float32).view(np.int32)


@intrinsic
def quantize_tile(context: Any, panel: Any, features: Any, target: Any) -> Any:
    """Quantizes the features of sixteen tokens; the target has room for `vectors_of` them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        panel, features, target = arguments
        last = builder.sub(features, llvm.number(1))
        words = builder.lshr(builder.add(last, llvm.number(QUAD)), llvm.number(2))

        def feature(builder: Any, index: Any) -> Any:
            return llvm.load(builder, builder.add(panel, builder.mul(index, llvm.number(ALIGNED))))

        def largest(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            return [llvm.call(builder, "maxnum", values[0], llvm.call(builder, "fabs", feature(builder, index)))]

        (most,) = llvm.loop(builder, features, [llvm.constant(_TINY)], largest)
        factor = builder.fdiv(llvm.constant(LARGEST), most)

        def word(builder: Any, index: Any, _: list[Any]) -> list[Any]:
            total = ir.Constant(INTEGERS, [0] * LANES)
            for i in range(QUAD):
                at = builder.add(builder.shl(index, llvm.number(2)), llvm.number(i))
                at = builder.select(builder.icmp_signed("<", at, last), at, last)  # weights beyond the last are zero
                value = llvm.call(builder, "rint", builder.fmul(feature(builder, at), factor))
                shifted = builder.add(builder.fptosi(value, INTEGERS), ir.Constant(INTEGERS, [SHIFT] * LANES))
                total = builder.or_(total, builder.shl(shifted, ir.Constant(INTEGERS, [8 * i] * LANES)))
            place = builder.add(target, builder.mul(index, llvm.number(ALIGNED)))
            builder.store(total, builder.inttoptr(place, INTEGERS.as_pointer()), align=ALIGNED)
            return []

        llvm.loop(builder, words, [], word)
        place = builder.add(target, builder.mul(words, llvm.number(ALIGNED)))
        llvm.store(builder, builder.fmul(most, llvm.constant(1 / LARGEST)), place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate
