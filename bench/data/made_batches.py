"""Batches that this process has made already: fine-tunes after many prunings see the same images, changed alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

from bench.core.random_state import random_state, set_random_state

Batch = tuple[Tensor, Tensor]
BYTES = 256 * 2**20  # 10 epochs of 4,096 images of 32 x 32 pixels are 168 MB


class MadeBatches:
    """Batches of one stream, each found again by its place and by the state of the random generators before it.

    A batch depends on nothing else, so that a training that takes it from here is the same to the bit: the generators
    go to where making it had left them. What a model draws between two batches is in the state, too. With another
    stream the batches of the last are forgotten.

    Args:
        limit: Bytes that are kept; batches after these are made each time.
    """

    def __init__(self, limit: int = BYTES) -> None:
        self._left = self._limit = limit
        self._stream: Hashable = None
        self._made: dict[Hashable, tuple[Batch, dict[str, Any]]] = {}

    def get(self, stream: Hashable, place: Hashable, make: Callable[[], Batch]) -> Batch:
        """Returns a batch, made now or before, that is the caller's to change.

        Args:
            stream: What all batches of the stream depend on.
            place: Which batch of the stream it is.
            make: Makes it; draws from the generators alone.
        """
        if stream != self._stream:
            self._stream, self._made, self._left = stream, {}, self._limit
        key = place, _digest(random_state())
        if found := self._made.get(key):
            (inputs, labels), after = found
            set_random_state(after)
            return inputs.clone(), labels.clone()
        inputs, labels = make()
        self._left -= inputs.nbytes + labels.nbytes
        if self._left >= 0:
            self._made[key] = (inputs.clone(), labels.clone()), random_state()
        return inputs, labels


def _digest(state: dict[str, Any]) -> bytes:
    """Returns a hash of the state of all generators."""
    tensors = [state["torch"], *state["cuda"]]
    found = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors))
    found.update(repr((state["python"], state["numpy"])).encode())
    return found.digest()
