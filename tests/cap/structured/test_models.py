"""Units of real architectures: found, zeroed, cut."""

import copy

import pytest
import torch

import cap
from bench.models import get_model
from cap.structured import cut, find_units, removed_units, unit_weights

pytest.importorskip("torch_pruning")

MODELS = ("vit", "convnext", "xcit", "dino")


def randomized(name):
    torch.manual_seed(0)
    spec = get_model("embedded", name)
    model = spec.build().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return spec, model, torch.randn(2, *spec.input_shape)


@pytest.mark.parametrize("name", MODELS)
def test_zeroed_and_cut_models_give_the_same_outputs(name):
    spec, model, images = randomized(name)
    layers = cap.select_layers(model, spec.prunable)
    units = find_units(model, layers, images)
    pruner = cap.create("magnitude")
    pruner.units = units
    pruned = pruner.fit(model, layers, calibration=None).prune("0.5@units")
    zeroed = copy.deepcopy(model)
    pruned.apply_to(zeroed)
    removed = removed_units(units, pruned.weights)
    small = cut(zeroed, units, removed, images)

    with torch.no_grad():
        torch.testing.assert_close(small(images), zeroed(images), rtol=0, atol=1e-5)
    gone = sum(int((weight == 0).sum()) for weight in pruned.weights.values())
    assert abs(gone / unit_weights(units, layers) - 0.5) < 0.03
    smaller = {key: value.numel() for key, value in small.named_parameters()}
    assert sum(layers[key].numel() - smaller[key] for key in layers) == gone
    assert sum(p.numel() for p in model.parameters()) - sum(smaller.values()) > gone  # biases go as well


@pytest.mark.parametrize(
    ("name", "heads", "channels"),
    [("vit", 4, 4), ("convnext", 0, 6), ("xcit", 0, 4), ("dino", 4, 4)],
)
def test_the_units_of_the_embedded_models(name, heads, channels):
    spec, model, images = randomized(name)
    units = find_units(model, cap.select_layers(model, spec.prunable), images)
    kinds = [group.kind for group in units]
    assert (kinds.count("head"), kinds.count("channel")) == (heads, channels)


def test_a_head_is_its_rows_of_q_k_and_v_and_its_columns_of_the_projection():
    spec, model, images = randomized("vit")
    group = find_units(model, cap.select_layers(model, spec.prunable), images)[0]
    rows, columns = group.parts
    assert (rows.parameter, columns.parameter) == ("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight")
    assert columns.index[1].tolist() == list(range(16, 32))
    assert rows.index[1].tolist() == [*range(16, 32), *range(80, 96), *range(144, 160)]


def test_channels_behind_batch_norms_are_cut_with_them():
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 4, 1), torch.nn.Flatten(), torch.nn.Linear(64, 3),
    ).eval()  # fmt: skip
    body[2].running_mean += torch.randn(8)
    images = torch.randn(2, 1, 8, 8)
    layers = cap.select_layers(body, [r"(1|4).weight"])
    (group,) = find_units(body, layers, images)
    assert [(part.parameter, part.dim) for part in group.parts] == [("1.weight", 0), ("4.weight", 1)]
    removed = {group.name: torch.tensor([0, 5])}
    zeroed = copy.deepcopy(body)
    zeroed[1].weight.data[[0, 5]] = 0
    zeroed[4].weight.data[:, [0, 5]] = 0
    small = cut(zeroed, (group,), removed, images)
    assert small[2].num_features == 6
    torch.testing.assert_close(small(images), zeroed(images), rtol=0, atol=1e-5)
    assert body[1].out_channels == 8  # the model is left as it is


def test_a_model_without_units_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    with pytest.raises(ValueError, match="no units"):
        find_units(model, cap.select_layers(model, ["1.weight"]), torch.zeros(1, 1, 2, 2))
