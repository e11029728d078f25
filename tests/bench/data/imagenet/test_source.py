from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from huggingface_hub.errors import GatedRepoError
from torch import Tensor

from bench.core.errors import UserError
from bench.data.imagenet import check_data, load_stored_split
from bench.data.imagenet.transforms import data_config, eval_transform
from bench.data.inputs import stack_batches
from bench.models.imagenet import ImageNetModel

SIZE = 48


def by_hand(content: bytes) -> Tensor:
    """Shorter side to 48 / 0.95 = 50 pixels, centre crop of 48, pixels to [-1, 1]: timm's record of these weights."""
    image = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    scale = 50 / min(image.size)
    image = image.resize([50 if side == min(image.size) else int(scale * side) for side in image.size], 3)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float32) / 255
    return torch.from_numpy((pixels - 0.5) / 0.5).permute(2, 0, 1)


@pytest.mark.parametrize("layout", ["parquet", "hub", "folders", "shards"])
def test_every_layout_gives_the_same_inputs(
    layout: str, photos: Any, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(photos.root / layout))
    check_data()
    transform = eval_transform(data_config(tiny.timm_name, SIZE))
    for split, count in (("train", 24), ("test", 15)):
        inputs = tiny.inputs(split)
        assert len(inputs) == count
        images, labels = stack_batches(inputs, batch_size=4)
        assert labels.tolist() == [label for label, _ in photos.stored(split)]
        files = [content for _, content in photos.stored(split)]
        torch.testing.assert_close(images, torch.stack([by_hand(content) for content in files]))
        decoded = [PIL.Image.open(io.BytesIO(content)).convert("RGB") for content in files]
        assert images.equal(torch.stack([transform(image) for image in decoded]))


def test_missing_data_are_named_with_the_ways_to_provide_them(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = r"set CAPBENCH_IMAGENET to a folder .*train-\*\.parquet.*train/<wnid>/.*HF_TOKEN"
    with pytest.raises(UserError, match=f"CAPBENCH_IMAGENET is not set.*HF_HUB_OFFLINE is set.*{ways}"):
        check_data()
    folder = tmp_path / "imagenet"
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    with pytest.raises(UserError, match=f"{folder}, which is no folder.*{ways}"):
        check_data()
    folder.mkdir()
    with pytest.raises(UserError, match=f"no parquet files, and {folder}/train is missing.*{ways}"):
        check_data()
    photos.copy("folders", folder)
    for image in (folder / "val").glob("*/*"):
        image.rename(folder / "val" / image.name)
    for place in (folder / "val").glob("n*"):
        place.rmdir()
    with pytest.raises(UserError, match=f"{folder}/val holds images but no folders of classes"):
        check_data()
    (folder / "val" / "cats").mkdir()
    with pytest.raises(UserError, match="val/cats is not named by a wnid of imagenet-1k such as n01440764"):
        check_data()
    photos.copy("parquet", folder / "data")
    check_data()
    for file in (folder / "data").glob("validation-*"):
        os.remove(file)
    with pytest.raises(UserError, match=r"data has no validation-\*\.parquet"):
        check_data()
    other = Dataset.from_dict({"image": [1], "target": [0]})
    other.to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"validation-00000-of-00001\.parquet has no column label"):
        check_data()


def test_every_shard_is_checked(photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.copy("parquet", tmp_path)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    last = max(tmp_path.glob("train-*"))
    last.write_bytes(last.read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"{last} is no readable parquet file .*: fetch it again"):
        check_data()


def test_a_token_without_access_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="there is no token for the hub"):
        check_data()

    def refuse(*_: object, **__: object) -> None:
        raise GatedRepoError("gated", response=Mock(headers={}))

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", refuse)
    with pytest.raises(UserError, match="the token for the hub has no access to ILSVRC/imagenet-1k"):
        check_data()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [("label", [0, 1000], "have labels 0 to 1000: they must be 0 to 999"), ("target", [0, 1], "has no column label")],
)
def test_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, values: list[int], message: str
) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    images = [{"bytes": b"", "path": "x"}] * 2
    pq.write_table(pa.table({"image": images, column: values}), tmp_path / "validation-0.parquet")
    with pytest.raises(UserError, match=message):
        load_stored_split("test")


def test_the_hub_is_asked_and_may_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nat all")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", no_route)
    with pytest.raises(UserError, match=r"the hub cannot be reached \(ConnectionError: no route\)"):
        check_data()
