"""Encoder of the few x86-64 instructions that sparse kernels consist of.

Every function writes one instruction into `code` at offset `at` and returns the offset after it. Vector registers are
zmm0 to zmm31, sixteen floats each; a displacement is a multiple of what the instruction reads (64 bytes for a whole
vector, 4 for a single float) from -128 to 127, which EVEX packs into one byte. Source: Intel 64 and IA-32 Architectures
Software Developer's Manual, volume 2, sections 2.7 (EVEX) and the instructions' pages.
"""

from __future__ import annotations

import numba
import numpy as np

RDX, RSI, RDI = 2, 6, 7  # numbers of the registers that hold addresses
RAX, RCX = 0, 1  # of those that count
REACH = 128  # displacements go from -REACH to REACH - 1
LENGTH = 7  # bytes of each instruction but `to_float`, `loop`, `move` and `leave`

_NO_PREFIX, _PREFIX_66 = 0, 1
_MAP_0F, _MAP_0F38 = 1, 2


@numba.njit(cache=True)
def _evex(
    code: np.ndarray, at: int, opcode: int, opcode_map: int, prefix: int,
    register: int, source: int, base: int, displacement: int, broadcast: int,
) -> int:  # fmt: skip
    """Writes a 512-bit vector instruction with operands `register`, `source` and memory at `base + displacement`."""
    code[at] = 0x62
    code[at + 1] = (~register >> 3 & 1) << 7 | 0x60 | (~register >> 4 & 1) << 4 | opcode_map
    code[at + 2] = (~source & 15) << 3 | 4 | prefix
    code[at + 3] = 0x40 | broadcast << 4 | (~source >> 4 & 1) << 3
    code[at + 4] = opcode
    code[at + 5] = 0x40 | (register & 7) << 3 | base
    code[at + 6] = displacement & 0xFF
    return at + LENGTH


@numba.njit(cache=True)
def load(code: np.ndarray, at: int, register: int, base: int, displacement: int) -> int:
    """`vmovups zmm, [base + 64 * displacement]`."""
    return _evex(code, at, 0x10, _MAP_0F, _NO_PREFIX, register, 0, base, displacement, 0)


@numba.njit(cache=True)
def store(code: np.ndarray, at: int, register: int, base: int, displacement: int) -> int:
    """`vmovups [base + 64 * displacement], zmm`."""
    return _evex(code, at, 0x11, _MAP_0F, _NO_PREFIX, register, 0, base, displacement, 0)


@numba.njit(cache=True)
def broadcast(code: np.ndarray, at: int, register: int, base: int, displacement: int) -> int:
    """`vbroadcastss zmm, dword [base + 4 * displacement]`."""
    return _evex(code, at, 0x18, _MAP_0F38, _PREFIX_66, register, 0, base, displacement, 0)


@numba.njit(cache=True)
def multiply_add(code: np.ndarray, at: int, register: int, source: int, base: int, displacement: int) -> int:
    """`vfmadd231ps zmm, zmm_source, dword [base + 4 * displacement]{1to16}`: register += source * float."""
    return _evex(code, at, 0xB8, _MAP_0F38, _PREFIX_66, register, source, base, displacement, 1)


@numba.njit(cache=True)
def multiply_add_bytes(code: np.ndarray, at: int, register: int, source: int, base: int, displacement: int) -> int:
    """`vpdpbusd zmm, zmm_source, dword [base + 4 * displacement]{1to16}`.

    In each of sixteen lanes, register += products of the source's four unsigned bytes with the four signed ones.
    """
    return _evex(code, at, 0x50, _MAP_0F38, _PREFIX_66, register, source, base, displacement, 1)


@numba.njit(cache=True)
def to_float(code: np.ndarray, at: int, register: int) -> int:
    """`vcvtdq2ps zmm, zmm`: integers become floats."""
    code[at] = 0x62
    code[at + 1] = (
        (~register >> 3 & 1) << 7
        | (~register >> 4 & 1) << 6
        | (~register >> 3 & 1) << 5
        | (~register >> 4 & 1) << 4
        | _MAP_0F
    )
    code[at + 2] = 0x7C
    code[at + 3] = 0x48
    code[at + 4] = 0x5B
    code[at + 5] = 0xC0 | (register & 7) << 3 | register & 7
    return at + 6


@numba.njit(cache=True)
def multiply(code: np.ndarray, at: int, register: int, base: int, displacement: int) -> int:
    """`vmulps zmm, zmm, dword [base + 4 * displacement]{1to16}`: register *= float."""
    return _evex(code, at, 0x59, _MAP_0F, _NO_PREFIX, register, register, base, displacement, 1)


@numba.njit(cache=True)
def scale_and_add(code: np.ndarray, at: int, register: int, factor: int, base: int, displacement: int) -> int:
    """`vfmadd213ps zmm, zmm_factor, dword [base + 4 * displacement]{1to16}`: register = factor * register + float."""
    return _evex(code, at, 0xA8, _MAP_0F38, _PREFIX_66, register, factor, base, displacement, 1)


@numba.njit(cache=True)
def scale_and_add_vector(code: np.ndarray, at: int, register: int, factor: int, base: int, displacement: int) -> int:
    """`vfmadd213ps zmm, zmm_factor, [base + 64 * displacement]`: register = factor * register + vector."""
    return _evex(code, at, 0xA8, _MAP_0F38, _PREFIX_66, register, factor, base, displacement, 0)


@numba.njit(cache=True)
def add(code: np.ndarray, at: int, register: int, value: int) -> int:
    """`add r64, imm32`."""
    code[at] = 0x48
    code[at + 1] = 0x81
    code[at + 2] = 0xC0 | register
    return _integer(code, at + 3, value)


@numba.njit(cache=True)
def loop(code: np.ndarray, at: int, counter: int, target: int) -> int:
    """`dec counter; jnz target`."""
    for i, byte in enumerate((0x48, 0xFF, 0xC8 | counter, 0x0F, 0x85)):
        code[at + i] = byte
    return _integer(code, at + 5, target - (at + 9))


@numba.njit(cache=True)
def move(code: np.ndarray, at: int, register: int, value: int) -> int:
    """`mov r32, imm32`."""
    code[at] = 0xB8 | register
    return _integer(code, at + 1, value)


@numba.njit(cache=True)
def _integer(code: np.ndarray, at: int, value: int) -> int:
    """Writes a 32-bit integer."""
    for i in range(4):
        code[at + i] = value >> 8 * i & 0xFF
    return at + 4


@numba.njit(cache=True)
def leave(code: np.ndarray, at: int) -> int:
    """`vzeroupper; ret`."""
    for i, byte in enumerate((0xC5, 0xF8, 0x77, 0xC3)):
        code[at + i] = byte
    return at + 4
