"""Formats of exported models: a timm checkpoint, a compressed sparse file, ONNX, one for the sparse runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.core.errors import UserError
from bench.core.packages import require
from bench.export.card import card
from bench.export.hub import CONFIG, is_of_timm, timm_config
from bench.export.small import load_small
from bench.export.source import PrunedModel
from bench.models import sparse_file
from bench.trials.int8 import check_installed
from cap.layers import owner
from cap.quantization import Int8Layer

FormatName = Literal["safetensors", "sparse", "onnx", "runtime"]
MASKS = "masks.safetensors"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_formats(formats: Sequence[FormatName], int8: bool) -> None:
    """Refuses, before any work, what cannot be written.

    Raises:
        UserError: If a format does not hold an INT8 model, or a package is missing.
    """
    if int8:
        if "safetensors" in formats:
            raise UserError("--format safetensors holds single precision alone: an INT8 model goes to sparse or onnx")
        if "runtime" in formats:
            raise UserError("--format runtime holds single precision alone: an INT8 model goes to sparse or onnx")
        check_installed()
    if "onnx" in formats:
        require(ONNX_PACKAGES, "engines", "--format onnx")


def write_safetensors(pruned: PrunedModel, path: Path, images: Tensor) -> Tensor:
    """Writes a checkpoint that timm loads, with its masks in a second file, where timm does not stumble over them.

    With the configuration beside it timm loads the folder, as a repository of the hub. Where units are gone it is for
    `bench.load_small`.
    """
    state = {name: value.contiguous() for name, value in pruned.model.state_dict().items()}
    save_file(state, path, {"format": "pt", "card": json.dumps(card(pruned))})
    save_file({name: mask.contiguous() for name, mask in pruned.masks.items()}, path.with_name(MASKS))
    model = _read_back(pruned, path)
    with torch.inference_mode():
        return model(images)


def _read_back(pruned: PrunedModel, path: Path) -> nn.Module:
    """Returns the model of a checkpoint that was written, in eval mode; of timm's through a configuration beside it."""
    if pruned.removed:
        return load_small(path)
    if not is_of_timm(pruned.spec):
        return pruned.spec.build(checkpoint_path=path).eval()
    import timm

    path.with_name(CONFIG).write_text(json.dumps(timm_config(pruned), indent=2) + "\n")
    return timm.create_model(f"local-dir:{path.parent}", pretrained=True).eval()


def write_sparse(pruned: PrunedModel, path: Path, images: Tensor) -> Tensor:
    """Writes a compressed sparse file: see `bench.models.sparse_file`."""
    sparse_file.write(path, pruned.model, pruned.int8, {"card": json.dumps(card(pruned))})
    model = pruned.build()
    sparse_file.read(path).load_into(model)
    with torch.inference_mode():
        return model(images)


def write_onnx(pruned: PrunedModel, path: Path, images: Tensor) -> Tensor:
    """Writes an ONNX graph from images to logits, of any batch size; ONNX Runtime reads it back."""
    import onnxruntime

    model = _with_int8_operators(pruned) if pruned.int8 else pruned.model
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.onnx.export(
            model,
            (images[:2],),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where in which file on this machine each comes from
    program.model.metadata_props["card"] = json.dumps(card(pruned))
    program.save(path)
    options = onnxruntime.SessionOptions()
    # the graph as it is: without VNNI the integer kernels that take its place saturate sums of products
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def write_runtime(pruned: PrunedModel, path: Path, images: Tensor) -> Tensor:
    """Writes a file for `cap.runtime.load`, which compiles it where it runs.

    Raises:
        UserError: If units are gone: the architecture is no longer the one that its name stands for.
    """
    import timm

    from cap import runtime

    if pruned.removed:
        raise UserError("--format runtime is for models with all their units: export a smaller one to onnx")
    create = timm.create_model if is_of_timm(pruned.spec) else _maker(pruned)
    runtime.save(path, pruned.model, pruned.spec.timm_name, pruned.spec.timm_options, pruned.spec.input_shape)
    model = runtime.load(path, create, batch=len(images[:16]))
    with torch.inference_mode():
        return model(images)


def _maker(pruned: PrunedModel) -> Callable[..., nn.Module]:
    """Returns a function that makes an architecture which timm does not know by its name."""

    def make(name: str, **options: Any) -> nn.Module:
        return pruned.spec.build(**options)

    return make


@dataclass(frozen=True)
class FileFormat:
    """Format of an exported model.

    Attributes:
        file: Name of the file, of a model in single precision.
        write: Writer to a path; it reads the file back and returns its outputs on the images given.
        limit: Largest difference of outputs, in units of the largest output.
        int8_limit: Largest difference of an INT8 model's outputs, in the same units.
    """

    file: str
    write: Callable[[PrunedModel, Path, Tensor], Tensor]
    limit: float = 1e-6
    int8_limit: float = 1e-6

    def path(self, folder: Path, int8: bool) -> Path:
        """Returns the path of the file in a folder."""
        return folder / (self.file.replace("model", "model.int8") if int8 else self.file)


FORMATS: dict[str, FileFormat] = {
    "safetensors": FileFormat("model.safetensors", write_safetensors),
    "sparse": FileFormat("model.sparse.safetensors", write_sparse),
    # an engine's INT8 kernels round at other places
    "onnx": FileFormat("model.onnx", write_onnx, limit=1e-4, int8_limit=0.05),
    "runtime": FileFormat("model.runtime.npz", write_runtime, limit=1e-4),
}


def file_names(formats: Sequence[FormatName], int8: bool) -> list[str]:
    """Returns the names of all files of an export."""
    names = [FORMATS[name].path(Path(), int8).name for name in formats]
    return [*names, *([MASKS, CONFIG] if "safetensors" in formats else []), "card.json", "README.md"]


def largest_bytes(dense: int, formats: Sequence[FormatName]) -> int:
    """Returns how much the files of an export take at most.

    Args:
        dense: Bytes of the model's state in single precision.
        formats: Formats that are written.
    """
    # a byte for each mask, a bit for each weight that a bitmask tells of; cards and headers are small
    factors = {"safetensors": 1.25, "sparse": 1 + 1 / 32, "onnx": 1.0, "runtime": 1 + 1 / 32}
    return int(sum(factors[name] * dense + 2**20 for name in formats))


class _Dequantized(nn.Module):
    """Weight of INT8 values, in terms that ONNX has an operator for."""

    def __init__(self, layer: Int8Layer) -> None:
        super().__init__()
        self.register_buffer("scale", layer.scale)
        self.register_buffer("zero_point", torch.zeros(len(layer.scale), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Returns the weight in float32."""
        dequantize = torch.ops.quantized_decomposed.dequantize_per_channel
        return dequantize(values, self.scale, self.zero_point, 0, -128, 127, torch.int8)


def _with_int8_operators(pruned: PrunedModel) -> nn.Module:
    """Returns an INT8 model that holds its weights as int8 and rounds inputs in terms that ONNX has operators for."""
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  defines the operators

    result = pruned.spec.build().eval()
    result.load_state_dict(pruned.model.state_dict())
    for name, layer in pruned.int8.items():
        module, weight = owner(result, name), name.rpartition(".")[2]
        delattr(module, weight)
        module.register_parameter(weight, nn.Parameter(layer.values, requires_grad=False))
        parametrize.register_parametrization(module, weight, _Dequantized(layer), unsafe=True)  # it changes the type
        module.register_forward_pre_hook(_rounding(layer))
    return result


def _rounding(layer: Int8Layer) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    ops, grid = torch.ops.quantized_decomposed, (layer.input_scale, layer.input_zero_point, 0, 255, torch.uint8)
    return lambda _, inputs: (
        ops.dequantize_per_tensor(ops.quantize_per_tensor(inputs[0], *grid), *grid),
        *inputs[1:],
    )
