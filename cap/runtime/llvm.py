"""Vectors of sixteen floats in LLVM's instructions, which it makes of what the processor has.

All addresses are integers, all strides bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending

# numba gives the type of the function that generates, which has a context more than the calls
intrinsic: Callable[[Callable[..., Any]], Any] = extending.intrinsic

LANES = 16
I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(F32, LANES)
INTEGERS = ir.VectorType(I32, LANES)
ALIGNED, FLOAT_ALIGNED = 64, 4


def number(value: int) -> ir.Constant:
    """Returns a 64-bit integer."""
    return ir.Constant(I64, value)


def constant(value: float) -> ir.Constant:
    """Returns a vector of one float, sixteen times."""
    return ir.Constant(VECTOR, [float(np.float32(value))] * LANES)


def load(builder: Any, address: Any, align: int = ALIGNED) -> Any:
    """Loads a vector."""
    return builder.load(builder.inttoptr(address, VECTOR.as_pointer()), align=align)


def store(builder: Any, vector: Any, address: Any, align: int = ALIGNED) -> Any:
    """Stores a vector."""
    return builder.store(vector, builder.inttoptr(address, VECTOR.as_pointer()), align=align)


def broadcast(builder: Any, address: Any) -> Any:
    """A vector of sixteen times the float at an address."""
    scalar = builder.load(builder.inttoptr(address, F32.as_pointer()))
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(INTEGERS, [0] * LANES))


def call(builder: Any, name: str, *arguments: Any) -> Any:
    """Calls an LLVM intrinsic function on vectors."""
    name = f"llvm.{name}.v{LANES}f32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * len(arguments)), name)
    return builder.call(function, arguments)


def polynomial(builder: Any, x: Any, *coefficients: float) -> Any:
    """Horner's rule, the highest power first."""
    result = constant(coefficients[0])
    for coefficient in coefficients[1:]:
        result = call(builder, "fma", result, x, constant(coefficient))
    return result


def exp(builder: Any, x: Any) -> Any:
    """e^x to about one unit in the last place (Cephes expf); saturates beyond -87 and 88."""
    x = call(builder, "maxnum", call(builder, "minnum", x, constant(88.0)), constant(-87.0))
    n = call(builder, "rint", builder.fmul(x, constant(1.44269504)))
    f = call(builder, "fma", n, constant(-0.693359375), x)
    f = call(builder, "fma", n, constant(2.12194440e-4), f)
    p = polynomial(builder, f, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
    p = call(builder, "fma", p, builder.fmul(f, f), builder.fadd(f, constant(1.0)))
    exponent = builder.add(builder.fptosi(n, INTEGERS), ir.Constant(INTEGERS, [127] * LANES))
    return builder.fmul(p, builder.bitcast(builder.shl(exponent, ir.Constant(INTEGERS, [23] * LANES)), VECTOR))


def gelu(builder: Any, x: Any) -> Any:
    """X * Phi(x), erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = builder.fmul(x, constant(0.5**0.5))
    size = call(builder, "fabs", z)
    t = builder.fdiv(constant(1.0), call(builder, "fma", size, constant(0.3275911), constant(1.0)))
    p = polynomial(builder, t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    p = builder.fmul(p, t)
    tail = builder.fmul(p, exp(builder, builder.fneg(builder.fmul(size, size))))
    erf = call(builder, "copysign", builder.fsub(constant(1.0), tail), z)
    half = builder.fmul(x, constant(0.5))
    return call(builder, "fma", half, erf, half)


def loop(builder: Any, count: Any, initial: list[Any], body: Callable[[Any, Any, list[Any]], list[Any]]) -> list[Any]:
    """`for i in range(count): values = body(builder, i, values)`; returns the values at the end."""
    before = builder.block
    repeat, after = builder.append_basic_block("repeat"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", count, number(0)), repeat, after)
    builder.position_at_end(repeat)
    index = builder.phi(I64)
    values = [builder.phi(value.type) for value in initial]
    following = body(builder, index, list(values))
    end = builder.block
    step = builder.add(index, number(1))
    builder.cbranch(builder.icmp_signed("<", step, count), repeat, after)
    index.add_incoming(number(0), before)
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


def add_multiples(builder: Any, sums: list[Any], factors: Any, stride: int, vector: Any) -> list[Any]:
    """Adds to each sum the vector times a float: the floats are `stride` bytes apart."""
    return [
        call(builder, "fma", broadcast(builder, builder.add(factors, number(stride * i))), vector, total)
        for i, total in enumerate(sums)
    ]


def store_rows(builder: Any, rows: list[Any], target: Any) -> None:
    """Stores vectors one after another."""
    for i, row in enumerate(rows):
        store(builder, row, builder.add(target, number(ALIGNED * i)))


def transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Transposes 16 vectors as a matrix: swaps the off-diagonal quarters of blocks of 2, 4, 8 and 16."""
    for step in (1, 2, 4, 8):
        low = [lane + (LANES - step) * (lane & step != 0) for lane in range(LANES)]
        high = [lane + (LANES if lane & step else step) for lane in range(LANES)]
        shuffles = [ir.Constant(INTEGERS, lanes) for lanes in (low, high)]
        for i in range(LANES):
            if not i & step:
                pair = rows[i], rows[i + step]
                rows[i], rows[i + step] = (builder.shuffle_vector(*pair, shuffle) for shuffle in shuffles)
    return rows
