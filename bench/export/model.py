"""Export of a pruned model: each file is read back and compared, and a card is written beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.execution.preflight import check_device
from bench.export.card import WrittenFile, card, readme, sizes
from bench.export.formats import FORMATS, FormatName, check_formats, file_names, largest_bytes
from bench.export.hub import check_push, push
from bench.export.output import check_output, whole_output
from bench.export.source import PrunedModel, check_trial, dense_bytes, load, run
from bench.specs.trial import Trial

CHECKED_IMAGES = 256


@dataclass(frozen=True)
class Export:
    """Exported model and its files.

    Attributes:
        pruned: Model that was exported.
        files: Files that were written, but for the cards and the masks.
        sizes: Bytes of the model by kind of file: dense, sparse and, in INT8, sparse INT8.
        url: Address of the hub's repository that the files were pushed to; None where they were not.
    """

    pruned: PrunedModel
    files: list[WrittenFile]
    sizes: dict[str, int]
    url: str | None = None


def export_model(
    source: Trial | Path | str,
    folder: Path | str,
    formats: Sequence[FormatName] = (),
    int8: bool = False,
    device: str = "cpu",
    push_to: str | None = None,
) -> Export:
    """Writes a pruned model in several formats, reads each file back and compares outputs; and a card about it.

    Args:
        source: Trial to run, whose last pruned model is exported; or file that training with pruning left:
            `runs/PROFILE/SWEEP/TRIAL/PATTERN.safetensors`.
        folder: Folder to write to; it is made if need be, and files of the same names are replaced.
        formats: Formats to write, of `bench.export.formats.FORMATS`; by default safetensors, for INT8 sparse.
        int8: Whether to quantize the model of a file; a trial says so itself.
        device: Torch device to run the trial on.
        push_to: Repository of the Hugging Face hub, USER/NAME, that the files are pushed to once they are written.

    Raises:
        UserError: If a format cannot hold the model, a package is missing, the source cannot be used, the folder
            cannot be written to, there is no room for the files, or they cannot be pushed.
        RuntimeError: If what is read back does not give the same outputs.
    """
    int8 = source.quantization is not None if isinstance(source, Trial) else int8
    formats = formats or (("sparse",) if int8 else ("safetensors",))
    if push_to is not None:
        check_push(push_to, source, int8, formats)
    check_formats(formats, int8)
    check_device(device)
    if isinstance(source, Trial):
        check_trial(source)
    names = file_names(formats, int8)
    check_output(Path(folder), names, largest_bytes(dense_bytes(source), formats))
    pruned = run(source, device) if isinstance(source, Trial) else load(Path(source), int8)
    exported = write_files(pruned, Path(folder), formats, push_to)
    if push_to is None:
        return exported
    return dataclasses.replace(exported, url=push(Path(folder), names, push_to))


def write_files(
    pruned: PrunedModel, folder: Path, formats: Sequence[FormatName], repository: str | None = None
) -> Export:
    """Writes the files and cards of a pruned model, for a repository if one is named, all or none."""
    with whole_output(folder) as staging:
        written = _write(pruned, staging, formats)
        found = sizes(pruned)
        (staging / "card.json").write_text(json.dumps(card(pruned), indent=1) + "\n")
        (staging / "README.md").write_text(readme(pruned, written, found, repository))
    files = [dataclasses.replace(file, path=folder / file.path.name) for file in written]
    return Export(pruned, files, found)


def _write(pruned: PrunedModel, folder: Path, formats: Sequence[FormatName]) -> list[WrittenFile]:
    """Writes a file for each format, and compares the outputs of what is read back."""
    images, _ = next(pruned.spec.inputs("test").batches(CHECKED_IMAGES))
    with torch.inference_mode():
        expected = pruned.model(images)
    files = []
    for name in formats:
        file_format = FORMATS[name]
        path = file_format.path(folder, bool(pruned.int8))
        error = float((file_format.write(pruned, path, images) - expected).abs().max())
        limit = file_format.int8_limit if pruned.int8 else file_format.limit
        if not error <= limit * float(expected.abs().max()):
            raise RuntimeError(f"{path.name} gives other outputs: they differ by up to {error:.3g}")
        files.append(WrittenFile(name, path, error))
    return files
