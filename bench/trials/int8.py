"""INT8 models by torchao's PT2E flow, after training or with it."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

import cap
from bench.core.packages import require
from bench.core.timing import seconds_since
from bench.trials.context import TrialContext
from bench.trials.cost import FitCost
from bench.trials.recorder import TrialRecorder
from bench.trials.training_state import start_training, summarise_training
from cap.quantization import Int8Layer, apply_int8

EXTRA = "quantization"  # of this package, which brings torchao
BATCH = 128  # images in a pass that finds the ranges of activations


def check_installed() -> None:
    """Makes sure that there is what INT8 needs.

    Raises:
        UserError: If there is not.
    """
    require(["torchao"], EXTRA, "INT8")


def observed(model: nn.Module, images: Tensor, training: bool = False) -> nn.Module:
    """Returns a copy of a model, as a graph, that has seen how far the inputs of its layers range.

    The graph's parameters have the model's names. It has no training mode: BatchNorm's statistics stay what they are,
    and there is no dropout or stochastic depth.

    Args:
        model: A model in eval mode.
        images: Model inputs to range over, of the training data, (n, channels, height, width).
        training: Round weights and inputs in the forward pass as INT8 does, with gradients that pass straight through,
            and go on to follow the ranges; otherwise it computes as the model does.
    """
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e, prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    frozen = freeze_batch_norm_2d(copy.deepcopy(model).eval())
    program = torch.export.export(frozen, (images[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    quantizer = x86.X86InductorQuantizer()
    config = x86.get_default_x86_inductor_quantization_config(is_qat=training)
    for function in (F.linear, F.conv2d):
        quantizer.set_function_type_qconfig(function, config)
    graph: Any = (prepare_qat_pt2e if training else prepare_pt2e)(program.module(check_guards=False), quantizer)
    # it has no mode; torchao's own switch gives every dropout the rate 0.5 in training, in place of its own
    graph.train, graph.eval = (lambda mode=True: graph), (lambda: graph)
    with torch.no_grad():
        for batch in images.split(BATCH):
            graph(batch)
    return graph


def int8_layers(graph: nn.Module) -> dict[str, Int8Layer]:
    """Returns the INT8 layers of a model that was observed, by the name of their weight.

    Args:
        graph: Graph that `observed` returned, with training or not; it is used up.

    Raises:
        ValueError: If something else than the weight and the input of layers would be in INT8, or a weight's zero point
            is not 0.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    converted: Any = convert_pt2e(graph, fold_quantize=False)
    ops = torch.ops.quantized_decomposed
    tensors = dict(converted.named_parameters()) | dict(converted.named_buffers())
    layers: dict[str, Int8Layer] = {}
    inputs = set()
    for node in converted.graph.nodes:
        if node.target is not ops.quantize_per_channel.default:
            continue
        name, scale, zero_point = (argument.target for argument in node.args[:3])
        (dequantized,) = node.users
        if len(dequantized.users) != 1 or tensors[zero_point].any():
            raise ValueError(f"{name} cannot be in INT8: it is used several times, or its zero point is not 0")
        (layer,) = dequantized.users
        inputs.add(layer.args[0])
        _, step, input_zero_point, *_ = layer.args[0].args
        with torch.no_grad():
            values = node.target(tensors[name], tensors[scale], tensors[zero_point], *node.args[3:])
        layers[name] = Int8Layer(values, tensors[scale].detach(), float(step), int(input_zero_point))
    if stray := [n for n in converted.graph.nodes if n.target is ops.dequantize_per_tensor.default and n not in inputs]:
        raise ValueError(f"{stray[0]} would be in INT8, but is no input of a layer with an INT8 weight")
    return layers


def quantized(model: nn.Module, layers: Mapping[str, Int8Layer]) -> nn.Module:
    """Returns a copy of a model that computes as its INT8 kernels do."""
    result = copy.deepcopy(model)
    apply_int8(result, layers)
    return result


def measure_int8(
    context: TrialContext,
    recorder: TrialRecorder,
    model: nn.Module,
    pattern: cap.Pattern,
    masks: Mapping[str, Tensor],
    cost: FitCost,
) -> None:
    """Measures a pruned model in INT8, and where the trial asks for it again after training in INT8 with masks held.

    Args:
        context: The trial.
        recorder: Rows of the trial.
        model: The pruned model, left as it is.
        pattern: Pattern that it follows.
        masks: {name: keep-mask}.
        cost: Cost of its pruning.
    """
    quantization, device = context.resolved.trial.quantization, context.config.device
    assert quantization is not None
    images = context.calibration.for_loss.images.to(device)
    layers = int8_layers(observed(model, images))
    recorder.pruned(context.measure(quantized(model, layers), "int8", pattern, cost, masks, int8=layers))
    if (recipe := quantization.finetune) is None:
        return
    start = time.perf_counter()
    graph: Any = observed(model, images, training=True)
    if hasattr(model, "no_weight_decay"):
        graph.no_weight_decay = model.no_weight_decay  # timm's optimisers ask for it
    state = start_training(context, model, recipe, {}, cost, graph)
    state.training.set_masks(masks)
    for epoch in range(recipe.epochs):
        state.training.run_epoch(epoch)
    tuned = copy.deepcopy(model)
    tuned.load_state_dict(dict(graph.named_parameters()), strict=False)  # buffers are frozen
    layers = int8_layers(graph)
    state.epoch, state.seconds = recipe.epochs, seconds_since(start, device)
    summary = summarise_training(context, state)
    tuned = quantized(tuned, layers)
    recorder.pruned(context.measure(tuned, "int8_finetuned", pattern, cost, masks, summary, layers))
