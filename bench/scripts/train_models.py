"""Training of the embedded models from the embedded training images alone, several seeds each.

`nox -s train_zoo -- --model vit --seeds 0 1 2`. The supervised recipe follows the models' own papers in small: AdamW,
cosine decay after a warm-up, mixup and cutmix, label smoothing, stochastic depth, random erasing, an exponential moving
average of the weights. The self-supervised model is trained without labels (`bench.scripts.contrastive`); its features
are frozen, and a linear head is fitted to them. Smaller dense models (`--model vit_75`, `bench.models.smaller`) have
the recipe and the number of epochs of the model that they are set beside.

The number of epochs is chosen on the validation images: the first seed runs every number of `recipes.EPOCHS`, the one
with the highest top-1 at its end (without labels that of nearest neighbours) is taken, of equals the smallest, and all
seeds run that. The test images are read
once, for the accuracy on the model's card. Every epoch ends with a checkpoint in the working folder; a run that was
killed goes on from there when it is started again, and what is done is not done again.

The weights without a seed in their name were trained before, with numbers of epochs that had been raised for two models
after a look at test accuracy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.assets import ASSETS, write_checksums
from bench.core.files import atomic_write
from bench.core.random_state import derive_seed, seed_everything
from bench.data.fashion_mnist import load_split
from bench.evaluation.accuracy import evaluate
from bench.models.embedded import EMBEDDED, EmbeddedModel
from bench.models.probing import best_linear_head, features, knn_top1, pooled
from bench.models.smaller import SMALLER, SmallerModel
from bench.scripts.recipes import EPOCHS, PRETRAINING, RECIPES, ContrastiveRecipe, Recipe
from bench.scripts.training import EpochRecord, SupervisedTraining, run_epochs

MODELS: dict[str, EmbeddedModel] = {**EMBEDDED, **SMALLER}
FIRST_SEED = 0
PROBE_EVERY = 5  # epochs of pretraining from one search for neighbours to the next
WORK = Path("runs", "zoo")


def choose_epochs(validation_top1: Mapping[int, float]) -> int:
    """Returns the number of epochs with the highest validation top-1, of equals the smallest.

    Args:
        validation_top1: {number of epochs: top-1 at the end, percent}.
    """
    return min(validation_top1, key=lambda epochs: (-validation_top1[epochs], epochs))


def recipe_of(spec: EmbeddedModel) -> Recipe:
    """Returns the recipe of a model with labels: its own, or that of the dense model that it is set beside."""
    return RECIPES[spec.base if isinstance(spec, SmallerModel) else spec.name]


def lengths_of(spec: EmbeddedModel) -> tuple[int, ...]:
    """Returns the numbers of epochs to choose from: of a smaller model the one that was chosen for the dense model.

    Raises:
        UserError: If that was not trained yet.
    """
    if not isinstance(spec, SmallerModel):
        return EPOCHS[spec.name]
    dense = EMBEDDED[spec.base].with_seed(FIRST_SEED)
    dense.check()
    return (dense.card()["recipe"]["epochs"],)


class ZooTraining:
    """Training of one model with labels and one seed in a working folder.

    Args:
        spec: Specification of the model.
        seed: Seed of weights, order and augmentation.
        work: Working folder of all models.
    """

    def __init__(self, spec: EmbeddedModel, seed: int, work: Path = WORK) -> None:
        self.spec, self.seed, self.work = spec.with_seed(seed), seed, work
        self.label = f"{spec.name} seed {seed}"

    def recipe(self, epochs: int) -> Recipe | ContrastiveRecipe:
        """Returns the recipe with a number of epochs."""
        return recipe_of(self.spec).model_copy(update={"epochs": epochs})

    def run(self, epochs: int) -> list[EpochRecord]:
        """Trains for a number of epochs, or goes on where an earlier run ended; leaves the weights.

        Args:
            epochs: Number of epochs.

        Returns:
            A record for each epoch.
        """
        recipe = recipe_of(self.spec).model_copy(update={"epochs": epochs})
        seed_everything(derive_seed(self.seed, "weights"))
        model = self.spec.build(drop_path_rate=recipe.drop_path)
        training = SupervisedTraining(model, self.spec, load_split("train"), recipe, derive_seed(self.seed, "training"))

        def validate() -> float:
            return evaluate(training.averaged, self.spec.inputs("validation")).top1

        records = run_epochs(training, self.folder(epochs), validate, f"{self.label}, {epochs} epochs")
        self.save(training.averaged.state_dict(), epochs)
        return records

    def folder(self, epochs: int) -> Path:
        """Returns the folder of the checkpoint of a training of a number of epochs."""
        return self.work / f"{self.spec.name}-{self.seed}-{epochs}"

    def weights_file(self, epochs: int) -> Path:
        """Returns where the weights are after a number of epochs."""
        return self.work / f"{self.spec.name}-{self.seed}-{epochs}.safetensors"

    def save(self, weights: Mapping[str, torch.Tensor], epochs: int) -> None:
        """Writes the weights after a number of epochs."""
        with atomic_write(self.weights_file(epochs)) as temporary:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary)

    def findings(self, model: nn.Module) -> dict[str, Any]:
        """Returns what the card says of a trained model beside its accuracy."""
        return {}


class FrozenTraining(ZooTraining):
    """Training of one model without labels and one seed, and of a linear head on its frozen features."""

    def recipe(self, epochs: int) -> Recipe | ContrastiveRecipe:
        """Returns the recipe of the training without labels with a number of epochs."""
        return PRETRAINING[self.spec.name].model_copy(update={"epochs": epochs})

    def run(self, epochs: int) -> list[EpochRecord]:
        """Trains features and head, or goes on where an earlier run ended; top-1 in the records is of neighbours."""
        from bench.scripts.contrastive import ContrastiveTraining  # needs the extra training

        seed = derive_seed(self.seed, "pretraining")
        recipe = PRETRAINING[self.spec.name].model_copy(update={"epochs": epochs})
        training = ContrastiveTraining(self.spec, load_split("train"), recipe, seed)

        def validate() -> float:
            return nearest_neighbours(training.backbone, self.spec, "validation")

        label = f"{self.label}, {epochs} epochs without labels"
        records = run_epochs(training, self.folder(epochs), validate, label, PROBE_EVERY)
        known = features(training.backbone, self.spec.inputs("train"))
        head = best_linear_head(*known, self.spec.num_classes, seed)
        weights = {**training.backbone.state_dict(), **{f"head.{k}": v for k, v in head.state_dict().items()}}
        self.save(weights, epochs)
        return records

    def findings(self, model: nn.Module) -> dict[str, Any]:
        """Returns the top-1 of nearest neighbours on both splits, by features and by the normalised pixels."""
        return {
            f"{split}_{name}_knn_top1": nearest_neighbours(backbone, self.spec, split)
            for split in ("validation", "test")
            for name, backbone in (("features", pooled(model)), ("pixels", nn.Flatten()))
        }


def nearest_neighbours(backbone: Callable[[torch.Tensor], torch.Tensor], spec: EmbeddedModel, split: str) -> float:
    """Returns the top-1 in percent of nearest neighbours among all training images.

    Args:
        backbone: Function from inputs to features (n, width).
        spec: Model whose inputs these are.
        split: Split of the images that are classified.
    """
    known, asked = (features(backbone, spec.inputs(name)) for name in ("train", split))
    return knn_top1(*known, *asked, spec.num_classes)


def make(name: str, seeds: Sequence[int], work: Path = WORK) -> None:
    """Trains a model with every seed and writes weights and cards; the first seed chooses the number of epochs."""
    kind = FrozenTraining if name in PRETRAINING else ZooTraining
    tried: dict[int, float] = {}
    for seed in dict.fromkeys((FIRST_SEED, *seeds)):
        training = kind(MODELS[name], seed, work)
        lengths = (choose_epochs(tried),) if tried else lengths_of(MODELS[name])
        runs = {epochs: training.run(epochs) for epochs in lengths}
        tried = tried or {epochs: records[-1].validation_top1 or 0.0 for epochs, records in runs.items()}
        chosen = choose_epochs(tried)
        card = {"epochs_validation_top1": tried, "validation_top1_by_epoch": _by_epoch(runs[chosen])}
        if seed in seeds:
            publish(training, chosen, {**card, "seconds": round(sum(record.seconds for record in runs[chosen]))})


def publish(training: ZooTraining, epochs: int, about: Mapping[str, Any]) -> None:
    """Puts the weights after a number of epochs among the embedded assets, with their card.

    Args:
        training: The training.
        epochs: Number of epochs.
        about: What the training adds to the card.
    """
    spec = training.spec
    weights = load_file(training.weights_file(epochs))
    model = spec.build()
    model.load_state_dict(weights)
    tested, validated = (evaluate(model.eval(), spec.inputs(split)) for split in ("test", "validation"))
    card = {
        "model": spec.name,
        "timm_name": spec.timm_name,
        "timm_options": spec.timm_options,
        "command": f"nox -s train_zoo -- --model {spec.name} --seeds {training.seed}",
        "seed": training.seed,
        "train_images": len(load_split("train")),
        "recipe": training.recipe(epochs).model_dump(),
        **about,
        **training.findings(model),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation_top1": validated.top1,
        "validation_images": validated.n_images,
        "top1": tested.top1,
        "top5": tested.top5,
        "loss": tested.loss,
        "test_images": tested.n_images,
    }
    path, record = (ASSETS / name for name in spec.files)
    with atomic_write(path) as temporary:
        save_file(weights, temporary)
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    write_checksums()
    found = f"top-1 {tested.top1:.2f} %, validation {validated.top1:.2f} %"
    print(f"{training.label}: {epochs} epochs, {found}", flush=True)


def _by_epoch(records: Sequence[EpochRecord]) -> dict[int, float]:
    return {one.epoch: one.validation_top1 for one in records if one.validation_top1 is not None}


def main() -> None:
    """Trains the chosen models one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=[*EPOCHS, *SMALLER], default=list(EPOCHS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.model:
        make(name, arguments.seeds, arguments.work)


if __name__ == "__main__":
    main()
