from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import cap

IMAGES, LABELS = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


class Mappings:
    """A data set of mappings, as a tokenizer's or a Hugging Face data set's."""

    def __init__(self, label: str = "labels") -> None:
        self.label = label

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": IMAGES[index], "scale": IMAGES[index, :1].numpy(), self.label: int(LABELS[index])}


class Endless(IterableDataset):
    def __iter__(self):
        yield from zip(IMAGES, LABELS, strict=True)


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.fc(x) * scale


def gradient_of(calibration: cap.Calibration, model: nn.Module) -> Tensor:
    return torch.cat([batch["fc.weight"] for batch in calibration.gradients(model, {"fc.weight": model.fc.weight})])


def test_arrays_are_tensors() -> None:
    calibration = cap.Calibration(IMAGES.numpy(), LABELS.numpy())
    assert calibration.images.equal(IMAGES)
    assert calibration.labels.equal(LABELS)
    assert len(calibration) == 20


def test_inputs_by_position_and_by_keyword_are_the_same() -> None:
    model, scale = Two(), torch.rand(20, 1)
    by_position = cap.Calibration((IMAGES, scale.numpy()), LABELS, batch_size=8)
    by_keyword = cap.Calibration({"scale": scale, "x": IMAGES}, LABELS, batch_size=8)
    assert gradient_of(by_position, model).equal(gradient_of(by_keyword, model))
    with pytest.raises(ValueError, match=r"no single tensor: use calibration\.inputs"):
        _ = by_keyword.images


@pytest.mark.parametrize("num_images", [7, 20, None])
def test_a_loader_gives_its_first_images(num_images: int | None) -> None:
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)
    calibration = cap.Calibration.from_data(loader, num_images, batch_size=4)
    assert calibration.images.equal(IMAGES[:num_images])
    assert calibration.labels.equal(LABELS[:num_images])
    assert calibration.batch_size == 4


def test_a_data_set_gives_random_images_by_seed() -> None:
    data = TensorDataset(IMAGES, LABELS)
    ones = [cap.Calibration.from_data(data, 9, seed=seed) for seed in (0, 0, 1)]
    assert ones[0].images.equal(ones[1].images)
    assert not ones[0].images.equal(ones[2].images)
    places = [int((image == IMAGES).all(1).nonzero()) for image in ones[0].images]
    assert len(set(places)) == 9
    assert ones[0].labels.equal(LABELS[places])
    assert ones[2].seed == 1


@pytest.mark.parametrize("label", ["labels", "label", "target"])
@pytest.mark.parametrize("batched", [True, False])
def test_mappings_are_keyword_inputs(label: str, batched: bool) -> None:
    data = DataLoader(Mappings(label), batch_size=6) if batched else Mappings(label)
    options = {"label_key": label} if label == "target" else {}
    calibration = cap.Calibration.from_data(data, None, **options)
    assert sorted(calibration.inputs.keywords) == ["scale", "x"]
    assert gradient_of(calibration, Two()).shape == (20, 18)


def test_a_mapping_and_labels_are_a_batch() -> None:
    batches = [({"x": IMAGES[:12], "scale": IMAGES[:12, :1]}, LABELS[:12])]
    assert gradient_of(cap.Calibration.from_data(iter(batches), 5), Two()).shape == (5, 18)


def test_data_without_a_length_need_a_number() -> None:
    for data in (Endless(), DataLoader(Endless(), batch_size=4)):
        assert cap.Calibration.from_data(data, 10).images.equal(IMAGES[:10])
        with pytest.raises(ValueError, match="without a length may have no end: say num_images"):
            cap.Calibration.from_data(data, None)


@pytest.mark.parametrize(
    ("data", "num_images", "line"),
    [
        (TensorDataset(IMAGES, LABELS), 21, "the TensorDataset has 20 images, but 21 are wanted"),
        (TensorDataset(IMAGES[:0], LABELS[:0]), None, "the TensorDataset has 0 images, but at least one is needed"),
        (DataLoader(TensorDataset(IMAGES, LABELS), 7), 21, "the DataLoader has 20 images, but 21 are wanted"),
        (TensorDataset(IMAGES), 3, "a batch is a list of 1, without labels"),
        (iter([IMAGES]), 3, "a batch is a Tensor, without labels"),
        (Mappings("class"), 3, "a batch has the keys x, scale, class and no labels or label: say label_key"),
        ([(IMAGES[0], 0), (IMAGES[0, :3], 1)], 2, r"images are of different shapes, \((6|3),\) and \((6|3),\)"),
        ([({"x": IMAGES[0]}, 0), ({"y": IMAGES[0]}, 1)], 2, "batches have different inputs"),
        ([(object(), 0)], 1, "sample 0 holds what is no tensor, array or number"),
        (iter([(IMAGES, LABELS[:4])]), 3, "a batch has 20 images and 4 labels"),
        (TensorDataset(IMAGES, LABELS), 0, "num_images=0 is not valid"),
        (7, 2, "data of type int are neither a data set nor a loader"),
        ({"x": IMAGES, "labels": LABELS}, 2, r"data of type dict .* go to Calibration\(inputs, labels\)"),
    ],
)
def test_data_that_hold_no_calibration_set_are_refused(data: Any, num_images: int | None, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        cap.Calibration.from_data(data, num_images)


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        ({}, LABELS, "no calibration inputs"),
        ({"x": IMAGES, "mask": IMAGES[:3]}, LABELS, r"different numbers of images \(x: 20, mask: 3\)"),
        ((IMAGES, IMAGES[:3]), LABELS, r"different numbers of images \(0: 20, 1: 3\)"),
        (IMAGES, LABELS[:4], "20 images and 4 labels"),
        (IMAGES[:0], LABELS[:0], "0 images and 0 labels"),
        (torch.tensor(1.0), LABELS, "the images: a single number"),
        ("images", LABELS, "the images: str is no tensor"),
        (np.array([object()]), LABELS[:1], "the images: ndarray is no tensor or array of numbers"),
        (IMAGES.to("meta"), LABELS, "the images: on the meta device"),
    ],
)
def test_inputs_that_are_none_are_refused(images: Any, labels: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        cap.Calibration(images, labels)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (IMAGES, LABELS + 1, "label 3 is out of range: the model has 3 classes, from 0"),
        (IMAGES, LABELS - 1, "label -1 is out of range"),
        (IMAGES, LABELS[:, None], r"outputs \(1, 3\) needs labels of shape \(20,\) and type int64, not \(20, 1\)"),
        (IMAGES, LABELS.int(), r"needs labels of shape \(20,\) and type int64, not \(20,\) and int32"),
        (IMAGES, torch.rand(20, 4), r"labels of shape \(20, 4\) do not go with outputs \(1, 3\)"),
        (IMAGES.double(), LABELS, "images are float64, the model's weights float32, and the forward pass fails on"),
        ((IMAGES * 10).to(torch.uint8), LABELS, "images are uint8, the model's weights float32, and the forward pass"),
    ],
)
def test_what_the_model_cannot_learn_from_is_refused(gradient: Any, images: Any, labels: Any, line: str) -> None:
    model = nn.Sequential()
    model.fc = nn.Linear(6, 3)
    with pytest.raises(ValueError, match=line):
        gradient_of(cap.Calibration(images, labels, gradient=gradient), model)


def test_labels_to_ignore_and_soft_labels_are_labels() -> None:
    model = nn.Sequential()
    model.fc = nn.Linear(6, 3)
    ignored = LABELS.clone()
    ignored[3:5] = -100
    batched = cap.Calibration(IMAGES, ignored, gradient="batch")
    assert gradient_of(batched, model).isfinite().all()
    assert gradient_of(cap.Calibration(IMAGES, torch.eye(3)[LABELS]), model).allclose(
        gradient_of(cap.Calibration(IMAGES, LABELS), model), atol=1e-6
    )


def test_outputs_that_are_no_tensor_need_a_loss() -> None:
    class Wrapped(Two):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.fc(x),)

    model = Wrapped()
    with pytest.raises(
        ValueError, match="cross-entropy needs a tensor, but the model returns a tuple: give Calibration"
    ):
        gradient_of(cap.Calibration(IMAGES, LABELS), model)
    loss = nn.CrossEntropyLoss()
    calibration = cap.Calibration(IMAGES, LABELS, loss=lambda outputs, labels: loss(outputs[0], labels))
    assert gradient_of(calibration, model).shape == (20, 18)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
def test_images_that_are_made_when_they_are_wanted(gradient: str) -> None:
    model, made = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), list[int]()

    def load(batches: Sequence[Tensor]) -> Iterator[Tensor]:
        for batch in batches:
            made.append(len(batch))
            yield IMAGES[batch]

    layers = cap.select_layers(model, [r"\d.weight"])
    streamed = cap.StreamedInputs(load, torch.arange(20))
    options = {"batch_size": 4, "gradient": gradient}
    one, other = cap.Calibration(streamed, LABELS, **options), cap.Calibration(IMAGES, LABELS, **options)
    assert (made, len(one)) == ([], 20)
    for pruner in (cap.create("cap", block_size=4, num_gradients=5, damp=1e-4), cap.create("wanda")):
        pattern = "0.5" if pruner.needs == "gradients" else "0.5@layer"
        found = [pruner.fit(model, layers, source).prune(cap.parse_pattern(pattern)) for source in (one, other)]
        assert all(found[0].weights[name].equal(found[1].weights[name]) for name in layers)
    assert max(made) == 4, "never more than a batch"
    part, _ = one.split(0.25)
    assert isinstance(part.inputs, cap.StreamedInputs)
    assert part.images.equal(other.split(0.25)[0].images)
