"""Linear heads and nearest neighbours on the features of the embedded DINO model."""

from __future__ import annotations

import pytest
import torch

from bench.data.fashion_mnist import PaddedInputs, Split, load_split
from bench.models import get_model, probing


def first(split: str, count: int) -> PaddedInputs:
    images = load_split(split)
    return PaddedInputs(Split(images.images[:count], images.labels[:count]), 28)


@pytest.fixture(scope="module")
def found() -> tuple[torch.Tensor, ...]:
    backbone = probing.pooled(get_model("embedded", "dino").load())
    return *probing.features(backbone, first("train", 3000)), *probing.features(backbone, first("test", 1000))


def test_features_are_what_the_head_is_given(found: tuple[torch.Tensor, ...]) -> None:
    model = get_model("embedded", "dino").load()
    assert found[0].shape == (3000, 64)
    [(images, labels)] = first("test", 300).batches(300)
    with torch.inference_mode():
        torch.testing.assert_close(model.get_classifier()(found[2][:300]), model(images))
    assert found[3][:300].equal(labels)


def test_nearest_neighbours_and_a_linear_head_tell_the_classes(found: tuple[torch.Tensor, ...]) -> None:
    features, labels, queries, answers = found
    assert probing.knn_top1(*found, 10) > 80
    assert probing.knn_top1(features, labels[torch.randperm(3000)], queries, answers, 10) < 25
    head, again = (probing.best_linear_head(features, labels, 10) for _ in range(2))
    assert head.weight.equal(again.weight)
    assert (head(queries).argmax(1) == answers).float().mean() > 0.8


def test_a_fitted_head_is_where_the_gradient_vanishes() -> None:
    """Features of scales from 1e-3 to 1e3: gradient of the penalised loss by autograd, in double precision."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (500,), generator=generator)
    features = torch.randn(500, 4, generator=generator) + labels[:, None] + 5
    features *= torch.tensor([1e-3, 1.0, 30.0, 1e3])
    head, fitted = probing.fit_linear_head(features, labels, 3, 1e-3)
    std = features.double().std(0)
    weight = (head.weight.double() * std).detach().requires_grad_()
    bias = head.bias.detach().double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(features.double() / std @ weight.T + bias, labels)
    (loss + 1e-3 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-3  # 0.4 before the fit
    torch.testing.assert_close(weight.detach().float(), fitted[:, :-1])


def test_neighbours_by_hand() -> None:
    """Two neighbours of one class at a cosine of 0.6 outweigh one of another at 0.62; with k = 1 they do not."""
    at = lambda cosine: [cosine, (1 - cosine**2) ** 0.5]  # noqa: E731
    bank = torch.tensor([at(0.6), at(0.6), at(0.62), at(-1.0)])
    labels, query = torch.tensor([4, 4, 2, 0]), torch.tensor([[3.0, 0.0]])
    assert probing.knn_top1(bank, labels, query, torch.tensor([4]), 5, k=3) == 100
    assert probing.knn_top1(bank, labels, query, torch.tensor([2]), 5, k=1) == 100
