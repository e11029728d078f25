"""Batches that this process has made already: fine-tunes after many prunings see the same images, changed alike."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import IO, Any

import torch
from torch import Tensor

from bench.core.random_state import random_state, set_random_state

Batch = tuple[Tensor, Tensor]
BYTES = 2**29  # 8 epochs of 4,096 images of 32 x 32 pixels are 134 MB


@dataclass
class _Stream:
    """Batches of one stream in a file without a name.

    Attributes:
        file: The file; None before the first batch.
        places: Where each batch and the state after it begin and end, by its place and the state before it.
        size: Bytes of the file.
    """

    file: IO[bytes] | None = None
    places: dict[Hashable, tuple[int, int]] = field(default_factory=dict)
    size: int = 0


class MadeBatches:
    """Batches of streams, each found again by its place and the state of the processor's random generators before it.

    A batch depends on nothing else, so that a training that takes it from here is the same to the bit: the generators
    go to where making it had left them. What a model draws between two batches is in the state, too. Batches lie in
    temporary files, so that they are no part of the process's memory, which rows report. Of streams those that were
    asked for last are kept.

    Args:
        limit: Bytes that are kept in all.
    """

    def __init__(self, limit: int = BYTES) -> None:
        self._limit = limit
        self._streams: dict[Hashable, _Stream] = {}  # the last one asked for comes last

    def get(self, stream: Hashable, place: Hashable, make: Callable[[], Batch]) -> Batch:
        """Returns a batch, made now or before, that is the caller's to change.

        Args:
            stream: What all batches of the stream depend on.
            place: Which batch of the stream it is.
            make: Makes it; draws from the processor's generators alone.
        """
        kept = self._streams.pop(stream, None) or _Stream()
        self._streams[stream] = kept
        key = place, _digest(random_state(cards=False))
        if kept.file is not None and key in kept.places:
            start, end = kept.places[key]
            kept.file.seek(start)
            batch, state = torch.load(io.BytesIO(kept.file.read(end - start)), weights_only=True)
            set_random_state(state)
            return batch
        batch = make()
        self._keep(kept, key, batch)
        return batch

    def _keep(self, kept: _Stream, key: Hashable, batch: Batch) -> None:
        """Writes a batch, and the state after it, where there is room or can be made by the streams of before."""
        content = io.BytesIO()
        torch.save((tuple(part.clone() for part in batch), random_state(cards=False)), content)
        size = len(content.getbuffer())
        for other in [one for one in self._streams if self._streams[one] is not kept]:
            if self._size + size > self._limit:
                del self._streams[other]  # its file goes with it
        if self._size + size > self._limit:
            return
        try:
            kept.file = kept.file or tempfile.TemporaryFile()  # noqa: SIM115, it is closed with the stream
            kept.file.seek(kept.size)
            kept.file.write(content.getbuffer())
        except OSError:  # a full disk costs time alone
            return
        kept.places[key] = kept.size, kept.size + size
        kept.size += size

    @property
    def _size(self) -> int:
        return sum(one.size for one in self._streams.values())


def _digest(state: dict[str, Any]) -> bytes:
    """Returns a hash of the state of the processor's generators."""
    found = hashlib.sha256(state["torch"].numpy().tobytes())
    found.update(repr((state["python"], state["numpy"])).encode())
    return found.digest()
