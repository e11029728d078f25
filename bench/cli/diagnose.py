"""`capbench diagnose`: what usually goes wrong, before anything is pruned."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

import bench
from bench.cli.console import document_alone, document_writer, say
from bench.cli.options import Options, OwnOptions, Profile, Several, read_options


def diagnose(
    *,
    model: Annotated[tuple[str, ...], Several] = (),
    profile: Profile = "embedded",
    pruner: str = "cap",
    option: Options = (),
    images: int = 256,
    top1: float | None = None,
    device: str = "cpu",
    memory_gb: float | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    own: Annotated[OwnOptions | None, Parameter(name="*", group="Your own model and data")] = None,
) -> None:
    """Say what usually goes wrong when a model is pruned, before it is: a line a check; exit code 1 if one fails.

    Checked are the calibration images, the dense accuracy with the likely causes of a low one (mean and std, order of
    the classes), modules in train mode, layers that are not called, tied and zero weights, the scale of the gradients
    and the dampening beside it, images that are fitted perfectly, and the memory and time of a fit. No test image is
    looked at.

    Args:
        model: Models; by default all of the profile. With --data: timm:NAME, or my_model.py:FUNCTION.
        pruner: Pruner whose fit is foreseen: a name of `capbench list pruners`, or path/to/file.py:ClassName.
        images: Images to calibrate on, and images to measure the accuracy on.
        top1: Top-1 in percent that the dense model should reach; by default the one on record, if there is any.
        device: The torch device: cpu, cuda, cuda:1, ...
        memory_gb: GiB that a fit may take; by default what is free less a tenth.
        json: File for the findings as a JSON document, or - to print it alone to the standard output.
    """
    document, options = document_writer(json), read_options(option)
    model, profile = (own or OwnOptions()).texts(model, profile)
    with document_alone(json == "-"):
        found = bench.diagnose_models(
            model, profile, pruner, options, images, top1, device, memory_gb, lambda finding: say(str(finding))
        )
        for one in found:
            say(one.summary)
    if document is not None:
        document(bench.as_json(found))
    if any(one.failed for one in found):
        raise SystemExit(1)
