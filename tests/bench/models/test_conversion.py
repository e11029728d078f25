from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.errors import UserError
from bench.models.conversion import read_vit_onnx, rename_efficientnet_lite
from bench.models.pretrained import LITE_FILE, PRETRAINED, PRETRAINED_IMAGENET, VIT_FILE, load_packaged

REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of EfficientNet-B0, which Lite0 has too (arXiv 1905.11946)


def tiny_vit(side: int = 3) -> Any:
    return timm.create_model(
        "vit_small_patch14_dinov2", img_size=14 * side, embed_dim=8, depth=2, num_heads=2, num_classes=5
    ).eval()


def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The class token's features, written out from the names in the file."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, -1)).transpose(1, 2)

    name = "embeddings.patch_embeddings.projection"
    patches = F.conv2d(images, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=14).flatten(2).mT
    x = torch.cat([weights["embeddings.cls_token"].expand(len(images), -1, -1), patches], 1)
    x = x + torch.cat([weights["class position"], weights["patch positions"]], 1)
    for block in range(2):
        at = f"encoder.layer.{block}"
        y = norm(f"{at}.norm1", x)
        q, k, v = (heads(linear(f"{at}.attention.attention.{part}", y)) for part in ("query", "key", "value"))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + weights[f"{at}.layer_scale1.lambda1"] * linear(f"{at}.attention.output.dense", y)
        y = linear(f"{at}.mlp.fc2", F.gelu(linear(f"{at}.mlp.fc1", norm(f"{at}.norm2", x))))
        x = x + weights[f"{at}.layer_scale2.lambda1"] * y
    return norm("layernorm", x)[:, 0]


def test_every_key_of_the_vit_is_where_timm_has_it(stored_vit: Any, tmp_path: Path) -> None:
    state = read_vit_onnx(stored_vit.write(tmp_path / "net.onnx"))
    w = stored_vit.weights
    expected = {
        "cls_token": w["embeddings.cls_token"],
        "pos_embed": torch.cat([w["class position"], w["patch positions"]], 1),
        "norm.weight": w["layernorm.weight"],
        "norm.bias": w["layernorm.bias"],
    }
    for kind in ("weight", "bias"):
        expected[f"patch_embed.proj.{kind}"] = w[f"embeddings.patch_embeddings.projection.{kind}"]
        for block in range(2):
            there, here = f"encoder.layer.{block}", f"blocks.{block}"
            qkv = [w[f"{there}.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            expected[f"{here}.attn.qkv.{kind}"] = torch.cat(qkv)
            expected[f"{here}.attn.proj.{kind}"] = w[f"{there}.attention.output.dense.{kind}"]
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                expected[f"{here}.{part}.{kind}"] = w[f"{there}.{part}.{kind}"]
            for number in (1, 2):
                expected[f"{here}.ls{number}.gamma"] = w[f"{there}.layer_scale{number}.lambda1"]
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    model = tiny_vit()
    assert {f"head.{kind}" for kind in ("weight", "bias")} | state.keys() == model.state_dict().keys()


def test_timms_vit_computes_what_the_file_says(stored_vit: Any, package: Any) -> None:
    file, model = package("models/net.onnx", stored_vit.write), tiny_vit()
    head = model.head.weight.clone()
    load_packaged(model, file, "tiny", own_head=False)
    images = torch.randn(3, 3, 42, 42)
    with torch.inference_mode():
        found = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(found, features(stored_vit.weights, images), rtol=1e-4, atol=1e-5)
    assert torch.equal(model.head.weight, head)


def test_position_embeddings_follow_the_size_of_the_image(stored_vit: Any, package: Any) -> None:
    """Where all patches have the same one, they keep it."""
    stored_vit.weights["patch positions"][:] = torch.arange(8.0)
    model = tiny_vit(side=5)
    load_packaged(model, package("net.onnx", stored_vit.write), "tiny", own_head=False)
    assert model.pos_embed.shape == (1, 26, 8)
    torch.testing.assert_close(model.pos_embed[0, 1:].detach(), torch.arange(8.0).expand(25, 8))
    assert torch.equal(model.pos_embed[:, :1], stored_vit.weights["class position"])


def test_files_of_something_else_are_refused(stored_vit: Any, package: Any, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(UserError, match=r"text\.onnx is no ONNX file"):
        read_vit_onnx(tmp_path / "text.onnx")
    other = timm.create_model("vit_small_patch14_dinov2", img_size=42, embed_dim=8, depth=3, num_heads=2)
    file = package("net.onnx", stored_vit.write)
    with pytest.raises(UserError, match=r"net\.onnx are not those of tiny: they lack blocks\.2\."):
        load_packaged(other, file, "tiny", own_head=False)
    del stored_vit.weights["patch positions"]
    stored_vit.write(tmp_path / "less.onnx")
    with pytest.raises(UserError, match=r"less\.onnx has no position embeddings"):
        read_vit_onnx(tmp_path / "less.onnx")


def stored_lite(model: torch.nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights by the names in the package, each with values of its own, and timm's name of each."""
    names = {"_conv_stem.weight": "conv_stem.weight", "_conv_head.weight": "conv_head.weight"}
    names |= {f"_fc.{kind}": f"classifier.{kind}" for kind in ("weight", "bias")}
    norms = {"_bn0": "bn1", "_bn1": "bn2"}
    block = 0
    for stage, repeats in enumerate(REPEATS):
        for number in range(repeats):
            here, there = f"_blocks.{block}", f"blocks.{stage}.{number}"
            if stage:
                layers, own = ("expand", "pw"), ("depthwise", "dw")
                convs = (layers, own, ("project", "pwl"))
                norms |= {f"{here}._bn{n}": f"{there}.bn{n + 1}" for n in range(3)}
            else:
                convs = (("depthwise", "dw"), ("project", "pw"))
                norms |= {f"{here}._bn{n}": f"{there}.bn{n}" for n in (1, 2)}
            names |= {f"{here}._{long}_conv.weight": f"{there}.conv_{short}.weight" for long, short in convs}
            block += 1
    for old, new in norms.items():
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        names |= {f"{old}.{kind}": f"{new}.{kind}" for kind in kinds}
    shapes = model.state_dict()
    stored = {old: torch.full_like(shapes[new], place) for place, (old, new) in enumerate(names.items())}
    return stored, names


def test_every_key_of_the_lite_network_is_where_timm_has_it() -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    stored, names = stored_lite(model)
    assert len(stored) == 296, "as many as in the package's file"
    found = rename_efficientnet_lite(stored, model)
    assert found.keys() == model.state_dict().keys()
    for old, new in names.items():
        assert torch.equal(found[new], stored[old]), old
    model.load_state_dict(found)


def test_a_lite_network_of_another_depth_is_refused(package: Any) -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    stored, _ = stored_lite(model)
    stored["_blocks.16._bn2.bias"] = torch.zeros(3)
    file = package("net.pth", lambda path: torch.save(stored, path))
    with pytest.raises(UserError, match=r"they have blocks\.16\.bn"):
        load_packaged(model, file, "lite", own_head=True)


INSTALLED = all(importlib.util.find_spec(file.package) for file in (VIT_FILE, LITE_FILE))


@pytest.mark.skipif(not INSTALLED, reason="the packages of the extra pretrained, 110 MB, are not installed")
def test_the_packages_have_the_networks_that_they_are_said_to_have() -> None:
    """timm computes the features that the package's own graph does, at the size and with the positions of the graph."""
    import onnx
    import onnxruntime

    spec = PRETRAINED["vit_small"]
    graph = onnx.load(str(VIT_FILE.path()))
    norm = next(node.output[0] for node in graph.graph.node if "backbone.layernorm.bias" in node.input)
    placed = next(node.output[0] for node in graph.graph.node if node.name == "/backbone/embeddings/Concat_6")
    graph.graph.output.extend([onnx.ValueInfoProto(name=name) for name in (norm, placed)])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    torch.manual_seed(0)
    images = torch.randn(2, 3, 224, 224)
    expected, positions = session.run([norm, placed], {"input_image": images.numpy()})
    model: Any = timm.create_model(spec.timm_name, img_size=224, num_classes=3).eval()
    load_packaged(model, VIT_FILE, spec.name, own_head=False)
    model.pos_embed.data = torch.from_numpy(positions)  # timm resamples them a little differently
    with torch.inference_mode():
        found = model.forward_features(images)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
    load_packaged(PRETRAINED_IMAGENET["efficientnet_lite0"].build(), LITE_FILE, "lite", own_head=True)
