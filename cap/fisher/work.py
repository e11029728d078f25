"""The work of fits to the Fisher, in multiply-adds."""

from __future__ import annotations

from cap.cost import FitSize, FitWork

# times that of the factors alone, as measured on a processor with B = 64 and 192
ELIMINATION = 3.0
JOINT_UPDATE = 1.0
LARGE_BLOCK = 320  # rows of a matrix from which on the time for a weight rises with B alone, as was measured at 2,000


def fisher_work(size: FitSize, num_gradients: int | None, block_size: int) -> FitWork:
    """Returns the work of one estimate of the Fisher blocks and of its factors.

    Args:
        size: Model and calibration set.
        num_gradients: m, number of gradients; by default one per image, or per whole batch.
        block_size: B, number of weights in a block.
    """
    m = size.gradients(num_gradients)
    return FitWork(
        gradients=size.gradient_macs(m), gram=m * block_size * size.weights, solve=_factor_work(size, block_size)
    )


def joint_update_work(size: FitSize, block_size: int) -> FitWork:
    """Returns the work of one joint OBS update of all blocks, for any mask: a system of its own for each block.

    Args:
        size: Model and calibration set.
        block_size: B, number of weights in a block.
    """
    return FitWork(solve=JOINT_UPDATE * _factor_work(size, block_size))


def _factor_work(size: FitSize, block_size: int) -> int:
    """Returns the multiply-adds that the factors of all blocks are counted as."""
    return block_size * min(block_size, LARGE_BLOCK) * size.weights
