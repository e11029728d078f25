"""Compressed sparse file: safetensors with a bitmask and the kept values of every sparse tensor, fp32 or INT8.

A tensor `name` is stored as itself, or where that is smaller as `name/bitmask`, eight weights a byte in row-major
order, the first in the highest bit, and `name/values`, what is not zero; the shapes are JSON in the header's metadata.
An INT8 weight also has `name/scale`, one value an output channel, and `name/input`, scale and zero point of its layer's
input.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.pruned_file import save_pruned
from cap.quantization import Int8Layer, apply_int8

FORMAT = "cap-sparse-1"


@dataclass(frozen=True)
class SparseFile:
    """Content of a compressed sparse file.

    Attributes:
        state: State of the model but for INT8 weights, {name: tensor}.
        int8: INT8 layers, {name of the weight: layer}.
        metadata: Texts that were written with it.
    """

    state: dict[str, Tensor]
    int8: dict[str, Int8Layer]
    metadata: dict[str, str]

    def load_into(self, model: nn.Module) -> None:
        """Gives a freshly built model the weights and, where these are INT8, the rounding of its layers' inputs.

        Raises:
            RuntimeError: If the names are not those of the model.
        """
        model.load_state_dict({**self.state, **{name: layer.weight() for name, layer in self.int8.items()}})
        apply_int8(model, self.int8)


def write(
    path: Path,
    model: nn.Module,
    int8: Mapping[str, Int8Layer] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a model.

    Args:
        path: File to write.
        model: Model to write.
        int8: INT8 layers, {name of the weight: layer}, in place of the model's own weights of these names.
        metadata: Texts to be kept with it.
    """
    int8 = int8 or {}
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, value in model.state_dict().items():
        if name in int8:
            layer = int8[name]
            value = layer.values
            tensors[f"{name}/scale"] = layer.scale
            tensors[f"{name}/input"] = torch.tensor([layer.input_scale, layer.input_zero_point], dtype=torch.float64)
        flat = value.cpu().flatten()
        kept = flat != 0
        if math.ceil(len(flat) / 8) + int(kept.sum()) * flat.itemsize < flat.nbytes:
            tensors[f"{name}/bitmask"] = torch.from_numpy(np.packbits(kept.numpy()))
            tensors[f"{name}/values"] = flat[kept]
            shapes[name] = list(value.shape)
        else:
            tensors[name] = value
    header = {**(metadata or {}), "format": FORMAT, "shapes": json.dumps(shapes, separators=(",", ":"))}
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, path, header)


def read(path: Path) -> SparseFile:
    """Reads what `write` wrote; every value is the one that was written.

    Raises:
        UserError: If it is no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except Exception as error:  # noqa: BLE001  safetensors has its own class, the system others
        raise UserError(f"{path} is no readable safetensors file: {error}") from None
    if metadata.pop("format", None) != FORMAT:
        raise UserError(f"{path} is no compressed sparse file of the format {FORMAT}")
    for name, shape in json.loads(metadata.pop("shapes")).items():
        values = tensors.pop(f"{name}/values")
        kept = np.unpackbits(tensors.pop(f"{name}/bitmask").numpy(), count=math.prod(shape)).astype(bool)
        flat = torch.zeros(math.prod(shape), dtype=values.dtype)
        flat[torch.from_numpy(kept)] = values
        tensors[name] = flat.view(shape)
    int8 = {}
    for name in [key.removesuffix("/scale") for key in tensors if key.endswith("/scale")]:
        scale, (step, zero_point) = tensors.pop(f"{name}/scale"), tensors.pop(f"{name}/input").tolist()
        int8[name] = Int8Layer(tensors.pop(name), scale, step, int(zero_point))
    return SparseFile(tensors, int8, metadata)


def sparse_bytes(model: nn.Module, int8: Mapping[str, Int8Layer] | None = None) -> int:
    """Returns the size of the compressed sparse file of a model, written and read back.

    Raises:
        RuntimeError: If what is read is not what was written.
    """
    int8 = int8 or {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sparse.safetensors")
        write(path, model, int8)
        found = read(path)
        for name, value in model.state_dict().items():
            same = found.int8[name].values if name in int8 else found.state[name]
            if not torch.equal(same, int8[name].values.cpu() if name in int8 else value.cpu()):
                raise RuntimeError(f"{name} does not come back from its compressed sparse file as it was")
        return path.stat().st_size


def dense_bytes(model: nn.Module) -> int:
    """Returns the size of a model as a plain safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dense.safetensors")
        save_pruned(path, model, {})
        return path.stat().st_size
