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


class DinoRecipe(Spec):
    """Training of the DINO model without labels.

    Attributes:
        epochs: Passes over the training images.
        lr: Highest learning rate; it rises during the warm-up and falls to zero along a cosine.
        batch_size: Number of images in a step.
        warmup_epochs: Epochs of the warm-up.
        weight_decay: Weight decay of AdamW.
        local_crops: Number of narrow crops of each image.
        prototypes: Number of outputs of the heads.
        momentum: First momentum of the teacher; it rises to 1 along a cosine.
        teacher_temp: Temperature of the teacher's outputs.
        student_temp: Temperature of the student's outputs.
        grad_clip: Largest norm of the gradient.
        wide: Smallest and largest share of the image's area in a wide crop.
        narrow: The same of a narrow crop.
        jitter: Largest relative change of brightness and of contrast.
        masking: Share of the patches that the student does not see of a wide crop.
    """

    epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 128
    warmup_epochs: int = 2
    weight_decay: float = 0.04
    local_crops: int = 4
    prototypes: int = 1024
    momentum: float = 0.99
    teacher_temp: float = 0.04
    student_temp: float = 0.1
    grad_clip: float = 3.0
    wide: tuple[float, float] = (0.4, 1.0)
    narrow: tuple[float, float] = (0.1, 0.4)
    jitter: float = 0.4
    masking: float = 0.0


RECIPES = {
    "vit": Recipe(epochs=80, lr=1.5e-3),
    "convnext": Recipe(epochs=105, lr=3e-3, drop_path=0.1),
    "xcit": Recipe(epochs=50, lr=1.5e-3),
    "dino": Recipe(epochs=60, lr=1.5e-3, drop_path=0.05),
}

# numbers of epochs among which the validation images choose, on the first seed
EPOCHS = {"vit": (50, 90), "convnext": (60, 105), "xcit": (30, 50), "dino": (30, 60)}

# Objects fill the image and are told apart by outline and brightness, which narrow crops and strong jitter take away;
# what is left to learn from is given back by hiding patches (masked siamese networks, arXiv 2204.07141).
PRETRAINING = DinoRecipe(epochs=100, warmup_epochs=5, wide=(0.6, 1.0), narrow=(0.3, 0.6), jitter=0.1, masking=0.3)
