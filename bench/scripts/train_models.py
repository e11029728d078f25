"""Training of the embedded models from the embedded training images alone, several seeds each.

`nox -s train_zoo -- --model vit --seeds 0 1 2`. The supervised recipe follows the models' own papers in small: AdamW,
cosine decay after a warm-up, mixup and cutmix, label smoothing, stochastic depth, random erasing, an exponential moving
average of the weights. The self-supervised model is first trained without labels (Caron et al., 2021, arXiv 2104.14294:
multi-crop self-distillation), then a linear head is fitted on frozen features, then all of it is fine-tuned.

The number of epochs is chosen on the validation images: the first seed runs every number of `recipes.EPOCHS`, the one
with the highest top-1 at its end is taken, of equals the smallest, and all seeds run that. The test images are read
once, for the accuracy on the model's card. Every epoch ends with a checkpoint in the working folder; a run that was
killed goes on from there when it is started again, and what is done is not done again.

The weights without a seed in their name were trained before, with numbers of epochs that had been raised for two models
after a look at test accuracy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bench.assets import ASSETS, write_checksums
from bench.core.files import atomic_write
from bench.core.random_state import derive_seed, seed_everything
from bench.data.fashion_mnist import load_split
from bench.evaluation.accuracy import evaluate
from bench.models.embedded import EMBEDDED, EmbeddedModel
from bench.models.probing import features, fit_linear_head, knn_top1
from bench.scripts.recipes import EPOCHS, PRETRAINING, RECIPES
from bench.scripts.training import EpochRecord, SupervisedTraining, run_epochs

FIRST_SEED = 0
PROBE_EVERY = 5  # epochs of pretraining from one search for neighbours to the next
WORK = Path("runs", "zoo")


def choose_epochs(validation_top1: Mapping[int, float]) -> int:
    """Returns the number of epochs with the highest validation top-1, of equals the smallest.

    Args:
        validation_top1: {number of epochs: top-1 at the end, percent}.
    """
    return min(validation_top1, key=lambda epochs: (-validation_top1[epochs], epochs))


class ZooTraining:
    """Training of one model with one seed in a working folder.

    Args:
        spec: Specification of the model, without a seed.
        seed: Seed of weights, order and augmentation.
        work: Working folder of all models.
    """

    def __init__(self, spec: EmbeddedModel, seed: int, work: Path = WORK) -> None:
        self.spec, self.seed, self.work = spec.with_seed(seed), seed, work
        self.label = f"{spec.name} seed {seed}"

    def pretrained(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Returns weights with a linear head after the pretraining without labels, and their part of the card."""
        from bench.scripts.dino import SelfDistillation  # needs the extra training

        seed = derive_seed(self.seed, "pretraining")
        training = SelfDistillation(self.spec, load_split("train"), PRETRAINING, seed)

        def neighbours(split: str = "validation") -> float:
            known = features(training.backbone, self.spec.inputs("train"))
            return knn_top1(*known, *features(training.backbone, self.spec.inputs(split)), self.spec.num_classes)

        folder = self.work / f"{self.spec.name}-{self.seed}-pretraining"
        records = run_epochs(training, folder, neighbours, f"{self.label} pretraining", PROBE_EVERY)
        bank = features(training.backbone, self.spec.inputs("train"))
        head = fit_linear_head(*bank, self.spec.num_classes, seed)
        weights = {**training.backbone.state_dict(), **{f"head.{k}": v for k, v in head.state_dict().items()}}
        model = self.spec.build()
        model.load_state_dict(weights)
        return weights, {
            "pretraining": PRETRAINING.model_dump(),
            "pretraining_seconds": round(sum(record.seconds for record in records)),
            "pretraining_validation_knn_top1": _by_epoch(records),
            "pretraining_knn_top1": neighbours("test"),
            "linear_head_top1": evaluate(model.eval(), self.spec.inputs("test")).top1,
        }

    def run(self, epochs: int, weights: Mapping[str, torch.Tensor] | None = None) -> list[EpochRecord]:
        """Trains with labels for a number of epochs, or goes on where an earlier run ended; leaves the weights.

        Args:
            epochs: Number of epochs.
            weights: First weights; random ones by default.

        Returns:
            A record for each epoch.
        """
        folder = self.work / f"{self.spec.name}-{self.seed}-{epochs}"
        recipe = RECIPES[self.spec.name].model_copy(update={"epochs": epochs})
        seed_everything(derive_seed(self.seed, "weights"))
        model = self.spec.build(drop_path_rate=recipe.drop_path)
        if weights is not None:
            model.load_state_dict(dict(weights))
        training = SupervisedTraining(model, self.spec, load_split("train"), recipe, derive_seed(self.seed, "training"))

        def validate() -> float:
            return evaluate(training.averaged, self.spec.inputs("validation")).top1

        records = run_epochs(training, folder, validate, f"{self.label}, {epochs} epochs")
        with atomic_write(self.weights_file(epochs)) as temporary:
            save_file({k: v.contiguous() for k, v in training.averaged.state_dict().items()}, temporary)
        return records

    def weights_file(self, epochs: int) -> Path:
        """Returns where the weights are after a number of epochs."""
        return self.work / f"{self.spec.name}-{self.seed}-{epochs}.safetensors"


def make(name: str, seeds: Sequence[int], work: Path = WORK) -> None:
    """Trains a model with every seed and writes weights and cards; the first seed chooses the number of epochs."""
    tried: dict[int, float] = {}
    for seed in dict.fromkeys((FIRST_SEED, *seeds)):
        training = ZooTraining(EMBEDDED[name], seed, work)
        weights, card = training.pretrained() if EMBEDDED[name].family == "dino" else (None, {})
        lengths = (choose_epochs(tried),) if tried else EPOCHS[name]
        runs = {epochs: training.run(epochs, weights) for epochs in lengths}
        tried = tried or {epochs: records[-1].validation_top1 or 0.0 for epochs, records in runs.items()}
        chosen = choose_epochs(tried)
        card = {**card, "epochs_validation_top1": tried, "validation_top1_by_epoch": _by_epoch(runs[chosen])}
        card["seconds"] = round(sum(record.seconds for record in runs[chosen]))
        if seed in seeds:
            publish(training, chosen, card)


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
        "recipe": RECIPES[spec.name].model_copy(update={"epochs": epochs}).model_dump(),
        **about,
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
    parser.add_argument("--model", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.model:
        make(name, arguments.seeds, arguments.work)


if __name__ == "__main__":
    main()
