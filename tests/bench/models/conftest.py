from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models.packages import PackageFile

PARTS = (("attention.attention.key", 1, 1), ("attention.attention.value", 1, 1), ("attention.attention.query", 1, 1),
         ("attention.output.dense", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4))  # fmt: skip  # outputs, inputs


@dataclass
class StoredViT:
    """A tiny ViT of DINOv2's kind with the names that the transformers library has for its parts.

    Attributes:
        width: Width of the tokens.
        depth: Number of blocks.
        side: Number of patches a side.
        weights: {name: value}, matrices as torch has them, positions apart for class token and patches.
    """

    width: int = 8
    depth: int = 2
    side: int = 3
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        w = self.width

        def put(name: str, *shape: int) -> None:
            self.weights[name] = torch.randn(shape) / math.sqrt(shape[-1] if len(shape) > 1 else 4)

        put("embeddings.cls_token", 1, 1, w)
        put("embeddings.patch_embeddings.projection.weight", w, 3, 14, 14)
        put("embeddings.patch_embeddings.projection.bias", w)
        for block in range(self.depth):
            for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "layer_scale1.lambda1",
                         "layer_scale2.lambda1"):  # fmt: skip
                put(f"encoder.layer.{block}.{name}", w)
            for name, outputs, inputs in PARTS:
                put(f"encoder.layer.{block}.{name}.weight", outputs * w, inputs * w)
                put(f"encoder.layer.{block}.{name}.bias", outputs * w)
        put("layernorm.weight", w)
        put("layernorm.bias", w)
        put("class position", 1, 1, w)
        put("patch positions", 1, self.side**2, w)

    def write(self, path: Path) -> Path:
        """Writes it as torch's exporter does: matrices transposed, they and the positions without a name."""
        from onnx import TensorProto, helper, numpy_helper, save

        nodes, constants = [], [numpy_helper.from_array(np.ones((4, 2, 3, 3), "float32"), "decoder.upconv1.weight")]
        for number, (name, value) in enumerate(self.weights.items()):
            layer = name.startswith("encoder") and name.endswith(".weight") and value.ndim == 2
            stored = value.T if layer else value
            kind = {"class position": "Concat", "patch positions": "Reshape"}.get(name)
            called = f"onnx::MatMul_{number}" if layer else f"onnx::{kind}_{number}" if kind else f"backbone.{name}"
            constants.append(numpy_helper.from_array(stored.contiguous().numpy(), called))
            if layer:
                bias, product = f"backbone.{name.removesuffix('weight')}bias", f"/{number}/MatMul_output_0"
                both = [bias, product] if number % 2 else [product, bias]
                nodes += [
                    helper.make_node("MatMul", ["x", called], [product]),
                    helper.make_node("Add", both, [f"{number}"]),
                ]
        nodes.append(helper.make_node("MatMul", ["q", "k"], ["attention"]))  # of no constant
        nodes.append(helper.make_node("Add", ["attention", "x"], ["residual"]))
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, self.width])
        path.parent.mkdir(parents=True, exist_ok=True)
        save(helper.make_model(helper.make_graph(nodes, "vit", [value], [value], constants)), str(path))
        return path


@pytest.fixture
def stored_vit() -> StoredViT:
    return StoredViT()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Path], object]], PackageFile]:
    """Makes a package that can be imported: (path of its file, function that writes it) to the file."""

    def make(file: str, write: Callable[[Path], object]) -> PackageFile:
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        place = tmp_path / "site" / "some_weights"
        (place / file).parent.mkdir(parents=True)
        (place / "__init__.py").write_text("raise ImportError('it must not be imported')\n")
        write(place / file)
        return PackageFile(package="some_weights", file=file, sha256=sha256((place / file).read_bytes()).hexdigest())

    return make
