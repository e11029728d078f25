"""Export as a repository of the Hugging Face hub: a configuration that timm reads, and the upload of the folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.export.source import PrunedModel
from bench.models import ModelSpec
from bench.results.schema import ResultRow
from bench.results.submissions import PROTOCOL
from bench.specs.sweep import EXPORT
from bench.specs.trial import Trial
from bench.trials.structured import has_units

CONFIG = "config.json"


def is_of_timm(spec: ModelSpec) -> bool:
    """Returns whether timm makes the architecture by its name."""
    import timm

    return timm.is_model(spec.timm_name.partition(".")[0])


def timm_config(pruned: PrunedModel) -> dict[str, Any]:
    """Returns the configuration by which timm makes the model, prepares its images and loads its weights.

    Args:
        pruned: A model of timm, all its units there.
    """
    spec, model = pruned.spec, pruned.model
    found: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    preparation = spec.preparation()
    channels, *size = spec.input_shape
    classes = int(getattr(model, "num_classes", spec.num_classes))
    names = preparation.get("classes")
    return {
        "architecture": spec.timm_name.partition(".")[0],
        "num_classes": classes,
        "num_features": int(getattr(model, "num_features", 0)),
        **({"label_names": list(names)} if names and len(names) == classes else {}),
        "model_args": {**spec.timm_options, "num_classes": classes},
        "pretrained_cfg": {
            "tag": f"{pruned.row.pruner.rpartition(':')[2]}_{pruned.row.pattern}" if pruned.row.pruner else "pruned",
            "custom_load": False,
            "input_size": [channels, *size],
            "fixed_input_size": bool(found.get("fixed_input_size", False)),
            "interpolation": preparation.get("interpolation", "bicubic"),
            "crop_pct": preparation.get("crop_pct", 1.0),
            "crop_mode": preparation.get("crop_mode", "center"),
            "mean": _per_channel(preparation["mean"], channels),
            "std": _per_channel(preparation["std"], channels),
            "num_classes": classes,
            "first_conv": found.get("first_conv"),
            "classifier": found.get("classifier"),
        },
    }


def _per_channel(value: Any, channels: int) -> list[float]:
    """Returns a value for each channel."""
    return [float(one) for one in value] if isinstance(value, list | tuple) else [float(value)] * channels


def check_push(repository: str, source: Trial | Path | str, int8: bool, formats: Sequence[str]) -> None:
    """Makes sure, before any work, that a model can be pushed to the hub as far as this machine can tell.

    Args:
        repository: Name of the repository, USER/NAME.
        source: Trial to run, or file that training with pruning left.
        int8: Whether the model is in INT8.
        formats: Formats that are written.

    Raises:
        UserError: If the name is not valid, there is no token, or timm could not load the model.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"--push-to-hub {repository!r} is no name of a repository, USER/NAME: {error}") from None
    if int8 or "safetensors" not in formats:
        raise UserError("--push-to-hub is for timm, which reads safetensors in single precision alone")
    if isinstance(source, Trial):
        resolved = source.resolve()
        if not is_of_timm(resolved.model):
            raise UserError(f"--push-to-hub is for models of timm, which {source.model} is not")
        if any(has_units(pattern) for pattern in resolved.patterns):
            raise UserError(f"--push-to-hub: timm cannot load a model without units, such as of {source.patterns[-1]}")
    if get_token() is None:
        reason = "--push-to-hub needs a token of the hub: hf auth login, or HF_TOKEN"
        raise UserError(f"{reason}; without --push-to-hub the same folder is written")


def push(folder: Path, names: Sequence[str], repository: str) -> str:
    """Uploads the files of an export and returns the address of the repository, which is made if need be.

    Args:
        folder: Folder of the export.
        names: Names of its files.
        repository: Name of the repository, USER/NAME.

    Raises:
        UserError: If the hub cannot be reached or refuses; the folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="cap-bench")
    try:
        url = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, allow_patterns=list(names),
                          commit_message="Pruned model by capbench export")  # fmt: skip
    except Exception as error:  # noqa: BLE001  the hub's client raises errors of its own and of its transport
        reason = " ".join(str(error).split()) or type(error).__name__
        again = f"hf upload {shlex.quote(repository)} {shlex.quote(str(folder))}"
        raise UserError(f"{folder} is written, but was not pushed to {repository}: {reason}; later: {again}") from None
    return str(url)


def front_matter(pruned: PrunedModel) -> list[str]:
    """Returns the lines in front of a model card that the hub reads."""
    row = pruned.row
    return [
        "---",
        "library_name: timm",
        "pipeline_tag: image-classification",
        "tags: [timm, image-classification, pruned, sparse, cap-bench]",
        "model-index:",
        f"- name: {row.model} pruned to {row.pattern} by {row.pruner}",
        "  results:",
        "  - task: {type: image-classification}",
        f"    dataset: {{name: {row.dataset}, type: {row.dataset}, split: {row.split or 'test'}}}",
        "    metrics:",
        f"    - {{type: accuracy, name: top-1, value: {row.top1:.2f}}}",
        "---",
        "",
    ]


def how_made(row: ResultRow, int8: bool) -> list[str]:
    """Returns the lines of a card on protocol and command."""
    images = "" if row.calibration_images is None else f"Calibrated on {row.calibration_images:,} training images. "
    return [
        "",
        f"{images}Measured on the images of `{row.split or 'test'}`; protocol of cap-bench, version {PROTOCOL}.",
        "",
        "```sh",
        *_commands(row, int8),
        "```",
    ]


def _commands(row: ResultRow, int8: bool) -> list[str]:
    """Returns the commands that make the model and its files again."""
    profile = [] if row.profile in (None, "embedded") else ["--profile", str(row.profile)]
    if row.sweep != EXPORT:
        only = ["--only", f"model={row.model}", "--only", f"pruner={row.pruner}", "--seeds", row.seed]
        run = ["capbench", "run", row.sweep, *only, *profile]
        file = f"runs/{row.profile}/{row.sweep}/{row.trial_id}/{row.pattern}.safetensors"
        return [_joined(run), _joined(["capbench", "export", file, *(["--int8"] if int8 else [])])]
    options = json.loads(row.pruner_options or "{}")
    given = ["--option", *(f"{key}={json.dumps(value)}" for key, value in options.items())] if options else []
    tuned = ["--finetune"] if row.phase in ("finetuned", "int8_finetuned") else []
    words = ["capbench", "export", "--model", row.model, "--pruner", row.pruner, *given, "--sparsity", row.pattern,
             "--seed", row.seed, *tuned, *(["--int8"] if int8 else []), *profile]  # fmt: skip
    return [_joined(words)]


def _joined(words: Sequence[object]) -> str:
    return shlex.join(map(str, words))
