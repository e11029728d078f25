"""Pruned models as files that others read: a timm checkpoint, a compressed sparse file, ONNX; each is read back."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.core import provenance
from bench.core.errors import UserError, first_mistake
from bench.data.inputs import stack_batches
from bench.evaluation.accuracy import evaluate
from bench.models import ModelSpec, get_model, sparse_file
from bench.reports.common.text import kibibytes
from bench.results.schema import ResultRow
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles import get_profile
from bench.specs.recipes import QuantizationSpec
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.int8 import check_installed, int8_layers, observed, quantized
from bench.trials.measurement import Measurement
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial
from cap.layers import owner, select_layers
from cap.quantization import Int8Layer

Format = Literal["safetensors", "sparse", "onnx"]
ENGINES = ("onnx", "onnxscript", "onnxruntime")
NAMES = {"safetensors": "model.safetensors", "sparse": "model.sparse.safetensors", "onnx": "model.onnx"}
CHECKED_IMAGES = 256
# largest difference of outputs, in units of the largest output; an engine's INT8 kernels round at other places
LIMITS = {"safetensors": 1e-6, "sparse": 1e-6, "onnx": 1e-4}
INT8_ONNX_LIMIT = 0.05
# columns of a result row that the card takes over
ROW = (
    "profile", "sweep", "trial_id", "model", "family", "dataset", "pruner", "pruner_options", "pattern", "regime",
    "recipe", "phase", "epoch", "seed", "sparsity_prunable", "sparsity_model", "top1", "top5", "loss", "n_images",
    "top1_dense", "params_dense", "params_nonzero", "macs_dense", "macs_sparse", "calibration_images", "num_gradients",
    "commit", "dirty", "versions",
)  # fmt: skip

JSON = ("pruner_options", "recipe", "versions")


@dataclass(frozen=True)
class Pruned:
    """A pruned model and where it comes from.

    Attributes:
        spec: Its architecture.
        model: On the CPU, in eval mode; in INT8 it computes so.
        masks: {parameter name: keep-mask}.
        int8: {parameter name: INT8 layer}, empty for single precision.
        row: The columns ROW of its result row.
    """

    spec: ModelSpec
    model: nn.Module
    masks: dict[str, Tensor]
    int8: Mapping[str, Int8Layer]
    row: dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A file that was written and read back.

    Attributes:
        format: Its format.
        path: The file.
        error: Largest difference of the outputs of what was read back.
    """

    format: str
    path: Path
    error: float


def check_formats(formats: Sequence[Format], int8: bool) -> None:
    """Refuses, before any work, what cannot be written.

    Raises:
        UserError: If a format does not hold an INT8 model, or a package is missing.
    """
    if int8:
        if "safetensors" in formats:
            raise UserError("--format safetensors holds single precision alone: an INT8 model goes to sparse or onnx")
        check_installed()
    missing = [name for name in ENGINES if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise UserError(f"--format onnx needs {', '.join(missing)}: pip install -c constraints.txt -e '.[engines]'")


def prune(
    profile: str,
    model: str,
    pruner: str,
    options: Mapping[str, Any],
    pattern: str,
    seed: int,
    finetune: bool,
    int8: bool,
    device: str = "cpu",
) -> Pruned:
    """Prunes a model at once as a trial does, with the profile's settings.

    Args:
        profile: A profile of `bench.specs.profiles.PROFILES`.
        model: A model of it.
        pruner: A name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: They take precedence over what the profile sets.
        pattern: What `cap.parse_pattern` reads.
        seed: Of the calibration images and the training.
        finetune: Train after pruning; with `int8` in INT8.
        int8: Quantize weights and activations.
        device: The torch device.

    Raises:
        UserError: If one of these is not valid, or the pruner cannot prune so.
    """
    settings = get_profile(profile)
    spec = settings.model(model)
    if int8 and finetune and settings.recipes.quantization is None:
        raise UserError(f"--finetune --int8: profile {profile} has no training in INT8")
    try:
        trial = Trial(
            sweep="export",
            profile=profile,
            model=model,
            pruner=pruner,
            pruner_options={**settings.pruner_options(pruner), **options},
            patterns=(pattern,),
            finetune_at=(pattern,) if finetune and not int8 else (),
            finetune=settings.recipes.finetune if finetune and not int8 else None,
            quantization=(settings.recipes.quantization if finetune else QuantizationSpec()) if int8 else None,
            seed=seed,
        )
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None
    except ValueError as error:
        raise UserError(str(error)) from None
    last: list[tuple[Measurement, ResultRow]] = []
    recorder = TrialRecorder(trial.resolve(), device, lambda *state: last.append(state))
    run_trial(trial, recorder, ExecutionConfig(device))
    if not last:
        raise UserError(f"{pruner} cannot prune to {pattern}: {recorder.rows[-1].error}")
    measured, row = last[-1]
    pruned, layers = measured.model, measured.int8
    weights = select_layers(pruned, spec.prunable)
    masks = {name: (weight != 0).cpu() for name, weight in weights.items()}
    return Pruned(spec, pruned.cpu().eval(), masks, layers or {}, _kept(vars(row)))


def load(path: Path, int8: bool) -> Pruned:
    """Loads what training with pruning left beside its results: `results/PROFILE/SWEEP/TRIAL/PATTERN.safetensors`.

    Args:
        path: The file.
        int8: Quantize weights and activations.

    Raises:
        UserError: If it is no such file, its trial's rows are missing, or its accuracy is not the one in them.
    """
    trial = path.absolute().parent
    results = trial.with_name(f"{trial.name}.parquet")
    for needed in (path, results):
        if not needed.is_file():
            raise UserError(f"{needed} does not exist: give PATTERN.safetensors of a trial, its rows beside the folder")
    rows = pd.read_parquet(results)
    found = rows[(rows["pattern"] == path.stem) & (rows["status"] == "done")].to_dict("records")
    if not found:
        raise UserError(f"{results} has no row of the pattern {path.stem}")
    row = _kept(found[-1])
    spec = get_model(row["profile"], row["model"])
    tensors = load_file(path)
    masks = {name.removeprefix("mask."): tensors.pop(name) for name in list(tensors) if name.startswith("mask.")}
    model = spec.build().eval()
    model.load_state_dict(tensors)
    top1 = evaluate(model, spec.inputs("test")).top1
    if abs(top1 - row["top1"]) > spec.gate:
        raise UserError(f"{path} has {top1:.2f} % top-1, but its row says {row['top1']:.2f} %: it is of another run")
    if not int8:
        return Pruned(spec, model, masks, {}, row)
    images, _ = stack_batches(spec.inputs("train").subset(CalibrationSpec().images, row["seed"]))
    layers = int8_layers(observed(model, images))
    model = quantized(model, layers)
    accuracy = evaluate(model, spec.inputs("test"))
    measured = {"top1": accuracy.top1, "top5": accuracy.top5, "loss": accuracy.loss, "phase": "int8"}
    return Pruned(spec, model, masks, layers, {**row, **measured})


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that the card takes over, as JSON has them."""
    values = {name: row.get(name) for name in ROW}
    plain = {name: getattr(value, "tolist", lambda value=value: value)() for name, value in values.items()}
    return {name: None if pd.isna(value) else value for name, value in plain.items()}


def export(pruned: Pruned, formats: Sequence[Format], folder: Path) -> list[Written]:
    """Writes a pruned model in each format, reads it back and compares outputs; and a card about it.

    Args:
        pruned: The model.
        formats: What to write.
        folder: Where to; it is made if need be, and files of the same names are replaced.

    Returns:
        The files written, but for the cards and the masks.

    Raises:
        RuntimeError: If what is read back does not give the same outputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, _ = next(pruned.spec.inputs("test").batches(CHECKED_IMAGES))
    with torch.inference_mode():
        expected = pruned.model(images)
    written = []
    for name in formats:
        path = folder / (NAMES[name].replace("model", "model.int8") if pruned.int8 else NAMES[name])
        given = WRITERS[name](pruned, path, images)
        error = float((given - expected).abs().max())
        limit = INT8_ONNX_LIMIT if pruned.int8 and name == "onnx" else LIMITS[name]
        if not error <= limit * float(expected.abs().max()):
            raise RuntimeError(f"{path} gives other outputs: they differ by up to {error:.3g}")
        written.append(Written(name, path, error))
    (folder / "card.json").write_text(json.dumps(card(pruned), indent=1) + "\n")
    (folder / "README.md").write_text(_readme(pruned, written))
    return written


def _safetensors(pruned: Pruned, path: Path, images: Tensor) -> Tensor:
    """Writes a checkpoint that timm loads, with its masks in a second file, where timm does not stumble over them."""
    state = {name: value.contiguous() for name, value in pruned.model.state_dict().items()}
    save_file(state, path, {"format": "pt", "card": json.dumps(card(pruned))})
    save_file({name: mask.contiguous() for name, mask in pruned.masks.items()}, path.with_name("masks.safetensors"))
    with torch.inference_mode():
        return pruned.spec.build(checkpoint_path=path).eval()(images)


def _sparse(pruned: Pruned, path: Path, images: Tensor) -> Tensor:
    sparse_file.write(path, pruned.model, pruned.int8, {"card": json.dumps(card(pruned))})
    model = pruned.spec.build().eval()
    sparse_file.read(path).load_into(model)
    with torch.inference_mode():
        return model(images)


def _onnx(pruned: Pruned, path: Path, images: Tensor) -> Tensor:
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
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


WRITERS = {"safetensors": _safetensors, "sparse": _sparse, "onnx": _onnx}


class _Dequantized(nn.Module):
    """A weight of INT8 values, in terms that ONNX has an operator for."""

    def __init__(self, layer: Int8Layer) -> None:
        super().__init__()
        self.register_buffer("scale", layer.scale)
        self.register_buffer("zero_point", torch.zeros(len(layer.scale), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Returns the weight in float32."""
        dequantize = torch.ops.quantized_decomposed.dequantize_per_channel
        return dequantize(values, self.scale, self.zero_point, 0, -128, 127, torch.int8)


def _with_int8_operators(pruned: Pruned) -> nn.Module:
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
    ops, how = torch.ops.quantized_decomposed, (layer.input_scale, layer.input_zero_point, 0, 255, torch.uint8)
    return lambda _, inputs: (ops.dequantize_per_tensor(ops.quantize_per_tensor(inputs[0], *how), *how), *inputs[1:])


def card(pruned: Pruned) -> dict[str, Any]:
    """Returns what there is to know about the model and how it was made."""
    sparsities = {name: 1 - float(mask.double().mean()) for name, mask in pruned.masks.items()}
    return {
        "architecture": pruned.spec.timm_name,
        "options": pruned.spec.timm_options,
        "input": pruned.spec.preparation(),
        **{name: json.loads(value) if value and name in JSON else value for name, value in pruned.row.items()},
        "exported_at_commit": provenance.commit(),
        "layer_sparsity": sparsities,
        "int8_layers": list(pruned.int8),
    }


def sizes(pruned: Pruned) -> dict[str, int]:
    """Returns the bytes of the model as a dense file, a sparse one and, in INT8, a sparse INT8 one, as written."""
    found = {"dense fp32": sparse_file.dense_bytes(pruned.model), "sparse fp32": sparse_file.sparse_bytes(pruned.model)}
    return found | ({"sparse INT8": sparse_file.sparse_bytes(pruned.model, pruned.int8)} if pruned.int8 else {})


def _readme(pruned: Pruned, written: Sequence[Written]) -> str:
    row = pruned.row
    options = "".join(f", {key}={value!r}" for key, value in pruned.spec.timm_options.items())
    lines = [
        f"# {row['model']} pruned to {row['pattern']} by {row['pruner']}" + (", INT8" if pruned.int8 else ""),
        "",
        f"{row['top1']:.2f} % top-1 on {row['n_images']:,} test images of {row['dataset']} (dense "
        f"{row['top1_dense']:.2f} %); {100 * row['sparsity_prunable']:.2f} % of the prunable weights are zero. Phase "
        f"{row['phase']}, seed "
        f"{row['seed']}, commit {(row['commit'] or 'unknown')[:12]}. All else is in [card.json](card.json).",
        "",
        "| file | KiB | largest difference of outputs when read back |",
        "| --- | --- | --- |",
        *(f"| {w.path.name} | {kibibytes(w.path.stat().st_size)} | {w.error:.3g} |" for w in written),
        "",
        "Sizes as written, KiB: "
        + ", ".join(f"{name} {kibibytes(size)}" for name, size in sizes(pruned).items())
        + ".",
    ]
    formats = {w.format for w in written}
    if "safetensors" in formats:
        lines += ["", "```python", f'timm.create_model("{pruned.spec.timm_name}"{options}, '
                  'checkpoint_path="model.safetensors")', "```"]  # fmt: skip
    if "sparse" in formats:
        lines += ["", "`bench.models.sparse_file.read(path).load_into(model)` reads the sparse file."]
    return "\n".join(lines) + "\n"
