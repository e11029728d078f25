from __future__ import annotations

import PIL.Image

from bench.data.imagenet.transforms import data_config, training_transform
from bench.data.seeding import temporarily_seeded
from bench.models.imagenet import ImageNetModel
from bench.specs.recipes import FinetuneSpec

SIZE = 48


def training(augmentation: str, **changes: float) -> FinetuneSpec:
    fields = {"epochs": 1, "images": 24, "batch_size": 10, "lr": 1e-3, "lr_end": 1e-4, **changes}
    return FinetuneSpec(augmentation=augmentation, **fields)


def test_training_transform_follows_the_set(tiny: ImageNetModel) -> None:
    config = data_config(tiny.timm_name, SIZE)
    white = PIL.Image.new("RGB", (80, 60), (255, 255, 255))
    light, erasing = (training_transform(training(name, crop=1.0), config) for name in ("light1", "deit"))
    assert (light.crop.scale, training_transform(training("light1"), config).crop.scale) == ((1.0, 1.0), (0.08, 1))
    assert "RandomErasing" in str(erasing)
    assert "RandomErasing" not in str(light)
    with temporarily_seeded(0):
        assert light(white).shape == (3, SIZE, SIZE)
