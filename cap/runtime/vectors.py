"""Vectors of sixteen floats for numba: LLVM makes of them what the processor has.

All addresses are integers, all strides bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)
_INTEGERS = ir.VectorType(_I32, LANES)
_ALIGNED, _FLOAT_ALIGNED = 64, 4


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)


def _load(builder: Any, address: Any, align: int = _ALIGNED) -> Any:
    return builder.load(builder.inttoptr(address, _VECTOR.as_pointer()), align=align)


def _store(builder: Any, vector: Any, address: Any, align: int = _ALIGNED) -> Any:
    return builder.store(vector, builder.inttoptr(address, _VECTOR.as_pointer()), align=align)


def _load_to_all(builder: Any, address: Any) -> Any:
    """A vector of sixteen times the float at an address."""
    scalar = builder.load(builder.inttoptr(address, _F32.as_pointer()))
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_INTEGERS, [0] * LANES))


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """Calls an LLVM intrinsic function on vectors."""
    name = f"llvm.{name}.v{LANES}f32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments)), name)
    return builder.call(function, arguments)


def _polynomial(builder: Any, x: Any, *coefficients: float) -> Any:
    """Horner's rule, the highest power first."""
    result = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        result = _call(builder, "fma", result, x, _constant(coefficient))
    return result


def _exp(builder: Any, x: Any) -> Any:
    """e^x to about one unit in the last place (Cephes expf); saturates beyond -87 and 88."""
    x = _call(builder, "maxnum", _call(builder, "minnum", x, _constant(88.0)), _constant(-87.0))
    n = _call(builder, "rint", builder.fmul(x, _constant(1.44269504)))
    f = _call(builder, "fma", n, _constant(-0.693359375), x)
    f = _call(builder, "fma", n, _constant(2.12194440e-4), f)
    p = _polynomial(
        builder, f, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5
    )
    p = _call(builder, "fma", p, builder.fmul(f, f), builder.fadd(f, _constant(1.0)))
    exponent = builder.add(builder.fptosi(n, _INTEGERS), ir.Constant(_INTEGERS, [127] * LANES))
    return builder.fmul(p, builder.bitcast(builder.shl(exponent, ir.Constant(_INTEGERS, [23] * LANES)), _VECTOR))


def _gelu(builder: Any, x: Any) -> Any:
    """X * Phi(x), erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = builder.fmul(x, _constant(0.5**0.5))
    size = _call(builder, "fabs", z)
    t = builder.fdiv(_constant(1.0), _call(builder, "fma", size, _constant(0.3275911), _constant(1.0)))
    p = _polynomial(builder, t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    p = builder.fmul(p, t)
    tail = builder.fmul(p, _exp(builder, builder.fneg(builder.fmul(size, size))))
    erf = _call(builder, "copysign", builder.fsub(_constant(1.0), tail), z)
    half = builder.fmul(x, _constant(0.5))
    return _call(builder, "fma", half, erf, half)


def _for(builder: Any, count: Any, initial: list[Any], body: Callable[[Any, Any, list[Any]], list[Any]]) -> list[Any]:
    """`for i in range(count): values = body(builder, i, values)`; returns the values at the end."""
    before = builder.block
    repeat, after = builder.append_basic_block("repeat"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", count, _number(0)), repeat, after)
    builder.position_at_end(repeat)
    index = builder.phi(_I64)
    values = [builder.phi(value.type) for value in initial]
    following = body(builder, index, list(values))
    end = builder.block
    step = builder.add(index, _number(1))
    builder.cbranch(builder.icmp_signed("<", step, count), repeat, after)
    index.add_incoming(_number(0), before)
    index.add_incoming(step, end)
    builder.position_at_end(after)
    results = []
    for value, start, new in zip(values, initial, following, strict=True):
        value.add_incoming(start, before)
        value.add_incoming(new, end)
        result = builder.phi(value.type)
        result.add_incoming(start, before)
        result.add_incoming(new, end)
        results.append(result)
    return results


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Transposes 16 vectors as a matrix: swaps the off-diagonal quarters of blocks of 2, 4, 8 and 16."""
    for step in (1, 2, 4, 8):
        low = [lane + (LANES - step) * (lane & step != 0) for lane in range(LANES)]
        high = [lane + (LANES if lane & step else step) for lane in range(LANES)]
        shuffles = [ir.Constant(_INTEGERS, lanes) for lanes in (low, high)]
        for i in range(LANES):
            if not i & step:
                pair = rows[i], rows[i + step]
                rows[i], rows[i + step] = (builder.shuffle_vector(*pair, shuffle) for shuffle in shuffles)
    return rows


def _transposer(source_align: int, target_align: int, streaming: bool) -> Any:
    @intrinsic
    def transpose(context: Any, source: Any, source_row: Any, target: Any, target_row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_row, target, target_row = arguments
            rows = [
                _load(builder, builder.add(source, builder.mul(source_row, _number(i))), source_align)
                for i in range(LANES)
            ]
            for i, row in enumerate(_transpose(builder, rows)):
                store = _store(builder, row, builder.add(target, builder.mul(target_row, _number(i))), target_align)
                if streaming:
                    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return transpose


# 16 x 16 floats, each (source, its row stride, target, its row stride)
transpose_in = _transposer(_FLOAT_ALIGNED, _ALIGNED, streaming=False)
transpose_out = _transposer(_ALIGNED, _FLOAT_ALIGNED, streaming=False)
transpose_streaming = _transposer(_ALIGNED, _ALIGNED, streaming=True)  # past the caches, for large outputs


@intrinsic
def run_code(context: Any, code: Any, source: Any, target: Any, values: Any, tiles: Any) -> Any:
    """Calls machine code of `cap.runtime.codegen`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [_I64] * 4)
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
                return builder.add(start, builder.mul(index, _number(size)))

            def integer(address: Any) -> Any:
                return builder.load(builder.inttoptr(address, _I64.as_pointer()))

            def each_row(builder: Any, row: Any, _: list[Any]) -> list[Any]:
                start = integer(place(starts, row, 8))
                count = builder.sub(integer(place(starts, builder.add(row, _number(1)), 8)), start)
                outputs = [
                    place(builder.add(target, builder.mul(target_tile, _number(i))), row, _ALIGNED)
                    for i in range(tiles)
                ]
                again = builder.icmp_signed("!=", adds, _number(0))
                first = _load_to_all(builder, place(bias, row, 4))
                sums = [
                    builder.fadd(first, builder.select(again, _load(builder, output), _constant(0.0)))
                    for output in outputs
                ]

                def each_weight(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
                    index = builder.add(start, index)
                    weight = _load_to_all(builder, place(values, index, 4))
                    input_ = place(source, integer(place(columns, index, 8)), _ALIGNED)
                    tile = [builder.add(input_, builder.mul(source_tile, _number(i))) for i in range(tiles)]
                    return [
                        _call(builder, "fma", weight, _load(builder, at), total)
                        for at, total in zip(tile, sums, strict=True)
                    ]

                for output, total in zip(outputs, _for(builder, count, sums, each_weight), strict=True):
                    _store(builder, total, output)
                return []

            _for(builder, rows, [], each_row)
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
            place = builder.add(start, builder.mul(index, _number(_ALIGNED)))
            _store(builder, _gelu(builder, _load(builder, place)), place)
            return []

        _for(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def scores(context: Any, keys: Any, queries: Any, target: Any, size: Any) -> Any:
    """Products of a tile of keys with a tile of queries, both (size, 16): (16 keys, 16 queries)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys, queries, target, size = arguments

        def body(builder: Any, index: Any, sums: list[Any]) -> list[Any]:
            offset = builder.mul(index, _number(_ALIGNED))
            query = _load(builder, builder.add(queries, offset))
            return _add_multiples(builder, sums, builder.add(keys, offset), 4, query)

        _store_rows(builder, _for(builder, size, [_constant(0.0)] * LANES, body), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def softmax(context: Any, scores: Any, count: Any, scale: Any) -> Any:
    """Replaces scores (count, 16 queries) by e^(score - largest), and writes one over their sums to `scale`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, count, scale = arguments

        def place(builder: Any, index: Any) -> Any:
            return builder.add(scores, builder.mul(index, _number(_ALIGNED)))

        def largest(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            return [_call(builder, "maxnum", values[0], _load(builder, place(builder, index)))]

        def exponentials(builder: Any, index: Any, values: list[Any]) -> list[Any]:
            power = _exp(builder, builder.fsub(_load(builder, place(builder, index)), most))
            _store(builder, power, place(builder, index))
            return [builder.fadd(values[0], power)]

        (most,) = _for(builder, count, [_constant(-np.inf)], largest)
        (total,) = _for(builder, count, [_constant(0.0)], exponentials)
        _store(builder, builder.fdiv(_constant(1.0), total), scale)
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
            weight = _load(builder, builder.add(weights, builder.mul(index, _number(_ALIGNED))))
            tile = builder.mul(builder.lshr(index, _number(4)), values_tile)
            lane = builder.mul(builder.and_(index, _number(LANES - 1)), _number(4))
            return _add_multiples(builder, sums, builder.add(values, builder.add(tile, lane)), _ALIGNED, weight)

        sums = _for(builder, count, [_constant(0.0)] * LANES, body)
        factor = _load(builder, scale)
        _store_rows(builder, [builder.fmul(total, factor) for total in sums], target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def _add_multiples(builder: Any, sums: list[Any], factors: Any, stride: int, vector: Any) -> list[Any]:
    """Adds to each sum the vector times a float: the floats are `stride` bytes apart."""
    return [
        _call(builder, "fma", _load_to_all(builder, builder.add(factors, _number(stride * i))), vector, total)
        for i, total in enumerate(sums)
    ]


def _store_rows(builder: Any, rows: list[Any], target: Any) -> None:
    for i, row in enumerate(rows):
        _store(builder, row, builder.add(target, _number(_ALIGNED * i)))
