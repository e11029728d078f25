"""Compiled models on disk: what was chosen for each layer, and the programs of the chosen layers."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
import zipfile
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime import candidates, machine
from cap.runtime.codegen import Replay
from cap.runtime.compiled import CompiledModel
from cap.runtime.folding import Fold, fold
from cap.runtime.program import Listing
from cap.runtime.report import LayerReport, Report

_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)


def cache_key(model: nn.Module, example: Tensor, force: bool, int8: bool = False) -> str:
    """Returns a checksum of all that a compiled model depends on.

    These are the model's structure and weights, the example's size, the processor, the number of threads, the versions
    of torch, numba and Python's own, and the code of this package.
    """
    checksum = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        checksum.update(path.read_bytes())
    versions = (torch.__version__, numba.__version__, np.__version__)
    place = (machine.processor(), machine.engine(int8), torch.get_num_threads())
    checksum.update(repr((versions, place, tuple(example.shape), force, str(model))).encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        checksum.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        checksum.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()


class Cache:
    """Folder of compiled models, a file each.

    Args:
        folder: The folder; it is made when a model is written.

    Raises:
        ValueError: If it is something else than a folder.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"cache={str(folder)!r} is no folder: give one for the compiled models, or a new name")
        self.folder = folder

    def path(self, key: str) -> Path:
        """Returns the file of a compiled model."""
        return self.folder / f"{key[:32]}.npz"

    def read(self, key: str, model: nn.Module) -> CompiledModel | None:
        """Returns a model as it was compiled before.

        Args:
            key: Checksum of the model and all else, from `cache_key`.
            model: The pruned model.

        Returns:
            The compiled model; None if there is none, or its file is damaged or of something else.
        """
        path = self.path(key)
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                if about["key"] != key:
                    raise ValueError("it is of another model or machine")
                listings = [
                    Listing(*(file[f"{i}.{part.name}"] for part in fields(Listing))) for i in range(about["programs"])
                ]
            return _restore(model, about["report"], about["program_of"], listings)
        except _DAMAGED as error:
            warnings.warn(f"{path} cannot be used ({error}): the model is compiled again", stacklevel=3)
            return None

    def write(self, key: str, compiled: CompiledModel) -> None:
        """Keeps a compiled model; warns if that cannot be done."""
        programs: dict[nn.Module, int] = {}
        program_of = {}
        for layer in compiled.report().sparse_layers():
            module = compiled.model.get_submodule(layer.name)
            program_of[layer.name] = programs.setdefault(module, len(programs))
        about = {
            "key": key, "report": asdict(compiled.report()), "programs": len(programs), "program_of": program_of,
        }  # fmt: skip
        arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        for module, i in programs.items():
            listing = module.program.listing()  # type: ignore[union-attr, operator]
            arrays |= {f"{i}.{part.name}": getattr(listing, part.name) for part in fields(Listing)}
        draft = self.path(key).with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            draft.replace(self.path(key))
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            warnings.warn(f"the compiled model is not kept: {error}", stacklevel=3)


def _restore(
    model: nn.Module, values: dict[str, Any], program_of: dict[str, int], listings: list[Listing]
) -> CompiledModel:
    """Returns a model compiled by what is on disk."""
    layers = [
        LayerReport(**{**layer, "shape": tuple(layer["shape"]), "arguments": tuple(layer["arguments"])})
        for layer in values.pop("layers")
    ]
    folds = [Fold(**{**found, "shape": tuple(found["shape"])}) for found in values.pop("folds")]
    report = Report(**{**values, "layers": layers, "folds": folds, "cached": True})
    root = nn.Sequential(copy.deepcopy(model))
    fold(root, folds)
    built: dict[int, nn.Module] = {}
    for layer in report.sparse_layers():
        candidate = candidates.find(
            root.get_submodule(f"0.{layer.name}".removesuffix(".")), layer.shape, layer.arguments
        )
        if candidate is None or candidate.kind != layer.kind:
            raise ValueError(f"the layer {layer.name} has become another one")
        number = program_of[layer.name]
        if number not in built:
            built[number] = candidate.build(Replay(listings[number], report.int8))
        parent, _, child = f"0.{layer.name}".removesuffix(".").rpartition(".")
        setattr(root.get_submodule(parent), child, built[number])
    return CompiledModel(root[0], report)
