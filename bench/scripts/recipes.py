"""Recipes that the embedded models are trained by."""

from __future__ import annotations

from bench.core.config import Spec
from bench.scripts.augmentation import Augmentation

STRONG = Augmentation(shift=2, rotation=10, scale=0.1, flip=0.5, jitter=0.2, erasing=0.25)
MILD = Augmentation(shift=2, flip=0.5, jitter=0.2, erasing=0.1)


class Recipe(Spec):
    """Training of one model with labels.

    Attributes:
        epochs: Passes over the training images.
        lr: Highest learning rate; it rises during the warm-up and falls to zero along a cosine.
        batch_size: Number of images in a step.
        warmup_epochs: Epochs of the warm-up.
        weight_decay: Weight decay of AdamW.
        drop_path: Rate of stochastic depth in the last block.
        mixup: Alpha of mixup.
        cutmix: Alpha of cutmix.
        mixup_prob: Probability that a batch is mixed at all.
        smoothing: Label smoothing.
        ema_decay: Decay of the moving average of the weights.
        grad_clip: Largest norm of the gradient.
        augmentation: Strengths of the augmentation.
        calm_epochs: Last epochs, which run with MILD augmentation and neither mixup nor cutmix.
    """

    epochs: int
    lr: float
    batch_size: int = 128
    warmup_epochs: int = 3
    weight_decay: float = 0.05
    drop_path: float = 0.05
    mixup: float = 0.2
    cutmix: float = 0.5
    mixup_prob: float = 0.5
    smoothing: float = 0.1
    ema_decay: float = 0.998
    grad_clip: float = 1.0
    augmentation: Augmentation = STRONG
    calm_epochs: int = 10


class ContrastiveRecipe(Spec):
    """Training of a vision transformer without labels.

    Attributes:
        epochs: Passes over the training images.
        lr: Highest learning rate; it rises during the warm-up and falls to zero along a cosine.
        batch_size: Number of images in a step.
        warmup_epochs: Epochs of the warm-up.
        weight_decay: Weight decay of AdamW.
        temperature: Temperature of the cosine similarities.
        hidden: Width of the hidden layers of the projection head.
        projection: Width of its output.
        ema_decay: Decay of the moving average of the weights.
        grad_clip: Largest norm of the gradient.
        crop: Smallest and largest share of the image's area in a view.
        jitter: Largest relative change of brightness and of contrast.
        hidden_patches: Share of the patches of each view that the encoder does not see.
    """

    epochs: int
    lr: float = 3e-3
    batch_size: int = 256
    warmup_epochs: int = 2
    weight_decay: float = 0.04
    temperature: float = 0.2
    hidden: int = 256
    projection: int = 64
    ema_decay: float = 0.99
    grad_clip: float = 3.0
    crop: tuple[float, float] = (0.4, 1.0)
    jitter: float = 0.4
    hidden_patches: float = 0.3


RECIPES = {
    "vit": Recipe(epochs=80, lr=1.5e-3),
    "convnext": Recipe(epochs=105, lr=3e-3, drop_path=0.1),
    "xcit": Recipe(epochs=50, lr=1.5e-3),
}

# without labels; views are not flipped: all shoes look to the left
PRETRAINING = {"simclr": ContrastiveRecipe(epochs=60)}

# numbers of epochs among which the validation images choose, on the first seed
EPOCHS = {"vit": (50, 90), "convnext": (60, 105), "xcit": (30, 50), "simclr": (30, 60)}
