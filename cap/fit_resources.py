"""What a fit may use beside images, labels and loss: memory, a device, a random generator, a place for its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")
Progress = Callable[[int, int, str], None]


class FitResources:
    """Resources of a fit, which hang on its calibration set; whoever runs a fit sets them, the pruner reads them.

    Attributes:
        memory_budget: Bytes that a fit may take beyond what is in use on the model's device; None for what is free less
            a margin. Results must not depend on it.
        device: Device of the model; the CPU if nobody has said.
        generator: Random generator on the CPU, seeded anew before every fit and every `prune`, the same in all
            processes of a torch.distributed group.
        on_progress: Function that shows the progress of a fit, called with done, total, text; None to show none.
    """

    memory_budget: int | None = None
    device: torch.device = torch.device("cpu")
    on_progress: Progress | None = None
    _generator: torch.Generator | None = None

    @property
    def generator(self) -> torch.Generator:  # noqa: D102  an attribute, see the class
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(0)
        return self._generator

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Says how far the fit is; it is shown by `check`, `compare` and `run`, and costs next to nothing.

        Args:
            done: Number of steps that are done.
            total: Number of all steps.
            text: Name of the steps, such as `layers`.
        """
        if self.on_progress is not None:
            self.on_progress(done, total, text)

    def counted(self, steps: Iterable[T], total: int, text: str) -> Iterator[T]:
        """Yields steps, and says how many are done whenever the next one is asked for.

        Args:
            steps: The steps.
            total: Number of them.
            text: Name of the steps.
        """
        for done, step in enumerate(steps, 1):
            yield step
            self.progress(done, total, text)

    def share_resources(self, other: FitResources) -> None:
        """Takes over the resources of another calibration set; the generator is one and the same."""
        self.memory_budget, self.device, self.on_progress = other.memory_budget, other.device, other.on_progress
        self._generator = other.generator
