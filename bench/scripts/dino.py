"""Self-distillation without labels (DINO; Caron et al., 2021, arXiv 2104.14294), with multi-crop views."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from bench.data.fashion_mnist import MEAN, STD, Split
from bench.models import ModelSpec
from bench.scripts.augmentation import Augmentation, augment, warp
from bench.scripts.optimization import create_optimizer, create_scheduler
from bench.scripts.recipes import DinoRecipe

WIDE, NARROW = (0.4, 1.0), (0.1, 0.4)  # share of the image's area in a crop


def random_crops(images: Tensor, area: tuple[float, float], size: int, generator: torch.Generator) -> Tensor:
    """Cuts one random square out of each image, flips, jitters and resizes it.

    Args:
        images: Images (n, channels, h, w), float in [0, 1].
        area: Smallest and largest share of the image's area in a crop.
        size: Side of the crops after resizing, pixels.
        generator: Only source of randomness.
    """
    n, (low, high) = len(images), area
    side = (torch.rand(n, generator=generator) * (high - low) + low).sqrt()
    centre = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = side * (1 - 2 * (torch.rand(n, generator=generator) < 0.5).float())
    theta[:, 1, 1] = side
    theta[:, :, 2] = centre
    return augment(warp(images, theta, size), Augmentation(jitter=0.4), generator)


class SelfDistillation:
    """Student and teacher of one pretraining; the teacher is an exponential moving average of the student.

    Args:
        spec: Model whose backbone is trained.
        recipe: Recipe of the pretraining.
        steps_per_epoch: Number of steps in an epoch.
        generator: Source of randomness of the crops.
    """

    def __init__(self, spec: ModelSpec, recipe: DinoRecipe, steps_per_epoch: int, generator: torch.Generator) -> None:
        self.recipe, self.size, self.generator = recipe, spec.input_size, generator
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
        self.steps = recipe.epochs * steps_per_epoch
        self.scheduler = create_scheduler(self.optimizer, self.steps, recipe.warmup_epochs * steps_per_epoch)

    def loss(self, images: Tensor, epoch: int) -> Tensor:
        """Returns the distillation loss of new crops of images (n, 1, size, size), float in [0, 1]."""
        recipe = self.recipe
        wide = torch.cat([self._crops(images, WIDE, self.size) for _ in range(2)])
        narrow = torch.cat([self._crops(images, NARROW, self.size // 2) for _ in range(recipe.local_crops)])
        with torch.no_grad():
            targets = list(self.teacher_head(self.teacher(wide)).chunk(2))
        views = [*self.student_head(self.student(wide)).chunk(2)]
        views += self.student_head(self.student(narrow)).chunk(recipe.local_crops)
        return self.criterion(targets, views, epoch=epoch)

    def _crops(self, images: Tensor, area: tuple[float, float], size: int) -> Tensor:
        return (random_crops(images, area, size, self.generator) - MEAN) / STD

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


def pretrain(spec: ModelSpec, train_set: Split, recipe: DinoRecipe, seed: int) -> nn.Module:
    """Trains without labels; returns the teacher's backbone, as the paper evaluates it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    steps_per_epoch = len(train_set) // recipe.batch_size
    training = SelfDistillation(spec, recipe, steps_per_epoch, generator)
    step, start = 0, time.perf_counter()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(train_set), generator=generator)[: steps_per_epoch * recipe.batch_size]
        total = 0.0
        for images, _ in train_set.batches(recipe.batch_size, order):
            loss = training.loss(images.float() / 255, epoch)
            training.step(loss, epoch, step)
            step += 1
            total += loss.item()
        print(f"dino pretraining epoch {epoch + 1}/{recipe.epochs} loss {total / steps_per_epoch:.4f} "
              f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    return training.teacher.eval()
