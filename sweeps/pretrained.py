"""Networks that others trained on natural images, one-shot: a ViT-S fine-tuned from DINOv2, EfficientNet-Lite0.

The head is a linear one, fitted to features of Fashion-MNIST or of data that the environment names; the ViT's
features are also judged by nearest neighbours. EfficientNet-Lite0 is pruned with the statistics of its batch
normalisation kept and estimated anew. The profile pretrained_imagenet has its own head and ImageNet-1k.
"""

from bench.specs.profiles import PRETRAINED, PRETRAINED_IMAGENET
from bench.specs.sweep import Sweep, grid

SPARSITIES = ("0.5", "0.6", "0.75")
UNIFORM = ("0.5@layer", "0.75@layer")  # shared by all; OBC and ALPS solve anew for each, which takes minutes
TOGETHER, LAYER_BY_LAYER = ("magnitude", "woodfisher", "cap"), ("obc", "alps")
IMAGES = 500  # evaluated, the same for all
STATISTICS = [{"batch_norm": "kept"}, {"batch_norm": "reestimated"}]

SWEEP = Sweep(
    name="pretrained",
    title="Networks that others trained, one-shot",
    profiles={
        "pretrained": (
            *grid(
                sweep="pretrained",
                profile="pretrained",
                case=[
                    *PRETRAINED.cases(["vit_small"], TOGETHER, patterns=(*SPARSITIES, *UNIFORM)),
                    *PRETRAINED.cases(["vit_small"], LAYER_BY_LAYER, patterns=UNIFORM),
                ],
                calibration=PRETRAINED.calibration,
                evaluation_images=IMAGES,
            ),
            *grid(
                sweep="pretrained",
                profile="pretrained",
                case=PRETRAINED.cases(["efficientnet_lite0"], ("magnitude", "cap"), patterns=SPARSITIES),
                statistics=STATISTICS,
                calibration=PRETRAINED.calibration,
                evaluation_images=IMAGES,
            ),
        ),
        "pretrained_imagenet": grid(
            sweep="pretrained",
            profile="pretrained_imagenet",
            case=PRETRAINED_IMAGENET.cases(["efficientnet_lite0"], TOGETHER, patterns=SPARSITIES),
            statistics=STATISTICS,
            calibration=PRETRAINED_IMAGENET.calibration,
            evaluation_images=5000,
        ),
    },
)
