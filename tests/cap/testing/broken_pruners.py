"""Pruners that each break one check of the contract; `BREAKS` of the class names it."""

from __future__ import annotations

import random

import torch

import cap
from cap.selection import select


class Sound(cap.ScorePruner):
    """Breaks nothing."""

    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items()}


class WithoutDocstring(Sound):
    pass


class NeedsAnOption(Sound):
    BREAKS, FINDS = "options", "option power of __init__ has no default"

    def __init__(self, power) -> None:
        self.power = power


class AnyOptions(Sound):
    BREAKS, FINDS = "options", "__init__ takes **options, behind which no option"

    def __init__(self, **options) -> None:
        self.options = options


class OptionThatIsNoJson(Sound):
    BREAKS, FINDS = "options", "cannot be written as JSON"

    def __init__(self, dtype=torch.float32) -> None:
        self.dtype = dtype


class RefusesItsDefaults(Sound):
    BREAKS, FINDS = "options", "ValueError: choose a power"

    def __init__(self, power=None) -> None:
        if power is None:
            raise ValueError("choose a power")


class BuiltInWithoutSource(Sound):
    """Does not say which paper it is from."""

    BREAKS, FINDS = "docstring", "does not name its source"
    __module__ = "cap.pruners.of_no_source"


class Raises(Sound):
    BREAKS, FINDS = "scores", "ZeroDivisionError: half way (testing/broken_pruners.py:"

    def scores(self, model, layers, calibration):
        raise ZeroDivisionError("half way")


class NotANumber(Sound):
    BREAKS, FINDS = "scores", "288 of 288 scores of mix.weight are NaN"

    def scores(self, model, layers, calibration):
        return {name: weight / 0 * 0 for name, weight in layers.items()}


class MinusInfinity(Sound):
    BREAKS, FINDS = "scores", "are -inf"

    def scores(self, model, layers, calibration):
        return {name: torch.full_like(weight, -torch.inf) for name, weight in layers.items()}


class Flat(Sound):
    BREAKS, FINDS = "scores", "the scores of mix.weight have shape (288,), its weight (8, 4, 3, 3)"

    def scores(self, model, layers, calibration):
        return {name: weight.abs().flatten() for name, weight in layers.items()}


class ForgetsALayer(Sound):
    BREAKS, FINDS = "scores", "scores: no fc1.weight"

    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items() if name != "fc1.weight"}


class AnotherLayer(Sound):
    BREAKS, FINDS = "scores", "head.weight is no layer that was asked for"

    def scores(self, model, layers, calibration):
        return {**super().scores(model, layers, calibration), "head.weight": model.head.weight.abs()}


class Numbers(Sound):
    BREAKS, FINDS = "scores", "are float, not a tensor"

    def scores(self, model, layers, calibration):
        return dict.fromkeys(layers, 1.0)


class NoScores(Sound):
    BREAKS, FINDS = "scores", "scores returned NoneType"

    def scores(self, model, layers, calibration):
        return None


class FitWithoutReturn(Sound):
    BREAKS, FINDS = "scores", "fit returned NoneType"

    def fit(self, model, layers, calibration):
        super().fit(model, layers, calibration)


class FitOfItsOwn(Sound):
    BREAKS, FINDS = "scores", "did not set self.weights"

    def fit(self, model, layers, calibration):
        self.importance = self.scores(model, layers, calibration)
        return self


class LooksForTheTensorItself(Sound):
    BREAKS, FINDS = "scores", "KeyError"

    def scores(self, model, layers, calibration):
        known = {id(weight): weight.abs() for weight in model.parameters()}
        return {name: known[id(weight)] for name, weight in layers.items()}


class ForgetsTheMask(Sound):
    BREAKS, FINDS = "pruned weights", "are not zero at 0.6 although their mask is False"

    def update(self, masks):
        return {name: weight * 0.9 for name, weight in super().update(masks).items()} | {
            "fc1.weight": self.weights["fc1.weight"]
        }


class Double(Sound):
    BREAKS, FINDS = "pruned weights", "are torch.float64, not torch.float32"

    def update(self, masks):
        return {name: self.weights[name].double() * mask for name, mask in masks.items()}


class FloatMasks(Sound):
    BREAKS, FINDS = "pruned weights", "is torch.float32, not torch.bool"

    def select(self, pattern):
        return {name: mask.float() for name, mask in super().select(pattern).items()}


class PrunesFewerLayers(Sound):
    BREAKS, FINDS = "pruned weights", "weights at 0.6: no mix.weight"

    def update(self, masks):
        return {name: weight for name, weight in super().update(masks).items() if name != "mix.weight"}


class FlatWeights(Sound):
    BREAKS, FINDS = "pruned weights", "its weights (288,)"

    def update(self, masks):
        return {name: weight.flatten() for name, weight in super().update(masks).items()}


class Explodes(Sound):
    BREAKS, FINDS = "pruned weights", "are not finite"

    def update(self, masks):
        return {name: weight.masked_fill(masks[name], torch.inf) for name, weight in super().update(masks).items()}


class ReturnsWeightsAlone(Sound):
    BREAKS, FINDS = "pruned weights", "prune returned dict, not cap.PrunedWeights"

    def prune(self, pattern):
        return super().prune(pattern).weights


class MaskForEachLayerInAList(Sound):
    BREAKS, FINDS = "pruned weights", "the masks are list"

    def prune(self, pattern):
        pruned = super().prune(pattern)
        return cap.PrunedWeights(pruned.weights, list(pruned.masks.values()))


class RefusesAll(Sound):
    BREAKS, FINDS = "pruned weights", "supports refuses every pattern: come back when I am done"

    def supports(self, pattern):
        return "come back when I am done"


class SharesAWeight(Sound):
    BREAKS, FINDS = "pruned weights", "head.bias changed, but was not to be pruned"

    def fit(self, model, layers, calibration):
        self.bias = model.head.bias
        return super().fit(model, layers, calibration)

    @torch.no_grad()
    def update(self, masks):
        self.bias += 1
        return super().update(masks)


class OneTooMany(Sound):
    BREAKS, FINDS = "exact count", "at 0.98 722 weights of all layers are masked, not 721"

    def select(self, pattern):
        masks = super().select(pattern)
        if pattern == cap.Unstructured(0.98):
            kept = next(mask for mask in masks.values() if mask.any())
            kept.view(-1)[kept.view(-1).nonzero()[0]] = False
        return masks


class LeavesEvalMode(Sound):
    BREAKS, FINDS = "model untouched", "the training mode of the model, stem, mix, qkv, fc1, fc2, head changed"

    def scores(self, model, layers, calibration):
        model.eval()
        return super().scores(model, layers, calibration)


class LeavesGradients(Sound):
    BREAKS, FINDS = "model untouched", ".grad of "

    def scores(self, model, layers, calibration):
        calibration.loss(model.eval()(calibration.images), calibration.labels).backward()
        for name, module in model.named_modules():
            module.training = name != "norm"
        return super().scores(model, layers, calibration)


class MovesStatistics(Sound):
    BREAKS, FINDS = "model untouched", "the values of norm.running_mean"

    def scores(self, model, layers, calibration):
        model.norm.train()(torch.ones(2, 8, 1, 1))
        model.norm.eval()
        return super().scores(model, layers, calibration)


class Freezes(Sound):
    BREAKS, FINDS = "model untouched", "requires_grad of stem.weight changed"

    def scores(self, model, layers, calibration):
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return super().scores(model, layers, calibration)


class LeavesAHook(Sound):
    BREAKS, FINDS = "model untouched", "the hooks of fc1 changed"

    def scores(self, model, layers, calibration):
        model.fc1.register_forward_hook(lambda *_: None)
        return super().scores(model, layers, calibration)


class ScalesImages(Sound):
    BREAKS, FINDS = "model untouched", "the calibration images changed"

    def scores(self, model, layers, calibration):
        calibration.images.mul_(2)
        return super().scores(model, layers, calibration)


class Unseeded(Sound):
    BREAKS, FINDS = "same seed", "two fits give different masks of mix.weight"

    def scores(self, model, layers, calibration):
        generator = torch.Generator().manual_seed(random.SystemRandom().getrandbits(60))
        return {name: weight.abs() * torch.rand(weight.shape, generator=generator) for name, weight in layers.items()}


class TurnsRound(Sound):
    BREAKS, FINDS = "monotone masks", "are removed at 0.9 and kept at 0.98"

    def select(self, pattern):
        if isinstance(pattern, cap.Unstructured) and pattern.sparsity == 0.98:
            turned = {name: torch.where(score > 0, 1 / score, 0) for name, score in self.importance.items()}
            return select(turned, pattern)
        return super().select(pattern)


class TurnsRoundAndSaysSo(TurnsRound):
    """Breaks nothing: it says that its masks are not nested."""

    monotone = False


class WritesInPlace(Sound):
    BREAKS, FINDS = "any order", "is not the same after pruning to other sparsities"

    def update(self, masks):
        return {name: self.weights[name].mul_(mask) for name, mask in masks.items()}


class AlwaysRescales(Sound):
    BREAKS, FINDS = "sparsity 0", "the weights of mix.weight, qkv.weight, fc1.weight, fc2.weight are not the dense ones"

    def update(self, masks):
        return {name: weight * 1.01 for name, weight in super().update(masks).items()}


class SelectsByItself(Sound):
    BREAKS, FINDS = "zeros stay", "that are zero already are kept at 0.5"

    def scores(self, model, layers, calibration):
        return {name: torch.rand_like(weight) for name, weight in layers.items()}

    def select(self, pattern):
        return select(self.importance, pattern)


class BreaksAPattern(Sound):
    """Removes or keeps one weight too many at the pattern given."""

    def __init__(self, at: str = "") -> None:
        self.at = at

    def select(self, pattern):
        masks = super().select(pattern)
        if str(pattern) == self.at:
            masks["qkv.weight"][0, 0] ^= True
        return masks


class RefusesWithoutAReason(Sound):
    BREAKS, FINDS = "pattern 0.5@blocks4", "supports returned ' ' for 0.5@blocks4: it returns a reason in words"

    def supports(self, pattern):
        return " " if isinstance(pattern, cap.Blocks) else None


class SupportsButPrunes(Sound):
    BREAKS, FINDS = "pattern 2:4", "supports refuses 2:4, but prune raises no ValueError"

    def supports(self, pattern):
        return "groups of four are too small" if pattern == cap.NM(2, 4) else None

    def check(self, pattern):
        pass


class FewerBlocks(Sound):
    BREAKS, FINDS = "pattern 0.5@blocks4", "at 0.5@blocks4 180 weights of all layers are masked, not 224"

    def select(self, pattern):
        return super().select(cap.Blocks(4, 0.4) if isinstance(pattern, cap.Blocks) else pattern)


class SaysNothing(Sound):
    BREAKS, FINDS = "declared needs", "needs = 'nothing', but asked for gradients and inputs"
    needs = "nothing"

    def scores(self, model, layers, calibration):
        list(calibration.gradients(model, layers)), list(calibration.layer_inputs(model, layers))
        return super().scores(model, layers, calibration)


class SaysInputs(Sound):
    BREAKS, FINDS = "declared needs", "needs = 'inputs', but asked for gradients"
    needs = "inputs"

    def scores(self, model, layers, calibration):
        list(calibration.gradients(model, layers)), list(calibration.layer_inputs(model, layers))
        return super().scores(model, layers, calibration)


class OneRowForEachImage(Sound):
    BREAKS, FINDS = "batch gradients", "RuntimeError: The size of tensor a (2) must match the size of tensor b (48)"

    def scores(self, model, layers, calibration):
        parts = list(calibration.gradients(model, layers))
        rows = {name: torch.cat([part[name] for part in parts]) for name in layers}
        share = calibration.labels.add(1)[:, None] / 5
        return {name: (rows[name].abs() * share).sum(0).view_as(w) * w.abs() for name, w in layers.items()}


class RefusesWithoutSayingWhat(OneRowForEachImage):
    BREAKS, FINDS = "batch gradients", "ValueError: that is not possible here"

    def scores(self, model, layers, calibration):
        if calibration.gradient == "batch":
            raise ValueError("that is not possible here")
        return super().scores(model, layers, calibration)


class RefusesBatches(OneRowForEachImage):
    """Breaks nothing: it says what it needs."""

    def scores(self, model, layers, calibration):
        if calibration.gradient == "batch":
            raise ValueError("RefusesBatches needs per-sample gradients")
        return super().scores(model, layers, calibration)


class GroupsAlone(Sound):
    """Breaks nothing: N:M is all that it does."""

    def supports(self, pattern):
        return None if isinstance(pattern, cap.NM) else "GroupsAlone keeps N of M weights and does nothing else"


class ForgetsItsState(Sound):
    BREAKS, FINDS = "state", "after loading mix.weight at 0.6 is not the same"

    def state_dict(self):
        return {**super().state_dict(), "importance": {n: -score for n, score in self.importance.items()}}


class TwoMethods(cap.Pruner):
    """Breaks nothing: magnitude without scores, attributes or a base that was initialised."""

    def fit(self, model, layers, calibration):
        self.dense = {name: weight.detach().clone() for name, weight in layers.items()}
        return self

    def prune(self, pattern):
        masks = select({name: weight.abs() for name, weight in self.dense.items()}, pattern)
        return cap.PrunedWeights({name: weight * masks[name] for name, weight in self.dense.items()}, masks)


class KeepsTheModel(TwoMethods):
    """Breaks nothing: it draws on the generator, says how far it is, and refuses in one word, without raising."""

    def fit(self, model, layers, calibration):
        self.calibration, self.model = calibration, model
        self.tilt = {n: torch.rand(w.shape, generator=calibration.generator) + 1 for n, w in layers.items()}
        calibration.progress(1, 2, "halves")
        return super().fit(model, layers, calibration)

    def supports(self, pattern):
        return "no" if isinstance(pattern, cap.Blocks) else None

    def prune(self, pattern):
        masks = select({name: weight.abs() * self.tilt[name] for name, weight in self.dense.items()}, pattern)
        return cap.PrunedWeights({name: weight * masks[name] for name, weight in self.dense.items()}, masks)


class WrongShapeOfTwo(TwoMethods):
    BREAKS, FINDS = "pruned weights", "mix.weight has shape (8, 4, 3, 3), but at 0.6 its weights (288,)"

    def prune(self, pattern):
        pruned = super().prune(pattern)
        return cap.PrunedWeights({name: weight.flatten() for name, weight in pruned.weights.items()}, pruned.masks)


class RefusesBatchesInTwoWords(OneRowForEachImage):
    """Breaks nothing: a refusal may be short."""

    def scores(self, model, layers, calibration):
        if calibration.gradient == "batch":
            raise ValueError("batch gradients")
        return super().scores(model, layers, calibration)
