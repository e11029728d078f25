from __future__ import annotations

from contextlib import nullcontext

import pytest
import timm
import torch

from cap.training.accelerator import Accelerator, Compute, ComputeMode, Precision, float32_products, is_convolutional

P100, V100, T4, A100, H100 = (Accelerator("cuda", pair) for pair in ((6, 0), (7, 0), (7, 5), (8, 0), (9, 0)))


@pytest.mark.parametrize(
    ("card", "asked", "convolutional", "expected"),
    [
        (A100, "bfloat16", False, "bfloat16, tf32"),
        (H100, "bfloat16", True, "bfloat16, tf32, channels_last"),
        (V100, "bfloat16", True, "float16, channels_last"),
        (T4, "bfloat16", False, "float16"),
        (P100, "bfloat16", True, "float32"),
        (A100, "float16", False, "float16, tf32"),
        (V100, "float32", True, "float32"),
        (A100, "float32", True, "float32, tf32, channels_last"),
        (Accelerator("cpu"), "bfloat16", True, "bfloat16"),
        (Accelerator("cpu"), "float32", True, "float32"),
    ],
)
def test_a_card_decides(card: Accelerator, asked: Precision, convolutional: bool, expected: str) -> None:
    assert str(card.mode(asked, convolutional)) == expected
    assert str(card.mode(asked, convolutional, "compile")) == f"{expected}, compiled"
    assert card.mode(asked, convolutional, "plain") == ComputeMode(asked)


def test_a_processor_is_left_as_it_is() -> None:
    here = Accelerator.of("cpu")
    assert here == Accelerator("cpu")
    assert here.has_bfloat16
    assert isinstance(here.half_precision(), nullcontext), "features are in float32"
    assert isinstance(P100.half_precision(), nullcontext)


def test_which_models_are_convolutional() -> None:
    found = {name: is_convolutional(timm.create_model(name)) for name in ("test_vit", "test_resnet", "test_convnext")}
    assert found == {"test_vit": False, "test_resnet": True, "test_convnext": True}


@pytest.mark.parametrize("compute", ["auto", "compile", "plain"])
def test_no_choice_takes_more_bits_than_the_recipe(compute: Compute) -> None:
    for card in (P100, V100, T4, A100, H100):
        assert card.mode("float32", True, compute).precision == "float32"


def test_products_are_put_back() -> None:
    def flags() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    with float32_products(tf32=False):
        assert flags() == (False, False)
        with float32_products(tf32=True):
            assert flags() == (True, True)
        assert flags() == (False, False)
        with pytest.raises(KeyError), float32_products(tf32=True):
            raise KeyError
        assert flags() == (False, False)
    assert flags() == before
