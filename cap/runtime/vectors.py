"""Vector code of the sparse kernels for numba: matrices, GELU and attention.

All addresses are integers, all strides bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from cap.runtime import llvm
from cap.runtime.llvm import intrinsic


@intrinsic
def run_code(context: Any, code: Any, source: Any, target: Any, values: Any, tiles: Any) -> Any:
    """Calls machine code of `cap.runtime.codegen`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [llvm.I64] * 4)
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _row_walker(tiles: int) -> Any:
    @intrinsic
    def run_rows(
        context: Any, values: Any, starts: Any, columns: Any, bias: Any, adds: Any, rows: Any, source: Any,
        source_tile: Any, target: Any, target_tile: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values, starts, columns, bias, adds, rows, source, source_tile, target, target_tile = arguments

            def place(start: Any, index: Any, size: int) -> Any:
                return builder.add(start, builder.mul(index, llvm.number(size)))

            def integer(address: Any) -> Any:
                return builder.load(builder.inttoptr(address, llvm.I64.as_pointer()))

            def each_row(builder: Any, row: Any, _: list[Any]) -> list[Any]:
                start = integer(place(starts, row, 8))
                count = builder.sub(integer(place(starts, builder.add(row, llvm.number(1)), 8)), start)
                outputs = [
                    place(builder.add(target, builder.mul(target_tile, llvm.number(i))), row, llvm.ALIGNED)
                    for i in range(tiles)
                ]
                again = builder.icmp_signed("!=", adds, llvm.number(0))
                first = llvm.broadcast(builder, place(bias, row, 4))
                sums = [
                    builder.fadd(first, builder.select(again, llvm.load(builder, output), llvm.constant(0.0)))
                    for output in outputs
                ]

                def each_weight(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
                    index = builder.add(start, index)
                    weight = llvm.broadcast(builder, place(values, index, 4))
                    input_ = place(source, integer(place(columns, index, 8)), llvm.ALIGNED)
                    tile = [builder.add(input_, builder.mul(source_tile, llvm.number(i))) for i in range(tiles)]
                    return [
                        llvm.call(builder, "fma", weight, llvm.load(builder, at), total)
                        for at, total in zip(tile, sums, strict=True)
                    ]

                for output, total in zip(outputs, llvm.loop(builder, count, sums, each_weight), strict=True):
                    llvm.store(builder, total, output)
                return []

            llvm.loop(builder, rows, [], each_row)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return run_rows


# Multiply compressed rows with one tile or with four at a time: the arguments are those of `cap.runtime.codegen.Step`
run_rows_once = _row_walker(1)
run_rows_fourfold = _row_walker(4)


@intrinsic
def gelu(context: Any, address: Any, count: Any) -> Any:
    """Applies the exact GELU to `count` vectors in place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, count = arguments

        def body(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            place = builder.add(start, builder.mul(index, llvm.number(llvm.ALIGNED)))
            llvm.store(builder, llvm.gelu(builder, llvm.load(builder, place)), place)
            return []

        llvm.loop(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def clamp(context: Any, address: Any, count: Any, low: Any, high: Any) -> Any:
    """Clamps `count` vectors in place between the floats at two addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, count, low, high = arguments
        least, most = llvm.broadcast(builder, low), llvm.broadcast(builder, high)

        def body(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            place = builder.add(start, builder.mul(index, llvm.number(llvm.ALIGNED)))
            value = llvm.call(builder, "maxnum", llvm.load(builder, place), least)
            llvm.store(builder, llvm.call(builder, "minnum", value, most), place)
            return []

        llvm.loop(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def scores(context: Any, keys: Any, queries: Any, target: Any, size: Any) -> Any:
    """Products of a tile of keys with a tile of queries, both (size, 16): (16 keys, 16 queries)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys, queries, target, size = arguments

        def body(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            offset = builder.mul(index, llvm.number(llvm.ALIGNED))
            query = llvm.load(builder, builder.add(queries, offset))
            return llvm.add_multiples(builder, sums, builder.add(keys, offset), 4, query)

        llvm.store_rows(builder, llvm.loop(builder, size, [llvm.constant(0.0)] * llvm.LANES, body), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def softmax(context: Any, scores: Any, count: Any, scale: Any) -> Any:
    """Replaces scores (count, 16 queries) by e^(score - largest), and writes one over their sums to `scale`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, count, scale = arguments

        def place(builder: Any, index: Any) -> Any:
            return builder.add(scores, builder.mul(index, llvm.number(llvm.ALIGNED)))

        def largest(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            return [llvm.call(builder, "maxnum", values[0], llvm.load(builder, place(builder, index)))]

        def exponentials(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            power = llvm.exp(builder, builder.fsub(llvm.load(builder, place(builder, index)), most))
            llvm.store(builder, power, place(builder, index))
            return [builder.fadd(values[0], power)]

        (most,) = llvm.loop(builder, count, [llvm.constant(-np.inf)], largest)
        (total,) = llvm.loop(builder, count, [llvm.constant(0.0)], exponentials)
        llvm.store(builder, builder.fdiv(llvm.constant(1.0), total), scale)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def mix(
    context: Any, values: Any, values_tile: Any, weights: Any, count: Any, scale: Any, target: Any
) -> Any:  # fmt: skip
    """Sums of 16 features of the values, (tiles, features, 16), by weights (count, 16 queries), times `scale`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, values_tile, weights, count, scale, target = arguments

        def body(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            weight = llvm.load(builder, builder.add(weights, builder.mul(index, llvm.number(llvm.ALIGNED))))
            tile = builder.mul(builder.lshr(index, llvm.number(4)), values_tile)
            lane = builder.mul(builder.and_(index, llvm.number(llvm.LANES - 1)), llvm.number(4))
            return llvm.add_multiples(builder, sums, builder.add(values, builder.add(tile, lane)), llvm.ALIGNED, weight)

        sums = llvm.loop(builder, count, [llvm.constant(0.0)] * llvm.LANES, body)
        factor = llvm.load(builder, scale)
        llvm.store_rows(builder, [builder.fmul(total, factor) for total in sums], target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate
