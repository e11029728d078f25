"""Files of timm's weights: where they lie, and what their headers say."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open

from bench.core.errors import UserError

WEIGHTS_VARIABLE = "CAPBENCH_WEIGHTS"
ENDINGS = ("safetensors", "pth", "pt", "bin")
PATIENCE = 5.0  # seconds for the hub's answer
BELIEVED = 60  # seconds that an answer is believed, so that many missing models cost one question


def pretrained_file(timm_name: str, name: str | None = None) -> Path:
    """Returns the file of timm's weights, in the environment's folder or the hub's cache, else fetched from the hub.

    Args:
        timm_name: Name of the architecture, with the tag of its weights.
        name: Name of the model in messages; by default timm's.

    Raises:
        UserError: If it is in none of them.
    """
    from huggingface_hub import constants, hf_hub_download
    from timm.models import get_pretrained_cfg

    folder = os.environ.get(WEIGHTS_VARIABLE)
    if folder is not None:
        for ending in ENDINGS:
            if (path := Path(folder) / f"{timm_name}.{ending}").is_file():
                return path
    file = f"{timm_name}.{ENDINGS[0]}"
    known = get_pretrained_cfg(timm_name)
    repository = str(known.hf_hub_id if known is not None else None)
    here = f"{folder} has no {file}" if folder is not None else f"{WEIGHTS_VARIABLE} is not set"
    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=True))
    except Exception as error:  # noqa: BLE001  of many kinds: no cache, no name of a repository
        reason = f"{type(error).__name__}: {[*str(error).splitlines(), ''][0]}"
    if not constants.HF_HUB_OFFLINE:
        reason = _reaches(constants.ENDPOINT, int(time.monotonic() / BELIEVED)) or ""
        if not reason:
            try:
                return Path(hf_hub_download(repository, "model.safetensors"))
            except Exception as error:  # noqa: BLE001  of many kinds: no such file, a full disk
                reason = f"{type(error).__name__}: {[*str(error).splitlines(), ''][0]}"
    raise UserError(
        f"no weights of {name or timm_name}: {here}, and the hub gave none ({reason}); put "
        f"model.safetensors of https://huggingface.co/{repository} as {file} into a folder and set "
        f"{WEIGHTS_VARIABLE} to it, or run where the hub can be reached (docs/imagenet.md)"
    )


@cache
def _reaches(endpoint: str, period: int) -> str | None:
    """Returns why the hub does not answer, None if it does; asked once in each period, and without a second try."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except Exception as error:  # noqa: BLE001  of many kinds, by the client that the hub's library uses
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the weights in a file, from its header alone where it has one.

    Raises:
        UserError: If it was cut off, or holds no weights.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="meta", weights_only=True, mmap=is_zipfile(path))  # old files are none
        state = state.get("state_dict", state.get("model", state))
        return {name: tuple(value.shape) for name, value in state.items()}
    except Exception as error:  # noqa: BLE001  of many kinds, by what the file holds
        known = isinstance(error, SafetensorError | OSError)
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}): fetch it again" if known else
                        f"{path} holds no weights that can be read: {reason}") from None  # fmt: skip
