"""Every pruner on models of every kind: it prunes to the exact count, or says in one true line why it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cap
from cap.columns import as_columns

PATTERN = cap.Unstructured(0.5, scope="layer")
LABELS = torch.arange(12) % 3


class Net(nn.Module):
    """A layer of any kind between images and class scores."""

    def __init__(self, layer: nn.Module, outputs: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(images)).flatten(2).mean(2))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    """PyTorch's own encoder, whose fused kernel calls none of its layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(tokens).mean(1))


class Keywords(nn.Module):
    """Two inputs by keyword, a layer that is given its input by keyword, and outputs that are no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, *, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        x = torch.tanh(self.fc(input=self.embed(ids))) * mask[..., None]
        return {"logits": self.head(x.sum(1) / mask.sum(1, keepdim=True))}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.other(torch.tanh(self.one(x)))))


class TiedEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.decoder, self.head = nn.Embedding(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.decoder.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.decoder(self.embed(ids)).mean(1))


class MixedTypes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.fc(x)).double())


class Counted(nn.Module):
    """A value that decides what is computed, which `torch.vmap` refuses, around a weight that no hook sees."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Bilinear(8, 8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(x, x)
        return self.head(y if float(y.sum()) > 0 else 2 * y)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def compiled_inside() -> nn.Module:
    model = nn.Sequential(torch.compile(nn.Linear(8, 8), backend="eager"), nn.ReLU(), nn.Linear(8, 3))
    model.compile(backend="eager")
    return model


@dataclass(frozen=True)
class Case:
    """A model, its images, and what is refused.

    Attributes:
        model: Function that makes the model.
        shape: Shape of an image.
        layers: Pattern of the layers to prune.
        refused: For what a pruner needs, or a pruner by name, the line that refuses it.
    """

    model: Callable[[], nn.Module]
    shape: tuple[int, ...] = (8,)
    layers: str = ".*weight"
    refused: tuple[tuple[str, str], ...] = ()
    dtype: torch.dtype = torch.float32


def unknown(name: str) -> tuple[tuple[str, str], ...]:
    return (("inputs", rf"{name}: layer inputs are known of nn.Linear, nn.Conv1d, nn.Conv2d and nn.Conv3d, not of"),)


def conv2d(**options: object) -> Callable[[], nn.Module]:
    return lambda: Net(nn.Conv2d(4, 8, 3, **options), 8)


CASES = {
    "reflect": Case(conv2d(padding=1, padding_mode="reflect"), (4, 5, 6)),
    "replicate": Case(conv2d(padding=(1, 2), padding_mode="replicate", stride=2), (4, 5, 6)),
    "circular": Case(conv2d(padding=1, padding_mode="circular", groups=2), (4, 5, 6)),
    "same": Case(conv2d(padding="same", dilation=2), (4, 5, 6)),
    "valid": Case(conv2d(padding="valid"), (4, 5, 6)),
    "dilated": Case(conv2d(padding=2, dilation=2), (4, 5, 6)),
    "depthwise": Case(conv2d(groups=4), (4, 5, 6), r"layer\.weight"),
    "conv1d": Case(lambda: Net(nn.Conv1d(4, 8, 3, stride=2, padding=1, groups=2), 8), (4, 9)),
    "conv3d": Case(lambda: Net(nn.Conv3d(2, 8, (2, 3, 1), padding=1, dilation=(1, 2, 1)), 8), (2, 4, 5, 3)),
    "transposed": Case(
        lambda: Net(nn.ConvTranspose2d(4, 8, 3, stride=2), 8), (4, 3, 3), refused=unknown("ConvTranspose2d")
    ),
    "attention": Case(
        Attention, (3, 8), r".*proj_?\.?weight",
        (*unknown("MultiheadAttention"), ("snows", "for the output that SNOWS compares")),
    ),
    "attention output": Case(
        Attention, (3, 8), r".*out_proj.weight",
        (*unknown("NonDynamicallyQuantizableLinear"), ("snows", "for the output that SNOWS compares")),
    ),
    "encoder": Case(Encoder, (3, 8), r".*linear\d.weight"),
    "tied": Case(Tied, layers=r"other\.weight"),
    "tied to an embedding": Case(TiedEmbedding, (4,), r"(decoder|embed)\.weight", unknown("Embedding"), torch.int64),
    "mixed types": Case(MixedTypes),
    "bfloat16": Case(lambda: mlp().bfloat16(), dtype=torch.bfloat16),
    "compiled": Case(lambda: torch.compile(mlp(), backend="eager"), layers=r"\d\.weight"),
    "compiled inside": Case(compiled_inside, layers=r"\d\.weight"),
    "no vmap": Case(Counted, layers=r"mix\.weight", refused=unknown("Bilinear")),
    "other images": Case(
        lambda: mlp().bfloat16(),
        refused=tuple((needs, "images are float32, the model's weights bfloat16, and the forward pass fails on them")
                      for needs in ("inputs", "gradients")),
    ),
    "meta": Case(
        lambda: mlp().to("meta"),
        refused=tuple((needs, "is on the meta device") for needs in ("nothing", "inputs", "gradients")),
    ),
}  # fmt: skip

every_pruner = pytest.mark.parametrize("name", cap.available())


def images_of(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if case.dtype == torch.int64:
        return torch.randint(0, 8, (12, *case.shape), generator=generator)
    return torch.randn(12, *case.shape, generator=generator).to(case.dtype)


def pruner_of(name: str) -> cap.Pruner:
    known = cap.default_options(name)
    small = {"block_size": 8, "num_gradients": 12, "damp": 1e-3}
    return cap.create(name, **{key: value for key, value in small.items() if key in known})


@pytest.mark.parametrize("kind", CASES)
@every_pruner
def test_the_count_is_exact_or_the_refusal_true(name: str, kind: str) -> None:
    case, pruner = CASES[kind], pruner_of(name)
    torch.manual_seed(0)
    model = case.model().eval()
    layers, calibration = (
        cap.select_layers(model, [case.layers]),
        cap.Calibration(images_of(case), LABELS, batch_size=5),
    )
    if line := (refused := dict(case.refused)).get(name) or refused.get(pruner.needs):
        with pytest.raises(ValueError, match=line):
            pruner.fit(model, layers, calibration)
        return
    pruned = pruner.fit(model, layers, calibration).prune(PATTERN)
    assert set(pruned.masks) == set(layers)
    pruned.apply_to(model)
    for layer, mask in pruned.masks.items():
        assert int((~mask).sum()) == round(0.5 * mask.numel())
        assert not model.get_parameter(layer)[~mask].any()
        assert model.get_parameter(layer).isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind not in ("bfloat16", "other images", "meta")])
def test_per_sample_gradients_are_those_of_a_loop(kind: str) -> None:
    case = CASES[kind]
    torch.manual_seed(0)
    model, images = case.model().eval(), images_of(case)
    layers = cap.select_layers(model, [case.layers])
    parts = list(cap.Calibration(images, LABELS, batch_size=5).gradients(model, layers))
    for i in range(len(images)):
        loss = F.cross_entropy(model(images[i : i + 1]), LABELS[i : i + 1])
        for name, gradient in zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True):
            ours = torch.cat([part[name] for part in parts])[i]
            torch.testing.assert_close(ours, gradient.flatten(), rtol=1e-4, atol=1e-6)


CONVOLUTIONS = ("reflect", "replicate", "circular", "same", "valid", "dilated", "depthwise", "conv1d", "conv3d")


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_layer_inputs_times_weights_are_the_outputs(kind: str) -> None:
    case = CASES[kind]
    torch.manual_seed(0)
    model, images = case.model().eval(), images_of(case)
    layers = cap.select_layers(model, [r"layer\.weight"])
    [rows] = cap.Calibration(images, LABELS).layer_inputs(model, layers)
    layer = model.layer
    outputs = rows["layer.weight"] @ as_columns(layer.weight, layer.groups).transpose(1, 2)
    outputs = outputs.unflatten(1, (len(images), -1)).permute(1, 0, 3, 2).flatten(1, 2) + layer.bias[:, None]
    torch.testing.assert_close(outputs, layer(images).flatten(2))


def test_the_inputs_of_all_layers_that_share_a_weight_are_joined() -> None:
    torch.manual_seed(0)
    model, images = Tied().eval(), images_of(CASES["tied"])
    [rows] = cap.Calibration(images, LABELS).layer_inputs(model, cap.select_layers(model, [r"other\.weight"]))
    torch.testing.assert_close(rows["other.weight"][0], torch.cat([images, torch.tanh(model.one(images))]))


def test_a_shared_weight_counts_once() -> None:
    model = Tied()
    for pattern, name in ((".*weight", "one.weight"), (r"other\.weight", "other.weight")):
        assert list(cap.select_layers(model, [pattern])) == [name, *(["head.weight"] if pattern == ".*weight" else [])]
    with pytest.raises(ValueError, match=r"one\.weight and other\.weight are one and the same weight: leave one"):
        cap.create("magnitude").fit(
            model, dict(model.named_parameters(remove_duplicate=False)), cap.Calibration(torch.zeros(1, 8), LABELS[:1])
        )


def test_a_compiled_model_and_its_origin_give_the_same() -> None:
    torch.manual_seed(0)
    net = mlp().eval()
    calibration = cap.Calibration(images_of(CASES["compiled"]), LABELS)
    compiled = torch.compile(net, backend="eager")
    compiled(calibration.images)  # as compiled code, without hooks
    found = [
        pruner_of("cap").fit(model, cap.select_layers(model, [r"\d\.weight"]), calibration).prune(PATTERN)
        for model in (net, compiled)
    ]
    assert all(mask.equal(found[1].masks[layer]) for layer, mask in found[0].masks.items())
    cap.Masks(compiled, found[0].masks).apply()
    assert int((net[0].weight == 0).sum()) == 32


@every_pruner
def test_keyword_inputs_and_outputs_that_are_no_tensor(name: str) -> None:
    torch.manual_seed(0)
    model = Keywords().eval()
    inputs = {"ids": torch.randint(0, 6, (12, 4)), "mask": (torch.rand(12, 4) > 0.3).float().clamp(min=0.1)}
    calibration = cap.Calibration(
        inputs, LABELS, loss=lambda outputs, labels: F.cross_entropy(outputs["logits"], labels), batch_size=5
    )
    layers = cap.select_layers(model, [r"(fc|head)\.weight"])
    if name == "synflow":
        with pytest.raises(ValueError, match="SynFlow sums the model's output: a tensor, not dict"):
            pruner_of(name).fit(model, layers, calibration)
        return
    pruned = pruner_of(name).fit(model, layers, calibration).prune(PATTERN)
    assert [int((~mask).sum()) for mask in pruned.masks.values()] == [32, 12]


def test_the_gradients_of_keyword_inputs_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    model = Keywords().eval()
    inputs = {"ids": torch.randint(0, 6, (12, 4)), "mask": torch.rand(12, 4)}
    calibration = cap.Calibration(
        inputs, LABELS, loss=lambda outputs, labels: F.cross_entropy(outputs["logits"], labels)
    )
    layers = cap.select_layers(model, [r".*weight"])  # the embedding's through torch.func
    [ours] = calibration.gradients(model, layers)
    for i in range(12):
        outputs = model(**{name: x[i : i + 1] for name, x in inputs.items()})
        loss = F.cross_entropy(outputs["logits"], LABELS[i : i + 1])
        for name, gradient in zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True):
            torch.testing.assert_close(ours[name][i], gradient.flatten())
