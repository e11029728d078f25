"""A user's own model: any of timm, or what a function in a file returns, with data of the user's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

import cap
from bench import assets
from bench.core.errors import UserError
from bench.core.random_state import derive_seed
from bench.data import imagenet
from bench.data.own import OwnData, check_images, open_data
from bench.data.own.image import first_line
from bench.data.stream import StreamRecipe, TrainingStream
from bench.models.imagenet import pretrained_file
from bench.models.layers import find_layers, listed
from bench.models.model import ModelSpec
from bench.models.own_source import TIMM, Transform, check_source, data_config_of, module_of_function
from bench.models.weights import check_weights, read_weights


class OwnModel(ModelSpec):
    """Model that a user names, with data of the user's own; made by `own_model`.

    Attributes:
        source: `timm:NAME`, or `my_model.py:FUNCTION`, which returns the module.
        data: Text of the data, see `bench.data.own`.
        weights: File of the weights; None for timm's own, or those that the function's module has.
        config: Preparation of the images, plain values, see `bench.data.imagenet.transforms.data_config`.
        top1: Dense top-1 in percent that is expected; None holds it against nothing.
    """

    gate: ClassVar[float] = 0.3
    decodes: ClassVar[bool] = True

    source: str
    data: str
    weights: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    top1: float | None = None

    @property
    def images(self) -> OwnData:
        """The data."""
        return open_data(self.data)

    @property
    def dataset(self) -> str:  # type: ignore[override]  # a class' own in other models
        """Text of the data."""
        return self.data

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes of the data."""
        return len(self.images.classes)

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of data, weights and the function's file, and of all values of this specification."""
        found = {"data": self.images.checksum, "model": hashlib.sha256(self.model_dump_json().encode()).hexdigest()}
        if self.weights is not None:
            found["weights"] = assets.current_sha256(Path(self.weights))
        if (file := self._file) is not None:
            found["architecture"] = assets.sha256(file)
        return found

    @property
    def _file(self) -> Path | None:
        """File of the function that returns the module; None for a model of timm."""
        return None if self.source.startswith(TIMM) else Path(self.source.rpartition(":")[0])

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with a head for the data's classes, its weights random or those of the function."""
        if self._file is None:
            if not overrides.get("drop_path_rate"):  # which not every architecture takes
                overrides.pop("drop_path_rate", None)
            return super().build(**overrides)
        module = module_of_function(self.source)
        if (path := overrides.get("checkpoint_path")) is not None:
            module.load_state_dict(read_weights(Path(path)))
        return module

    def outline(self) -> nn.Module:
        """Returns the architecture; that of a function has values, as it may load some."""
        return self.build() if self._file is not None else super().outline()

    def loading_code(self, file: str) -> str:
        """Returns a line of Python that loads a checkpoint of the model."""
        if self._file is None:
            return super().loading_code(file)
        return f'model.load_state_dict(safetensors.torch.load_file("{file}"))  # of {self.source}'

    def recorded_top1(self, split: str = "test") -> float | None:
        """Returns the top-1 that the user expects of the test images, in percent; None for other splits."""
        return self.top1 if split == "test" else None

    def check(self) -> None:
        """Makes sure that every image can be decoded, and that the weights are of this model and these classes.

        Raises:
            UserError: If not.
        """
        check_images(self.data)
        if self.weights is not None:
            self._checked_weights(Path(self.weights))
        elif self._file is None:
            self._check_pretrained()
        if self._file is not None:
            self._check_outputs()

    def _checked_weights(self, path: Path) -> Mapping[str, torch.Tensor]:
        state, model = read_weights(path), self.outline()
        named = [*model.named_modules()]
        heads = [name.removesuffix(".weight") for name, why in find_layers(model).left_out.items() if why == "head"]
        head = tuple(f"{name}.{key}" for name, one in named if name in heads for key in one.state_dict())
        check_weights(state, model, path, self.source, head)
        return state

    def _check_pretrained(self) -> None:
        """Refuses weights of timm whose head is for other classes.

        Raises:
            UserError: If there are none, or they are.
        """
        from timm.models import get_pretrained_cfg

        found = get_pretrained_cfg(self.timm_name)
        if found is None or not found.has_weights:
            raise UserError(f"timm has no weights of {self.timm_name}: give a file of weights")
        if found.num_classes != self.num_classes:
            raise UserError(
                f"{self.source} has a head of {found.num_classes} classes, but {self.data} has {self.num_classes}: "
                "give a file of weights that were trained on these data"
            )
        pretrained_file(self.timm_name)

    def _check_outputs(self) -> None:
        """Refuses a module of a function that takes no such images, or gives no logit for each class."""
        model = self.build().eval()
        try:
            with torch.inference_mode():
                outputs = model(torch.zeros(1, *self.input_shape))
        except Exception as error:  # noqa: BLE001  a user's module may raise anything
            raise UserError(f"{self.source} takes no images {self.input_shape}: {first_line(error)}") from None
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if shape != (1, self.num_classes):
            raise UserError(
                f"{self.source} gives {shape} for an image, but {self.data} has {self.num_classes} classes: it must "
                f"give (1, {self.num_classes})"
            )

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its weights on a device, in eval mode.

        Raises:
            UserError: If the weights are missing, or of another architecture.
        """
        if self.weights is None and self._file is None:
            self._check_pretrained()
            overlay = {"file": str(pretrained_file(self.timm_name))}
            model = self.build(pretrained=True, pretrained_cfg_overlay=overlay)
        else:
            model = self.build()
            if self.weights is not None:
                model.load_state_dict(self._checked_weights(Path(self.weights)), strict=False)  # it may lack a counter
        return model.to(device).eval()

    def preparation(self) -> dict[str, Any]:
        """Returns the configuration of timm's transforms, and the names of the classes."""
        return {**self.config, "classes": [*self.images.classes]}

    def data_config(self) -> dict[str, Any]:
        """Returns how the images are prepared, see `bench.data.imagenet.transforms`."""
        return {key: tuple(value) if isinstance(value, list) else value for key, value in self.config.items()}

    def inputs(self, split: str) -> imagenet.DecodedInputs:
        """Returns the images of a split with timm's transforms for evaluation; `train` stands for `tuning`."""
        from bench.data.imagenet.transforms import eval_transform  # brings timm, which takes long to import

        stored = self.images.splits["tuning" if split == "train" else split]
        return imagenet.DecodedInputs(stored, eval_transform(self.data_config()))

    def calibration_inputs(self, count: int, seed: int) -> imagenet.DecodedInputs:
        """Returns the images that a trial calibrates on, of the split for it."""
        return self.inputs("calibration").subset(count, derive_seed(seed, "calibration"))

    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches: see `bench.data.imagenet.stream.DecodedStream`."""
        from bench.data.imagenet.stream import DecodedStream

        stored, config = self.images.splits["tuning"], self.data_config()
        return DecodedStream(stored, recipe, config, seed, rank, world_size, device, self.num_classes)

    def notes(self) -> Iterator[str]:
        """Yields what is to be known before a run: the layers to prune, and the splits of the data."""
        found = find_layers(self.outline())
        names = tuple(cap.select_layers(self.outline(), self.prunable))
        yield f"{self.name} {found if names == found.prunable else f'prunes {listed(names)}'}"
        yield str(self.images)


def own_model(
    source: str,
    data: str,
    name: str | None = None,
    weights: str | None = None,
    layers: Sequence[str] = (),
    transform: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    top1: float | None = None,
    family: str = "own",
) -> OwnModel:
    """Returns a user's own model with data of the user's own.

    Args:
        source: `timm:NAME`, or `my_model.py:FUNCTION`: a function without arguments that returns the module.
        data: The data: `imagefolder:FOLDER`, `parquet:FILE or FOLDER`, `hub:NAME`, or `my_data.py:FUNCTION`.
        name: Name in results; by default the source.
        weights: File of the weights, `.safetensors` or a state dict of `torch.save`; by default timm's own, or those
            that the function's module has.
        layers: Regular expressions for names of the weights to prune; by default those of all Linear and Conv2d layers
            but stem, head and depthwise convolutions.
        transform: Preparation of the images where it is not that of timm's `pretrained_cfg`, see `Transform`.
        options: Arguments of the timm architecture.
        top1: Dense top-1 in percent that is expected; the model is refused where it does not reach it.
        family: Family of the model in reports.

    Raises:
        UserError: If there is no such model, data or layer, or a key of the preparation is unknown.
    """
    opened = open_data(data)
    prepared = Transform.read(transform or {})
    timm_name = check_source(source)
    values: dict[str, Any] = {"name": name or source, "family": family, "source": source, "data": data,
                              "weights": weights, "top1": top1, "timm_name": timm_name,
                              "timm_options": {"num_classes": len(opened.classes), **(options or {})}}  # fmt: skip
    try:
        module = OwnModel(**values, prunable=(), input_size=1).outline()
    except (TypeError, RuntimeError, ValueError) as error:  # timm's, of options and tags that it does not know
        raise UserError(f"{source} cannot be built: {first_line(error)}") from None
    config = data_config_of(source, module, prepared)
    prunable = tuple(layers) or tuple(re.escape(one) for one in find_layers(module).prunable)
    try:
        cap.select_layers(module, prunable)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    if not prunable:
        raise UserError(f"{source} has no Linear or Conv2d layer to prune beside stem and head: name some")
    return OwnModel(**values, prunable=prunable, input_size=config["input_size"][-1], config=config)
