"""The dampened block-diagonal empirical Fisher."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.elimination import check_positive
from cap.fisher.planning import LayerSlice, MemoryPlan, buffered_gradients
from cap.kernels import batched, for_device

CHUNK_BYTES = 2**26  # blocks that are inverted and factored at a time

logger = logging.getLogger(__name__)


def split_blocks(tensor: Tensor, block_size: int) -> Tensor:
    """Cuts a weight into blocks of consecutive entries of its row-major order, the last one padded with zeros.

    Args:
        tensor: Any shape.
        block_size: B.

    Returns:
        (num_blocks, B). A padded entry has weight 0 and gradient 0, so it changes nothing and costs nothing to remove.
    """
    flat = tensor.reshape(-1)
    return F.pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)


def merge_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """Undoes `split_blocks`: (num_blocks, B) to the shape of `like`."""
    return blocks.reshape(-1)[: like.numel()].view(like.shape)


def block_chunks(num_blocks: int, block_size: int) -> Iterator[slice]:
    """Yields ranges of blocks whose matrices take about `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES // (8 * block_size**2))
    for start in range(0, num_blocks, step):
        yield slice(start, min(start + step, num_blocks))


def scratch_like(num_blocks: int, block_size: int, device: torch.device) -> Tensor:
    """Returns room for the largest of the `block_chunks`: (blocks, B, B), float64."""
    largest = max(part.stop - part.start for part in block_chunks(num_blocks, block_size))
    return torch.empty(largest, block_size, block_size, dtype=torch.float64, device=device)


class Gram:
    """Accumulates `sum_i g_i g_i^T` on diagonal blocks of consecutive weights.

    Gradients are gathered and added up many at a time. As long as they are fewer than B they are kept themselves: they
    take less memory than the sum. Rounding errors of single precision, relative to the largest eigenvalue, would drown
    a dampening of 1e-8, so the sum is in double precision unless told otherwise.

    Args:
        num_weights: Number of weights.
        block_size: B. If it does not divide `num_weights`, the last block is padded with inert entries.
        device: Where the sums live.
        dtype: Of the sums: float64, or float32 for half the memory.
        expected: How many gradients there will be, if known.
        gathered: Of the gradients before they are added up: float32, or float64 if they come so.

    Attributes:
        capacity: How many gradients `slots` has room for at once.
    """

    def __init__(
        self,
        num_weights: int,
        block_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        expected: int | None = None,
        gathered: torch.dtype = torch.float32,
    ) -> None:
        self.gathered = gathered
        self.num_weights, self.block_size = num_weights, block_size
        self.num_blocks = -(-num_weights // block_size)
        self.count = 0  # gradients so far
        self.capacity = buffered_gradients(block_size, expected)
        self._keeps_all = expected is not None and expected <= self.capacity
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._gathered: Tensor | None = None  # (capacity, num_blocks * B)
        self._num_gathered = 0
        self._sum: Tensor | None = None  # (num_blocks, B, B), lower triangles

    def slots(self, n: int) -> Tensor:
        """Returns room for the next n gradients, (n, num_weights), to be filled before anything else is asked for.

        Raises:
            ValueError: If n is larger than `capacity`.
        """
        if n > self.capacity:
            raise ValueError(f"{n} gradients at once: at most {self.capacity}")
        if self._num_gathered + n > self.capacity:
            self._add_up()
        if self._gathered is None:
            width = self.num_blocks * self.block_size
            self._gathered = torch.zeros(self.capacity, width, dtype=self.gathered, device=self._like.device)
        start, self._num_gathered = self._num_gathered, self._num_gathered + n
        self.count += n
        return self._gathered[start : start + n, : self.num_weights]

    def skip(self, n: int) -> None:
        """Counts n gradients that another process has: see `join`."""
        if self._keeps_all:
            self.slots(n)  # zeros until then
        else:
            self.count += n

    def join(self) -> None:
        """Adds up what the processes have, each of which has skipped the gradients of the others."""
        if self._keeps_all:
            assert self._gathered is not None
            distributed.all_reduce_sum(self._gathered)
            return
        self._add_up()
        if self._sum is None:
            self._sum = self._like.new_zeros(self.num_blocks, self.block_size, self.block_size)
        distributed.all_reduce_sum(self._sum)

    def finish(self) -> None:
        """Frees what is needed for adding gradients alone."""
        if self._sum is not None:
            self._add_up()
            self._gathered = None

    def _add_up(self) -> None:
        if self._num_gathered and self._gathered is not None:
            if self._sum is None:
                self._sum = self._like.new_zeros(self.num_blocks, self.block_size, self.block_size)
            for_device(self._sum.device).add_gram(self._sum, self._gathered[: self._num_gathered])
            self._num_gathered = 0

    def gradients(self, part: slice) -> Tensor | None:
        """Returns all gradients of a range of blocks, (blocks, m, B), float64; None if only their sum is known."""
        if self._sum is not None or self._gathered is None:
            return None
        columns = slice(part.start * self.block_size, part.stop * self.block_size)
        rows = self._gathered[: self.count, columns].double()
        return rows.view(self.count, -1, self.block_size).transpose(0, 1)

    def fisher(self, part: slice, damp: float, out: Tensor | None = None) -> Tensor:
        """Returns `damp * I + (1/m) sum_i g_i g_i^T` for a range of blocks.

        Args:
            part: Range of blocks.
            damp: Dampening.
            out: Room for the result.

        Returns:
            (blocks, B, B), float64.
        """
        size = self.block_size
        shape = (part.stop - part.start, size, size)
        if out is None:
            out = torch.empty(shape, dtype=torch.float64, device=self._like.device)
        kernels = for_device(out.device)
        if self._sum is None and self._gathered is not None:
            kernels.add_gram(out.zero_(), self._gathered[: self.count, part.start * size : part.stop * size])
            kernels.damped_mean(out, self.count, damp, out)
        else:
            self._add_up()
            assert self._sum is not None
            kernels.damped_mean(self._sum[part], self.count, damp, out)
        return out


class BlockFisher:
    """Accumulates `F = damp * I + (1/m) * sum_i g_i g_i^T` on diagonal blocks of consecutive weights.

    Kuznedelev et al., 2023, section 3 (arXiv 2210.09223).

    Args:
        num_weights: Number of weights of the layer.
        block_size: B. If it does not divide `num_weights`, the last block is padded with inert entries.
        damp: Dampening, larger than 0.
        device: Where the blocks live.
        dtype: Of the sums and the inverse: float64, or float32 for half the memory where the dampening is not small
            beside the largest eigenvalue.
    """

    def __init__(
        self,
        num_weights: int,
        block_size: int,
        damp: float,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if num_weights < 1 or block_size < 1:
            raise ValueError(f"{num_weights} weights in blocks of {block_size}: both must be at least 1")
        if not damp > 0:
            raise ValueError(f"dampening {damp} is not valid: it must be larger than 0")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype {dtype} is not valid: choose torch.float32 or torch.float64")
        self.num_weights, self.block_size, self.damp, self.dtype = num_weights, block_size, damp, dtype
        self._gram = Gram(num_weights, block_size, device, dtype)

    @property
    def num_gradients(self) -> int:
        """How many gradients were added."""
        return self._gram.count

    def update(self, gradients: Tensor) -> None:
        """Adds gradients.

        Args:
            gradients: (m, num_weights), one gradient a row; any number of times.

        Raises:
            ValueError: If the shape is another.
        """
        if gradients.ndim != 2 or gradients.shape[1] != self.num_weights:
            raise ValueError(f"gradients have shape {tuple(gradients.shape)}, expected (m, {self.num_weights})")
        if not self.num_gradients and gradients.dtype == torch.float64:
            self._gram.gathered = torch.float64
        for rows in gradients.split(self._gram.capacity):
            self._gram.slots(len(rows)).copy_(rows)

    def inverse(self) -> Tensor:
        """Returns F^-1 block by block: (num_blocks, B, B).

        With fewer than B gradients by the Woodbury identity, otherwise by a Cholesky decomposition.

        Raises:
            ValueError: If no gradient was added, or a block is not positive definite.
        """
        if not self.num_gradients:
            raise ValueError("the Fisher has seen no gradients: call update first")
        gram = self._gram
        gram.finish()
        result = gram._like.new_empty(gram.num_blocks, self.block_size, self.block_size)
        bad = torch.zeros(gram.num_blocks, dtype=torch.bool, device=result.device)
        scratch = scratch_like(gram.num_blocks, self.block_size, result.device)
        for part in block_chunks(gram.num_blocks, self.block_size):
            gradients = gram.gradients(part) if self.num_gradients < self.block_size else None
            if gradients is not None:
                inverse, failed = woodbury(gradients, self.damp)
            else:
                inverse = gram.fisher(part, self.damp, scratch[: part.stop - part.start])
                failed = for_device(inverse.device).invert_blocks(inverse, inverse)
            result[part], bad[part] = inverse, failed
        check_fisher(bad, self.damp)
        return result


def woodbury(gradients: Tensor, damp: float) -> tuple[Tensor, Tensor]:
    """Inverts `damp * I + (1/m) G^T G` through the smaller m x m system.

    `F^-1 = (I - G^T (m damp I + G G^T)^-1 G) / damp`.

    Args:
        gradients: G, (num_blocks, m, B), float64.
        damp: Dampening.

    Returns:
        (num_blocks, B, B), and (num_blocks,), True where the system was not positive definite.
    """
    _, m, size = gradients.shape
    system = torch.bmm(gradients, gradients.transpose(1, 2))
    system.diagonal(dim1=1, dim2=2).add_(m * damp)
    lower, info = torch.linalg.cholesky_ex(system)
    half = torch.linalg.solve_triangular(lower, gradients, upper=False)
    identity = torch.eye(size, dtype=gradients.dtype, device=gradients.device)
    return torch.baddbmm(identity, half.transpose(1, 2), half, alpha=-1).div_(damp), batched.not_positive(lower, info)


def check_fisher(failed: Tensor, damp: float) -> None:
    """Raises an error that names the first Fisher block which is not positive definite.

    Args:
        failed: (num_blocks,), True for such blocks.
        damp: The dampening that was not enough.
    """
    check_positive(failed, "Fisher block", f"raise the dampening above {damp:g}, or check the gradients for infinities")


@dataclass(frozen=True)
class InverseFactor:
    """The inverse Fisher blocks of one layer as triangular factors in single precision: a quarter of their memory.

    With P the permutation that brings the block's entry `order[t]` to place t, `P F^-1 P^T = M^T M` with M lower
    triangular. A rounding error of M is one of the inverse's square root, so the inverse stays positive definite.

    Attributes:
        order: (num_blocks, B), int16: the entry at each place.
        packed: (num_blocks, B * (B + 1) / 2), float32: the rows of M up to the diagonal.
        coefficients: (num_blocks, B), float64: c with `M^T c = P w`, so that w less the last k of the terms `c_t M[t]`
            is the joint OBS update that removes the last k places.
        padding: Inert entries at the end of the last block.
    """

    order: Tensor
    packed: Tensor
    coefficients: Tensor
    padding: int = 0

    @classmethod
    def empty(cls, num_weights: int, block_size: int, device: torch.device | str = "cpu") -> InverseFactor:
        """Makes room for the factors of a layer."""
        num_blocks = -(-num_weights // block_size)
        return cls(
            torch.empty(num_blocks, block_size, dtype=torch.int16, device=device),
            torch.empty(num_blocks, block_size * (block_size + 1) // 2, device=device),
            torch.empty(num_blocks, block_size, dtype=torch.float64, device=device),
            num_blocks * block_size - num_weights,
        )

    @staticmethod
    def bytes_per_weight(block_size: int) -> float:
        """Memory of the factors."""
        return 2 * (block_size + 1) + 2 + 8

    def fill(self, part: slice, fisher: Tensor, weight: Tensor, order: Tensor | None = None) -> Tensor:
        """Factors a range of blocks.

        Args:
            part: Range of blocks.
            fisher: F, (blocks, B, B), float64.
            weight: w, (blocks, B).
            order: (blocks, B), int64; by default each entry at its own place.

        Returns:
            (blocks,), True for blocks that are not positive definite.
        """
        if order is None:
            order = torch.arange(weight.shape[1], device=weight.device).repeat(len(weight), 1)
        self.order[part] = order.to(torch.int16)
        kernels = for_device(fisher.device)
        return kernels.factor_blocks(fisher, order, weight, self.packed[part], self.coefficients[part])

    def inverse(self, part: slice) -> Tensor:
        """Returns F^-1 of a range of blocks: (blocks, B, B), float64."""
        lower = batched.unpack(self.packed[part], self.order.shape[1])
        place = self.order[part].long().argsort(1)
        return torch.bmm(lower.transpose(1, 2), lower).gather(1, place[:, :, None].expand_as(lower)).gather(
            2, place[:, None, :].expand_as(lower)
        )  # fmt: skip

    def diagonal(self, part: slice) -> Tensor:
        """Returns the diagonals of F^-1: (blocks, B), float64."""
        size = self.order.shape[1]
        at_places = for_device(self.packed.device).inverse_diagonal(self.packed[part], size)
        return torch.empty_like(at_places).scatter_(1, self.order[part].long(), at_places)

    def times(self, vector: Tensor, part: slice) -> Tensor:
        """Returns F^-1 v for v (blocks, B), float64."""
        order = self.order[part].long()
        product = for_device(vector.device).multiply_inverse(self.packed[part], vector.gather(1, order))
        return torch.empty_like(product).scatter_(1, order, product)

    def quadratic_form(self, vector: Tensor, part: slice) -> Tensor:
        """Returns `v^T F v` for v (blocks, B), float64: (blocks,)."""
        upper = batched.unpack(self.packed[part], self.order.shape[1]).transpose(1, 2)
        permuted = vector.gather(1, self.order[part].long()).unsqueeze(2)
        return torch.linalg.solve_triangular(upper, permuted, upper=True).square().sum((1, 2))

    def without_last(self, weight: Tensor, counts: Tensor) -> Tensor:
        """Returns the weights after the joint OBS update that removes each block's last places.

        Args:
            weight: (num_blocks, B), the weights that the factors were made with.
            counts: (num_blocks,), int64: how many places.

        Returns:
            (num_blocks, B), float64; what was removed is not exactly zero.
        """
        order = self.order.long()
        kernels = for_device(weight.device)
        permuted = kernels.subtract_last_rows(weight.gather(1, order), self.packed, self.coefficients, counts)
        return torch.empty_like(permuted).scatter_(1, order, permuted)


def fisher_blocks(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    plan: MemoryPlan,
    damp: float,
) -> Iterator[tuple[str, slice, Tensor]]:
    """Estimates the Fisher blocks of every layer, in as many passes over the gradients as planned.

    Gradients of weights that are already zero are left out, as are those under a mask in the release.

    Args:
        model: The model.
        layers: {name: weight}.
        calibration: The images.
        plan: What to accumulate in which pass.
        damp: Dampening.

    Yields:
        The layer, a range of its blocks, and F for these, (blocks, B, B), float64, which the next one overwrites.
    """
    logger.info("Fisher blocks: %s", plan)
    block_size = plan.block_size
    most = max(-(-(part.stop - part.start) // block_size) for parts in plan.passes for part in parts)
    scratch = scratch_like(most, block_size, next(iter(layers.values())).device)
    for parts in plan.passes:
        if plan.shared:
            key = ("gram", tuple(layers), plan.num_gradients, block_size)
            compute = partial(_accumulate, model, layers, calibration, plan, parts)
            grams = calibration.shared(model, key, compute, plan.gram_bytes)
        else:
            calibration.forget()
            grams = _accumulate(model, layers, calibration, plan, parts)
        for part in parts:
            gram = grams[part] if plan.shared else grams.pop(part)
            first = part.start // block_size
            for chunk in block_chunks(gram.num_blocks, block_size):
                fisher = gram.fisher(chunk, damp, scratch[: chunk.stop - chunk.start])
                yield part.name, slice(first + chunk.start, first + chunk.stop), fisher
            del gram


def _accumulate(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    plan: MemoryPlan,
    parts: tuple[LayerSlice, ...],
) -> dict[LayerSlice, Gram]:
    """Goes through the calibration gradients once and returns the Gram matrices of some parts.

    The processes of a torch.distributed group share the gradients among them; all get the same matrices.
    """
    wanted = {part.name: layers[part.name] for part in parts}
    device = next(iter(wanted.values())).device
    zero = {name: (weight == 0).flatten() for name, weight in wanted.items() if (weight == 0).any()}
    grams = {
        part: Gram(
            part.stop - part.start,
            plan.block_size,
            device,
            expected=plan.num_gradients,
            gathered=torch.float64 if layers[part.name].dtype == torch.float64 else torch.float32,
        )
        for part in parts
    }
    for batch in calibration.gradient_batches(model, wanted, plan.num_gradients, plan.forward_images, divided=True):
        for part, gram in grams.items():
            if batch.first > gram.count:
                gram.skip(batch.first - gram.count)
            room = gram.slots(batch.count)
            batch.write(part.name, part.start, part.stop, room)
            if part.name in zero:
                room.masked_fill_(zero[part.name][part.start : part.stop], 0)
        del batch  # before the next one is computed
    for gram in grams.values():
        if distributed.world_size() > 1:
            gram.skip(plan.num_gradients - gram.count)
            gram.join()
        gram.finish()
    return grams
