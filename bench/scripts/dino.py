"""Self-distillation without labels (DINO; Caron et al., 2021, arXiv 2104.14294), with multi-crop views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from bench.core.random_state import seed_everything
from bench.data.fashion_mnist import MEAN, STD, Split
from bench.models import ModelSpec
from bench.scripts.augmentation import Augmentation, augment, hide_patches, warp
from bench.scripts.optimization import create_optimizer, create_scheduler
from bench.scripts.recipes import DinoRecipe


def random_crops(
    images: Tensor, area: tuple[float, float], size: int, generator: torch.Generator, jitter: float = 0.4
) -> Tensor:
    """Cuts one random square out of each image, flips, jitters and resizes it.

    Args:
        images: Images (n, channels, h, w), float in [0, 1].
        area: Smallest and largest share of the image's area in a crop.
        size: Side of the crops after resizing, pixels.
        generator: Only source of randomness.
        jitter: Largest relative change of brightness and of contrast.
    """
    n, (low, high) = len(images), area
    side = (torch.rand(n, generator=generator) * (high - low) + low).sqrt()
    centre = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = side * (1 - 2 * (torch.rand(n, generator=generator) < 0.5).float())
    theta[:, 1, 1] = side
    theta[:, :, 2] = centre
    return augment(warp(images, theta, size), Augmentation(jitter=jitter), generator)


class SelfDistillation:
    """Student and teacher of one pretraining; the teacher is an exponential moving average of the student.

    Args:
        spec: Model whose backbone is trained.
        train_set: Training images.
        recipe: Recipe of the pretraining.
        seed: Seed of weights, order and crops.

    Attributes:
        epochs: Number of epochs.
        identity: Text that tells the training from others.
    """

    def __init__(self, spec: ModelSpec, train_set: Split, recipe: DinoRecipe, seed: int) -> None:
        self.recipe, self.size, self.train_set, self.epochs = recipe, spec.input_size, train_set, recipe.epochs
        self.identity = f"{spec.model_dump_json()} {recipe.model_dump_json()} {len(train_set)} {seed}"
        self.patch = spec.timm_options["patch_size"]
        self.generator = torch.Generator().manual_seed(seed)
        seed_everything(seed)
        backbone: dict[str, Any] = {"num_classes": 0, "dynamic_img_size": True}
        self.student = spec.build(**backbone, drop_path_rate=0.05)
        self.teacher = spec.build(**backbone)
        width = spec.timm_options["embed_dim"]
        self.student_head = DINOProjectionHead(width, 512, 128, recipe.prototypes, freeze_last_layer=1)
        self.teacher_head = DINOProjectionHead(width, 512, 128, recipe.prototypes)
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher_head.load_state_dict(self.student_head.state_dict())
        for parameter in [*self.teacher.parameters(), *self.teacher_head.parameters()]:
            parameter.requires_grad = False
        self.criterion = DINOLoss(
            output_dim=recipe.prototypes,
            warmup_teacher_temp=recipe.teacher_temp,
            teacher_temp=recipe.teacher_temp,
            student_temp=recipe.student_temp,
        )
        self.learner = nn.ModuleList([self.student, self.student_head])
        self.optimizer = create_optimizer(self.learner, recipe.lr, recipe.weight_decay)
        self.steps_per_epoch = len(train_set) // recipe.batch_size
        self.steps = recipe.epochs * self.steps_per_epoch
        self.scheduler = create_scheduler(self.optimizer, self.steps, recipe.warmup_epochs * self.steps_per_epoch)

    def loss(self, images: Tensor, epoch: int) -> Tensor:
        """Returns the distillation loss of new crops of images (n, 1, size, size), float in [0, 1]."""
        recipe = self.recipe
        wide = torch.cat([self._crops(images, recipe.wide, self.size) for _ in range(2)])
        narrow = torch.cat([self._crops(images, recipe.narrow, self.size // 2) for _ in range(recipe.local_crops)])
        with torch.no_grad():
            targets = list(self.teacher_head(self.teacher(wide)).chunk(2))
        if recipe.masking:
            wide = hide_patches(wide, self.patch, recipe.masking, self.generator)
        views = [*self.student_head(self.student(wide)).chunk(2)]
        views += self.student_head(self.student(narrow)).chunk(recipe.local_crops)
        return self.criterion(targets, views, epoch=epoch)

    def _crops(self, images: Tensor, area: tuple[float, float], size: int) -> Tensor:
        return (random_crops(images, area, size, self.generator, self.recipe.jitter) - MEAN) / STD

    def step(self, loss: Tensor, epoch: int, step: int) -> None:
        """Updates the student by the gradient, and the teacher by its average."""
        self.optimizer.zero_grad()
        loss.backward()
        self.student_head.cancel_last_layer_gradients(current_epoch=epoch)
        nn.utils.clip_grad_norm_(self.learner.parameters(), self.recipe.grad_clip)
        self.optimizer.step()
        self.scheduler.step()
        momentum = 1 - (1 - self.recipe.momentum) * (1 + math.cos(math.pi * step / self.steps)) / 2
        update_momentum(self.student, self.teacher, m=momentum)
        update_momentum(self.student_head, self.teacher_head, m=momentum)

    def run_epoch(self, epoch: int) -> float:
        """Trains for one epoch, the first is 0; returns the mean loss."""
        recipe, total = self.recipe, 0.0
        for part in (self.student, self.student_head, self.teacher, self.teacher_head):
            part.train()
        order = torch.randperm(len(self.train_set), generator=self.generator)
        batches = self.train_set.batches(recipe.batch_size, order[: self.steps_per_epoch * recipe.batch_size])
        for number, (images, _) in enumerate(batches):
            loss = self.loss(images.float() / 255, epoch)
            self.step(loss, epoch, epoch * self.steps_per_epoch + number)
            total += loss.item()
        return total / self.steps_per_epoch

    @property
    def backbone(self) -> nn.Module:
        """Teacher's backbone, as the paper evaluates it, in eval mode."""
        return self.teacher.eval()

    def _parts(self) -> dict[str, Any]:
        return {
            "learner": self.learner,
            "teacher": self.teacher,
            "teacher_head": self.teacher_head,
            "criterion": self.criterion,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns both networks, the loss's centre, optimiser, rate and generator."""
        return {**{k: part.state_dict() for k, part in self._parts().items()}, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
