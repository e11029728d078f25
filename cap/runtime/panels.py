"""Vector code that moves numbers for numba: into panels and out of them, in token order, and norms on the way.

All addresses are integers, all strides bytes. A panel is (features, 16): a vector per feature, of sixteen tokens.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from cap.runtime import llvm
from cap.runtime.llvm import ALIGNED, FLOAT_ALIGNED, I32, I64, LANES, intrinsic


@intrinsic
def integer(context: Any, address: Any) -> Any:
    """Integer of 64 bits at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], I64.as_pointer()))

    return types.int64(types.int64), generate


@intrinsic
def take_next(context: Any, address: Any) -> Any:
    """Integer at an address, which is raised by one for the next that asks, of all threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], I64.as_pointer()), llvm.number(1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def copy_float(context: Any, source: Any, target: Any) -> Any:
    """Copies a float."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (builder.inttoptr(argument, I32.as_pointer()) for argument in arguments)
        builder.store(builder.load(source), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 2), generate


@intrinsic
def add_floats(context: Any, one: Any, other: Any, target: Any) -> Any:
    """Writes the sum of two floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, other, target = (builder.inttoptr(argument, llvm.F32.as_pointer()) for argument in arguments)
        builder.store(builder.fadd(builder.load(one), builder.load(other)), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _row(builder: Any, start: Any, stride: Any, number: int, present: Any) -> Any:
    """Address of a row; of one that is not present that of the last which is."""
    last = builder.sub(present, llvm.number(1))
    index = llvm.number(number)
    index = builder.select(builder.icmp_signed("<", index, last), index, last)
    return builder.add(start, builder.mul(stride, index))


@intrinsic
def pack_tile(context: Any, source: Any, row: Any, present: Any, panel: Any) -> Any:
    """Transposes 16 features of up to 16 rows, at least one, into a panel; absent rows repeat the last one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, row, present, panel = arguments
        rows = [llvm.load(builder, _row(builder, source, row, i, present), FLOAT_ALIGNED) for i in range(LANES)]
        llvm.store_rows(builder, llvm.transpose(builder, rows), panel)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _unpacker(adds: bool, streaming: bool) -> Any:
    @intrinsic
    def unpack(
        context: Any, panel: Any, target: Any, row: Any, present: Any, residual: Any, residual_row: Any
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            panel, target, row, present, residual, residual_row = arguments
            rows = [llvm.load(builder, builder.add(panel, llvm.number(ALIGNED * i))) for i in range(LANES)]
            rows = llvm.transpose(builder, rows)
            for i in reversed(range(LANES)):  # absent rows go to the last one's place before it does itself
                value = rows[i]
                if adds:
                    place = _row(builder, residual, residual_row, i, present)
                    value = builder.fadd(value, llvm.load(builder, place, FLOAT_ALIGNED))
                align = ALIGNED if streaming else FLOAT_ALIGNED
                store = llvm.store(builder, value, _row(builder, target, row, i, present), align)
                if streaming:
                    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return unpack


# 16 features of a panel to up to 16 rows of a matrix: the residual's are added, or the stores go past the caches
unpack_tile = _unpacker(adds=False, streaming=False)
unpack_adding = _unpacker(adds=True, streaming=False)
unpack_streaming = _unpacker(adds=False, streaming=True)


@intrinsic
def normalize_tile(context: Any, panel: Any, features: Any, epsilon: Any) -> Any:
    """Shifts and scales each of 16 tokens to mean 0 and variance 1 over its features (arXiv 1607.06450, equation 3)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        panel, features, epsilon = arguments
        count = builder.sitofp(features, llvm.F32)
        one = builder.insert_element(ir.Constant(llvm.VECTOR, ir.Undefined), count, ir.Constant(I32, 0))
        count = builder.shuffle_vector(one, one, ir.Constant(llvm.INTEGERS, [0] * LANES))

        def place(builder: Any, index: Any) -> Any:
            return builder.add(panel, builder.mul(index, llvm.number(ALIGNED)))

        def add(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            return [builder.fadd(sums[0], llvm.load(builder, place(builder, index)))]

        def add_square(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            shifted = builder.fsub(llvm.load(builder, place(builder, index)), mean)
            return [llvm.call(builder, "fma", shifted, shifted, sums[0])]

        def scale(builder: Any, index: Any, _: list[Any]) -> list[Any]:
            shifted = builder.fsub(llvm.load(builder, place(builder, index)), mean)
            llvm.store(builder, builder.fmul(shifted, factor), place(builder, index))
            return []

        (total,) = llvm.loop(builder, features, [llvm.constant(0.0)], add)
        mean = builder.fdiv(total, count)
        (squares,) = llvm.loop(builder, features, [llvm.constant(0.0)], add_square)
        variance = builder.fadd(builder.fdiv(squares, count), llvm.broadcast(builder, epsilon))
        factor = builder.fdiv(llvm.constant(1.0), llvm.call(builder, "sqrt", variance))
        llvm.loop(builder, features, [], scale)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def inverse_norms(context: Any, rows: Any, count: Any, target: Any) -> Any:
    """Writes one over the Euclidean norms of the 16 columns of (count, 16), at most 1e12."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, count, target = arguments

        def body(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            value = llvm.load(builder, builder.add(rows, builder.mul(index, llvm.number(ALIGNED))))
            return [llvm.call(builder, "fma", value, value, sums[0])]

        (squares,) = llvm.loop(builder, count, [llvm.constant(0.0)], body)
        norm = llvm.call(builder, "maxnum", llvm.call(builder, "sqrt", squares), llvm.constant(1e-12))
        llvm.store(builder, builder.fdiv(llvm.constant(1.0), norm), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def scale_matrix(context: Any, rows: Any, count: Any, left: Any, right: Any, factor: Any) -> Any:
    """Multiplies each row of (count, 16) with a float of `left`, each column with one of `right`, all with a factor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, count, left, right, factor = arguments
        columns = builder.fmul(llvm.load(builder, right), llvm.broadcast(builder, factor))

        def body(builder: Any, index: Any, _: list[Any]) -> list[Any]:
            place = builder.add(rows, builder.mul(index, llvm.number(ALIGNED)))
            row = llvm.broadcast(builder, builder.add(left, builder.mul(index, llvm.number(4))))
            llvm.store(builder, builder.fmul(llvm.load(builder, place), builder.fmul(row, columns)), place)
            return []

        llvm.loop(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def scale_and_shift(context: Any, values: Any, scale: Any, shift: Any, count: Any) -> Any:
    """Multiplies `count` vectors with those of `scale` and adds those of `shift`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, scale, shift, count = arguments

        def body(builder: Any, index: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(index, llvm.number(ALIGNED))
            place = builder.add(values, offset)
            parts = [llvm.load(builder, builder.add(start, offset), FLOAT_ALIGNED) for start in (scale, shift)]
            value = llvm.call(builder, "fma", llvm.load(builder, place, FLOAT_ALIGNED), *parts)
            llvm.store(builder, value, place, FLOAT_ALIGNED)
            return []

        llvm.loop(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _window_sum(vectors: int) -> Any:
    @intrinsic
    def window_sum(
        context: Any, source: Any, row: Any, line: Any, weights: Any, tap: Any, taps: Any, height: Any, width: Any,
        bias: Any, residual: Any, target: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, row, line, weights, tap, taps, height, width, bias, residual, target = arguments

            def parts(builder: Any, start: Any) -> list[Any]:
                places = [builder.add(start, llvm.number(ALIGNED * i)) for i in range(vectors)]
                return [llvm.load(builder, place, FLOAT_ALIGNED) for place in places]

            def each_line(builder: Any, y: Any, sums: list[Any]) -> list[Any]:
                pixels = builder.add(source, builder.mul(y, line))
                factors = builder.add(weights, builder.mul(y, taps))

                def each_pixel(builder: Any, x: Any, sums: list[Any]) -> list[Any]:
                    values = parts(builder, builder.add(pixels, builder.mul(x, row)))
                    factor = parts(builder, builder.add(factors, builder.mul(x, tap)))
                    return [llvm.call(builder, "fma", *three) for three in zip(values, factor, sums, strict=True)]

                return llvm.loop(builder, width, sums, each_pixel)

            sums = llvm.loop(builder, height, parts(builder, bias), each_line)
            with builder.if_else(builder.icmp_signed("!=", residual, llvm.number(0))) as (adding, plain):
                with adding:
                    for i, (total, other) in enumerate(zip(sums, parts(builder, residual), strict=True)):
                        place = builder.add(target, llvm.number(ALIGNED * i))
                        llvm.store(builder, builder.fadd(total, other), place, FLOAT_ALIGNED)
                with plain:
                    for i, total in enumerate(sums):
                        llvm.store(builder, total, builder.add(target, llvm.number(ALIGNED * i)), FLOAT_ALIGNED)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    return window_sum


# Weighted sum of 16 or 32 channels over a window of a channels-last image: source and weights of its first pixel, bytes
# from pixel to pixel, from line to line, from weight to weight and from their line to line, height and width, bias,
# what is added or 0, target
window_sum_16 = _window_sum(1)
window_sum_32 = _window_sum(2)
