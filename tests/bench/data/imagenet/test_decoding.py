from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bench.core.errors import UserError
from bench.data.imagenet import decoding
from bench.data.imagenet.transforms import training_transform
from bench.data.inputs import stack_batches
from bench.data.seeding import temporarily_seeded
from bench.models.imagenet import ImageNetModel
from bench.specs.recipes import FinetuneSpec

SIZE = 48


@pytest.mark.parametrize("workers", ["0", "2"])
def test_order_and_subset(
    imagenet_folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 3)
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    inputs = tiny.inputs("train")
    images, labels = stack_batches(inputs)
    order = torch.tensor([20, 3, 11, 0, 7])
    batches = list(inputs.batches(4, order))
    assert [len(some) for some, _ in batches] == [4, 1]
    assert torch.cat([some for some, _ in batches]).equal(images[order])
    assert torch.cat([some for _, some in batches]).equal(labels[order])
    one, again, other = (stack_batches(inputs.subset(6, seed)) for seed in (0, 0, 1))
    assert one[0].equal(again[0])
    assert not one[0].equal(other[0])
    chosen = inputs.subset(6, 0).chosen
    assert one[0].equal(images[chosen])
    assert chosen.equal(inputs.subset(6, 0).chosen)
    assert not chosen.equal(inputs.subset(6, 1).chosen)
    assert len(inputs.subset(100, 0)) == 24
    assert next(inputs.subset(6, 0).subset(6, 1).batches(6, torch.tensor([0])))[0].shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_photo_is_named(
    photos: Any, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    photos.copy("folders", tmp_path)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    broken = sorted((tmp_path / "val").glob("*/*"))[4]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"^test image 4 \({broken}\) cannot be decoded: [^\n]+$"):
        # in one chunk: torch waits 5 s for a worker whose other results nobody took
        list(tiny.inputs("test").batches(15))


def test_a_damaged_photo_of_a_parquet_file_is_found_in_its_shard(
    photos: Any, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.copy("parquet", tmp_path)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    file = tmp_path / "validation-00001-of-00002.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[2]["image"]["bytes"] = rows[2]["image"]["bytes"][:300]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    with pytest.raises(UserError, match=rf"^test image 9 \(2.JPEG\) in row 2 of {file} cannot be decoded"):
        list(tiny.inputs("test").batches(15))


def test_workers_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPBENCH_WORKERS", "many")
    with pytest.raises(UserError, match="CAPBENCH_WORKERS is 'many': give a number"):
        decoding.num_workers()
    monkeypatch.delenv("CAPBENCH_WORKERS")
    assert decoding.num_workers() == torch.get_num_threads()


def test_workers_take_no_notice_of_a_jobs_signals(
    imagenet_folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster sends them to every process of a job; the one that the workers work for answers them."""
    monkeypatch.setattr(decoding, "CHUNK", 1)
    monkeypatch.setenv("CAPBENCH_WORKERS", "2")
    others = set(multiprocessing.active_children())
    before = signal.signal(signal.SIGUSR2, lambda *_: os._exit(3))
    try:
        batches = tiny.inputs("train").batches(1)
        next(batches)
        workers = set(multiprocessing.active_children()) - others
        assert len(workers) == 2
        for worker in workers:
            for name in ("USR2", "TERM", "INT"):
                subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)  # by another process than this
        assert len(list(batches)) == 23
    finally:
        signal.signal(signal.SIGUSR2, before)
    some = tiny.inputs("train").batches(1)
    next(some)
    one = (set(multiprocessing.active_children()) - others).pop()
    one.terminate()
    one.join(20)
    assert one.exitcode == 0


def test_training_images_are_those_of_pil_but_for_rounding(photos: Any, tiny: ImageNetModel) -> None:
    """Alike crops, flips and colours; a PNG, and what torchvision cannot read, go through PIL."""
    recipe = FinetuneSpec(epochs=1, images=24, batch_size=8, lr=1e-3, lr_end=1e-4, augmentation="mild")
    transform = training_transform(recipe, tiny.data_config())
    kinds = set()
    for number, (_, content) in enumerate(photos.stored("train")):
        stored = {"bytes": content, "path": "x"}
        pixels = decoding.decode_for(transform, stored)
        kinds.add((content[:2] == decoding.JPEG, isinstance(pixels, torch.Tensor)))
        image = decoding.decode_image(stored)
        if isinstance(pixels, torch.Tensor):
            assert pixels.permute(1, 2, 0).numpy().tolist() == np.asarray(image).tolist(), "the decoders agree"
        inputs = []
        for form in (pixels, image):
            with temporarily_seeded(number):
                inputs.append(transform(form))
        assert (inputs[0] - inputs[1]).abs().mean() < 0.01, "of a standard deviation"
    assert kinds == {(True, True), (False, False)}


def test_a_build_without_a_decoder_falls_back_to_pil(
    photos: Any, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support")

    monkeypatch.setattr("torchvision.io.decode_jpeg", refuse)
    recipe = FinetuneSpec(epochs=1, images=24, batch_size=8, lr=1e-3, lr_end=1e-4)
    transform = training_transform(recipe, tiny.data_config())
    file = tmp_path / "x.JPEG"
    file.write_bytes(photos.stored("train")[0][1])
    stored = {"bytes": None, "path": str(file)}
    assert isinstance(decoding.decode_for(transform, stored), PIL.Image.Image)
    file.write_bytes(file.read_bytes()[:300])
    monkeypatch.undo()
    with pytest.raises(OSError, match=r"(?i)truncated"):
        decoding.decode_for(transform, stored)
