"""A user's own model: layers, weights, preparation, identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cap
from bench.core.errors import UserError
from bench.models.layers import find_layers
from bench.models.own import OwnModel, own_model
from bench.models.own_text import model_of_text, model_text


@pytest.fixture
def make(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the model of the folder's weights and photos, with other values where they are given."""
    monkeypatch.chdir(own_folder)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    usual = {"source": "timm:test_resnet", "data": "imagefolder:photos", "weights": "net.safetensors"}
    return lambda **values: own_model(**{**usual, "transform": {"input_size": 32}, **values})


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("test_vit", {"patch_embed.proj.weight": "stem", "head.weight": "head"}),
        ("test_resnet", {"conv1.0.weight": "stem", "fc.weight": "head"}),
        ("test_convnext", {"stem.0.weight": "stem", "head.fc.weight": "head"}),
    ],
)
def test_stem_head_and_depthwise_are_left_out(name: str, left_out: dict[str, str]) -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model(name)
    found = find_layers(model)
    deep = {key for key, why in found.left_out.items() if why == "depthwise"}
    assert {key: why for key, why in found.left_out.items() if key not in deep} == left_out
    assert deep == {f"{key}.weight" for key, one in model.named_modules() if getattr(one, "groups", 1) > 1}
    every = {f"{key}.weight" for key, one in model.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)}
    assert set(found.prunable) == every - set(found.left_out)


def test_a_model_that_timm_does_not_know_leaves_its_first_and_last_layer_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1), nn.Linear(8, 2))
    assert find_layers(net).prunable == ("2.weight",)
    assert str(find_layers(net)) == (
        "prunes 1 weight: 2.weight; not 0.weight (stem), 3.weight (head), 1 convolution (depthwise)"
    )


def test_the_weights_of_attention_by_torch_are_told_and_can_be_named() -> None:
    """It holds query, key and value as a parameter of no layer, so that nothing else would say that they stay dense."""
    net = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2))
    net.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # type: ignore[assignment]
    net.head = nn.Linear(8, 3)
    found = find_layers(net)
    assert found.prunable == ("encoder.self_attn.out_proj.weight", "encoder.linear1.weight", "encoder.linear2.weight")
    assert str(found).endswith("1 projection (of nn.MultiheadAttention: --layers names them)")
    assert list(cap.select_layers(net, [r".*in_proj_weight"])) == ["encoder.self_attn.in_proj_weight"]


def test_weights_are_those_of_the_file(make: Any, own_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    spec = make()
    spec.check()
    loaded = spec.load().state_dict()
    for name, value in load_file(own_folder / "net.safetensors").items():
        assert torch.equal(loaded[name], value), name
    torch.save({"state_dict": loaded}, tmp_path / "net.pth")
    make(weights=str(tmp_path / "net.pth")).check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "five.safetensors"}, "have a head of 5 classes, but the data have 3"),
        (
            {"weights": "vit.safetensors"},
            r"not those of timm:test_resnet: they lack conv1.0.weight and \d+ more; ",
        ),
        ({"weights": "none.safetensors"}, "none.safetensors cannot be read"),
        ({"weights": "photos/cat/0.png"}, "photos/cat/0.png cannot be read, as .safetensors or a state dict"),
        ({"weights": None}, "timm:test_resnet has a head of 1000 classes, but imagefolder:photos has 3"),
    ],
)
def test_weights_that_are_not_the_models(values: dict[str, Any], message: str, make: Any) -> None:
    with pytest.raises(UserError, match=message):
        make(**values).check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "timm:resnett18"}, "timm has no model 'resnett18': resnet18"),
        ({"source": "timm:test_resnet.nope"}, r"cannot be built: RuntimeError: Invalid pretrained tag \(nope\)"),
        ({"options": {"colour": 1}}, "cannot be built: TypeError"),
        ({"source": "resnet18"}, "unknown model 'resnet18': give timm:NAME, or my_model.py:FUNCTION"),
        ({"layers": ["conv9.*"]}, "layer pattern 'conv9.*' matches no weight"),
        ({"layers": ["("]}, "is no regular expression"),
        ({"transform": {"colour": 1}}, "transform: colour: .*; its keys are input_size, interpolation"),
        ({"transform": {"input_size": "big"}}, "transform: input_size: Input should be a valid integer"),
        ({"data": "imagefolder:nowhere"}, "there is no such folder"),
    ],
)
def test_models_that_are_not_there(values: dict[str, Any], message: str, make: Any) -> None:
    with pytest.raises(UserError, match=message):
        make(**values)


BUILD = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, {classes}))

def known():
    model = build()
    model.pretrained_cfg = {{"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1)}}
    return model

def number():
    return 3

def raises():
    raise RuntimeError("no")
"""


def test_a_function_that_returns_the_module(make: Any, tmp_path: Path) -> None:
    file = tmp_path / "my_model.py"
    file.write_text(BUILD.format(classes=3))
    spec = make(source=f"{file}:build", weights=None)
    spec.check()
    assert list(cap.select_layers(spec.load(), spec.prunable)) == ["1.weight"]
    assert torch.equal(spec.load()[0].weight, spec.load()[0].weight), "random weights, the same for every trial"
    known = make(source=f"{file}:known", weights=None, transform={})
    assert known.data_config()["mean"] == (0.1, 0.2, 0.3)
    assert known.input_shape == (3, 32, 32)
    torch.save(spec.load().state_dict(), tmp_path / "w.pth")
    make(source=f"{file}:build", weights=str(tmp_path / "w.pth")).check()
    before = spec.identity
    file.write_text(BUILD.format(classes=3) + "# changed")
    assert spec.identity != before


@pytest.mark.parametrize(
    ("function", "classes", "transform", "message"),
    [
        ("build", 3, {}, "has no pretrained_cfg that tells how images are prepared: give a transform, at least input"),
        ("build", 4, {"input_size": 32}, r"gives \(1, 4\) for an image, but imagefolder:photos has 3 classes"),
        ("build", 3, {"input_size": 64}, r"takes no images \(3, 64, 64\): RuntimeError"),
        ("number", 3, {"input_size": 32}, "must return a torch.nn.Module, not a int"),
        ("raises", 3, {"input_size": 32}, "RuntimeError: no"),
        ("nothing", 3, {"input_size": 32}, "has no nothing; it has build, known, number, raises"),
    ],
)
def test_functions_that_do_not_fit(
    function: str, classes: int, transform: dict[str, Any], message: str, make: Any, tmp_path: Path
) -> None:
    (tmp_path / "my_model.py").write_text(BUILD.format(classes=classes))
    with pytest.raises(UserError, match=message):
        make(source=f"{tmp_path / 'my_model.py'}:{function}", weights=None, transform=transform).check()


def test_images_are_prepared_as_timm_has_it_on_record(make: Any) -> None:
    spec: OwnModel = make(transform={"input_size": 32, "mean": [0.1, 0.1, 0.1]})
    config = spec.data_config()
    assert config["input_size"] == (3, 32, 32)
    assert config["mean"] == (0.1, 0.1, 0.1)
    assert config["std"] == (0.5, 0.5, 0.5), "which timm has on record for this model"
    [(images, labels)] = spec.inputs("test").batches(100)
    assert images.shape == (9, 3, 32, 32)
    assert len(labels) == 9
    assert len(spec.calibration_inputs(5, seed=0)) == 5


def test_texts_are_read_as_they_are_written(make: Any) -> None:
    transform, layers = {"input_size": 32, "mean": [0.5, 0.5, 0.5]}, [r"layer[34].*conv.\.weight", r"a+b&c=d#%"]
    text = model_text("timm:test_resnet", "net.safetensors", layers[:1], transform)
    spec = model_of_text(text, "imagefolder:photos")
    assert (spec.name, spec.weights, spec.prunable) == (text, "net.safetensors", (layers[0],))
    assert spec.data_config()["mean"] == (0.5, 0.5, 0.5)
    with pytest.raises(UserError, match=r"layer pattern 'a\+b&c=d#%' matches no weight"):
        model_of_text(model_text("timm:test_resnet", None, layers[1:]), "imagefolder:photos")
    with pytest.raises(UserError, match="unknown key 'colour' of model"):
        model_of_text("timm:test_resnet?colour=red", "imagefolder:photos")


def test_the_identity_tells_weights_data_and_settings(make: Any) -> None:
    others = ({"weights": "five.safetensors"}, {"transform": {"input_size": 48}}, {"layers": ["fc.weight"]})
    identities = [make(**values).identity for values in ({}, *others)]
    assert identities[0] == make().identity
    assert len({tuple(one.items()) for one in identities}) == 4


def test_the_notes_say_what_is_pruned(make: Any) -> None:
    first, second = make(name="net").notes()
    assert first.startswith("net prunes 14 weights: conv1.3.weight, ")
    assert first.endswith("; not conv1.0.weight (stem), fc.weight (head)")
    assert second.startswith("imagefolder:photos: 3 classes; images for calibration 12")
    assert next(make(layers=["fc.weight"]).notes()) == "timm:test_resnet prunes 1 weight: fc.weight"
