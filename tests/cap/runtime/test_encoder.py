"""The bytes are those of the GNU assembler and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cap.runtime import encoder as e


@pytest.mark.parametrize(
    ("write", "arguments", "expected"),
    [
        (e.load, (0, e.RDI, 5), "62 f1 7c 48 10 47 05"),  # vmovups zmm0, [rdi+0x140]
        (e.load, (31, e.RDI, -128), "62 61 7c 48 10 7f 80"),  # vmovups zmm31, [rdi-0x2000]
        (e.store, (23, e.RSI, 127), "62 e1 7c 48 11 7e 7f"),  # vmovups [rsi+0x1fc0], zmm23
        (e.broadcast, (9, e.RDX, -3), "62 72 7d 48 18 4a fd"),  # vbroadcastss zmm9, [rdx-0xc]
        (e.multiply_add, (17, 30, e.RDX, 100), "62 e2 0d 50 b8 4a 64"),  # vfmadd231ps zmm17, zmm30, [rdx+0x190]{1to16}
        (e.multiply_add, (3, 12, e.RDX, -1), "62 f2 1d 58 b8 5a ff"),  # vfmadd231ps zmm3, zmm12, [rdx-0x4]{1to16}
        (e.multiply_add_bytes, (17, 30, e.RDX, 100), "62 e2 0d 50 50 4a 64"),  # vpdpbusd zmm17, zmm30, [rdx+0x190]
        (e.multiply_add_bytes, (3, 29, e.RDX, -1), "62 f2 15 50 50 5a ff"),  # vpdpbusd zmm3, zmm29, [rdx-0x4]{1to16}
        (e.to_float, (5,), "62 f1 7c 48 5b ed"),  # vcvtdq2ps zmm5, zmm5
        (e.to_float, (12,), "62 51 7c 48 5b e4"),  # vcvtdq2ps zmm12, zmm12
        (e.to_float, (23,), "62 a1 7c 48 5b ff"),  # vcvtdq2ps zmm23, zmm23
        (e.multiply, (20, e.RDX, -128), "62 e1 5c 50 59 62 80"),  # vmulps zmm20, zmm20, [rdx-0x200]{1to16}
        (e.multiply, (2, e.RDX, 2), "62 f1 6c 58 59 52 02"),  # vmulps zmm2, zmm2, [rdx+0x8]{1to16}
        (e.scale_and_add, (20, 27, e.RDX, 2), "62 e2 25 50 a8 62 02"),  # vfmadd213ps zmm20, zmm27, [rdx+0x8]{1to16}
        (e.scale_and_add_vector, (9, 27, e.RSI, 5), "62 72 25 40 a8 4e 05"),  # vfmadd213ps zmm9, zmm27, [rsi+0x140]
        (e.add, (e.RDI, -8192), "48 81 c7 00 e0 ff ff"),  # add rdi, -0x2000
        (e.add, (e.RDX, 1024), "48 81 c2 00 04 00 00"),  # add rdx, 0x400
        (e.loop, (e.RCX, -53), "48 ff c9 0f 85 bf ff ff ff"),  # dec rcx; jne to 56 bytes before
        (e.loop, (e.RAX, -53), "48 ff c8 0f 85 bf ff ff ff"),  # dec rax; the same
        (e.move, (e.RAX, 96), "b8 60 00 00 00"),  # mov eax, 0x60
        (e.leave, (), "c5 f8 77 c3"),  # vzeroupper; ret
    ],
)
def test_bytes(write: Callable[..., int], arguments: tuple[int, ...], expected: str) -> None:
    code = np.zeros(24, np.uint8)
    end = write(code, 3, *arguments)
    assert code[3:end].tobytes().hex(" ") == expected
    assert not code[:3].any()
    assert not code[end:].any()
