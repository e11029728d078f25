"""Contrastive pretraining without labels (SimCLR; Chen et al., 2020, arXiv 2002.05709) of a vision transformer.

The encoder sees a part of the patches of each view, as a masked siamese network does (Assran et al., 2022, arXiv
2204.07141): a step takes less time, and what is hidden is one more change that the features must not depend on.
"""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import NTXentLoss
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from bench.core.random_state import seed_everything
from bench.data.fashion_mnist import MEAN, STD, Split
from bench.models import ModelSpec
from bench.scripts.augmentation import kept_patches, random_crops
from bench.scripts.optimization import create_optimizer, create_scheduler
from bench.scripts.recipes import ContrastiveRecipe
from bench.scripts.training import AveragedTraining, for_training


def projection_head(width: int, hidden: int, output: int) -> nn.Module:
    """Returns the network between features and loss: two hidden layers with batch normalisation."""
    layers: list[nn.Module] = []
    for inputs in (width, hidden):
        layers += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(hidden, output))


class ContrastiveTraining(AveragedTraining):
    """Pretraining of one encoder; its result is the exponential moving average of the weights.

    Args:
        spec: Model whose backbone is trained, a vision transformer of timm with a mean of patches as features.
        train_set: Training images.
        recipe: Recipe of the pretraining.
        seed: Seed of weights, order and views.

    Attributes:
        epochs: Number of epochs.
        identity: Text that tells the training from others.
    """

    def __init__(self, spec: ModelSpec, train_set: Split, recipe: ContrastiveRecipe, seed: int) -> None:
        self.recipe, self.size, self.train_set, self.epochs = recipe, spec.input_size, train_set, recipe.epochs
        self.identity = f"{spec.model_dump_json()} {recipe.model_dump_json()} {len(train_set)} {seed}"
        self.generator = torch.Generator().manual_seed(seed)
        seed_everything(seed)
        self.encoder: Any = for_training(spec.build(num_classes=0))
        self.head = projection_head(spec.timm_options["embed_dim"], recipe.hidden, recipe.projection)
        self.criterion = NTXentLoss(recipe.temperature)
        self.learner = nn.ModuleList([self.encoder, self.head])
        self.optimizer = create_optimizer(self.learner, recipe.lr, recipe.weight_decay)
        self.steps_per_epoch = len(train_set) // recipe.batch_size
        steps, warmup = recipe.epochs * self.steps_per_epoch, recipe.warmup_epochs * self.steps_per_epoch
        self.scheduler = create_scheduler(self.optimizer, steps, warmup)
        self.ema = ModelEmaV3(self.encoder, decay=recipe.ema_decay, use_warmup=True)

    def view(self, images: Tensor) -> Tensor:
        """Returns normalised random crops of images (n, 1, size, size), float in [0, 1]."""
        return (random_crops(images, self.recipe.crop, self.size, self.generator, self.recipe.jitter) - MEAN) / STD

    def encode(self, views: Tensor) -> Tensor:
        """Returns the features (n, width) of views of which a random share of the patches is left out."""
        net = self.encoder
        tokens = net._pos_embed(net.patch_embed(views))  # (n, prefix and patches, width)
        patches = tokens.shape[1] - net.num_prefix_tokens
        kept = kept_patches(len(views), patches, self.recipe.hidden_patches, self.generator)
        prefix = torch.arange(net.num_prefix_tokens).expand(len(views), -1)
        chosen = torch.cat([prefix, kept + net.num_prefix_tokens], 1).unsqueeze(2).expand(-1, -1, tokens.shape[2])
        features: Tensor = net.forward_head(net.norm(net.blocks(tokens.gather(1, chosen))), pre_logits=True)
        return features

    def loss(self, images: Tensor) -> Tensor:
        """Returns the loss of two new views of images (n, 1, size, size), float in [0, 1]."""
        views = torch.cat([self.view(images), self.view(images)])
        loss: Tensor = self.criterion(*self.head(self.encode(views)).chunk(2))
        return loss

    def run_epoch(self, epoch: int) -> float:
        """Trains for one epoch, the first is 0; returns the mean loss."""
        recipe, total = self.recipe, 0.0
        self.learner.train()
        order = torch.randperm(len(self.train_set), generator=self.generator)
        batches = self.train_set.batches(recipe.batch_size, order[: self.steps_per_epoch * recipe.batch_size])
        for images, _ in batches:
            loss = self.loss(images.float() / 255)
            self.descend(loss, self.learner, self.encoder, recipe.grad_clip)
            total += loss.item()
        return total / self.steps_per_epoch

    @property
    def backbone(self) -> nn.Module:
        """Encoder with the moving average of the weights, in eval mode."""
        return self.averaged

    def _parts(self) -> dict[str, Any]:
        return {"learner": self.learner, "ema": self.ema, "optimizer": self.optimizer, "scheduler": self.scheduler}
