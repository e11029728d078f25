"""Files of pruned models for `load`: zeros take a bit, and no Python objects are in them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime.compiled import CompiledModel
from cap.runtime.compiler import compile

FORMAT = "cap.runtime model, version 1"
_ABOUT = "about"
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)

Create = Callable[..., nn.Module]


def save(
    path: str | os.PathLike[str], model: nn.Module, name: str, options: Mapping[str, Any], input_shape: tuple[int, ...]
) -> None:
    """Writes a pruned model.

    Args:
        path: File to write.
        model: Pruned model.
        name: Name by which `load` has the architecture made.
        options: Options of the same, in terms of JSON.
        input_shape: Shape of an image, (channels, height, width).
    """
    state = model.state_dict()
    about = {"format": FORMAT, "name": name, "options": dict(options), "input_shape": list(input_shape)}
    arrays = {_ABOUT: np.frombuffer(json.dumps({**about, "tensors": list(state)}).encode(), np.uint8)}
    for i, tensor in enumerate(state.values()):
        values = tensor.detach().cpu().contiguous().numpy()
        kept = values != 0
        arrays[f"{i}.shape"] = np.array(values.shape, np.int64)
        if kept.all():
            arrays[f"{i}.values"] = values.reshape(-1)
        else:
            arrays[f"{i}.values"], arrays[f"{i}.kept"] = values[kept], np.packbits(kept.reshape(-1))
    with Path(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(
    path: str | os.PathLike[str],
    create: Create,
    batch: int = 1,
    cache: str | os.PathLike[str] | None = None,
    int8: bool = False,
) -> CompiledModel:
    """Returns the model of a file, compiled for this machine.

    Args:
        path: File that `save` or `capbench export --format runtime` wrote.
        create: Function that makes an architecture by name and options, such as `timm.create_model`.
        batch: Images in a pass for which it is compiled; any other number will do later.
        cache: Folder in which the compiled model is kept, see `compile`.
        int8: Whether sparse layers multiply integers of eight bits, see `compile`.

    Raises:
        ValueError: If the file is damaged or of something else, or the architecture has other weights.
    """
    about, state = _read(Path(path))
    model = create(about["name"], **about["options"]).eval()
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise ValueError(f"{path} is of another {about['name']} than {create.__name__} makes here") from None
    return compile(model, torch.zeros(batch, *about["input_shape"]), cache=cache, int8=int8)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns what a file says about its model, and the model's state.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or of something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            about = json.loads(file[_ABOUT].tobytes())
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            return about, {name: _tensor(file, i) for i, name in enumerate(about["tensors"])}
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise ValueError(f"{path} is no file of {FORMAT}, or it is damaged: {error}") from None


def _tensor(file: Mapping[str, np.ndarray], number: int) -> Tensor:
    shape, values = tuple(file[f"{number}.shape"]), file[f"{number}.values"]
    if f"{number}.kept" in file:
        size = int(np.prod(shape))
        whole = np.zeros(size, values.dtype)
        whole[np.unpackbits(file[f"{number}.kept"], count=size).astype(bool)] = values
        values = whole
    return torch.from_numpy(values.reshape(shape))
