"""What every pruner must do, whoever wrote it: checks on a tiny model, each with the reason and the way to mend it."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import cap
from cap.registry import source_file
from cap.selection import layer_counts

SPARSITIES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.98)
PATTERNS: tuple[cap.Pattern, ...] = (
    cap.Unstructured(0.6),
    cap.Unstructured(0.6, scope="layer"),
    cap.Unstructured(0.6, scope="erk"),
    cap.NM(2, 4),
    cap.NM(1, 4),
    cap.NM(4, 8),
    cap.Blocks(4, 0.5),
)
LAYERS = r"(mix|qkv|fc\d).weight"
PATTERN_LAYERS = r"(qkv|fc\d).weight"  # whose inputs are multiples of 8
SMALL = {"block_size": 8, "num_gradients": 40}  # values that fit the tiny model, for options of these names


class TinyNet(nn.Module):
    """Every kind of prunable layer in one small model: convolutions, grouped too, a fused qkv, an MLP over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.qkv = nn.Linear(8, 24)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (n, 1, 8, 8) to (n, 5)."""
        x = torch.relu_(self.norm(self.mix(torch.relu(self.stem(images)))))
        x = x.flatten(2).transpose(1, 2)  # (n, tokens, 8)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = x + (q @ k.transpose(1, 2)).softmax(-1) @ v
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(x)))
        return self.head(x.mean(1))


def tiny_model() -> TinyNet:
    """Returns the tiny model in eval mode; the same weights every time."""
    torch.manual_seed(0)
    net = TinyNet()
    assert net.norm.running_mean is not None
    net.norm.running_mean += 0.1
    return net.eval()


def tiny_layers(model: nn.Module, pattern: str = LAYERS) -> dict[str, nn.Parameter]:
    """Returns the prunable weights of the tiny model."""
    return cap.select_layers(model, [pattern])


def tiny_calibration(gradient: Literal["sample", "batch"] = "sample") -> cap.Calibration:
    """Returns 48 random images in batches of 20; the same every time."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(48, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (48,), generator=generator)
    return cap.Calibration(images, labels, batch_size=20, gradient=gradient)


class Violation(Exception):  # noqa: N818  a finding, of which nothing else comes
    """The pruner breaks a check; the message says what was found."""


class NotApplicable(Exception):  # noqa: N818  likewise
    """A check says nothing about this pruner; the message says why."""


@dataclass(frozen=True)
class Subject:
    """The pruner under test.

    Attributes:
        name: A name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: Options as the user gave them.
    """

    name: str
    options: Mapping[str, Any]

    def create(self) -> cap.Pruner:
        """Makes the pruner, with small values for the options that the user did not give."""
        known = cap.default_options(self.name)
        small = {key: value for key, value in SMALL.items() if key in known}
        return cap.create(self.name, **{**small, **self.options})

    def fit(
        self,
        model: nn.Module | None = None,
        calibration: cap.Calibration | None = None,
        layers: str = LAYERS,
        seed: int = 0,
    ) -> cap.Pruner:
        """Fits a new pruner; by default to the tiny model and images."""
        # as in a sweep, the layers are not the model's own tensors unless a check needs them to be
        chosen = tiny_layers(tiny_model() if model is None else model, layers)
        model = tiny_model() if model is None else model
        torch.manual_seed(seed)
        pruner = self.create()
        fitted = pruner.fit(model, chosen, calibration or tiny_calibration(), memory_budget=None)
        if fitted is not pruner:
            raise Violation(f"fit returned {type(fitted).__name__}: it must end with `return self`")
        if not hasattr(pruner, "weights"):
            raise Violation("fit did not set self.weights: write `scores` and leave `fit` to the base class")
        _check_scores(pruner, chosen)
        return pruner

    def fit_any(
        self, model: nn.Module | None = None, calibration: cap.Calibration | None = None
    ) -> tuple[cap.Pruner, cap.Pattern]:
        """Fits a new pruner, and returns it with the first of `PATTERNS` that it supports.

        Raises:
            Violation: If it supports none.
        """
        pruner = self.fit(model, calibration)
        pattern = next((one for one in PATTERNS if pruner.supports(one) is None), None)
        if pattern is None:
            raise Violation(f"supports refuses every pattern: {pruner.supports(PATTERNS[0])}")
        if not isinstance(pattern, cap.Unstructured):
            pruner = self.fit(model, calibration, PATTERN_LAYERS)
        return pruner, pattern


Run = Callable[[Subject], str | None]


@dataclass(frozen=True)
class Check:
    """One requirement.

    Attributes:
        name: A few words.
        explanation: What is required, why, what usually breaks it and how to mend that.
        run: Raises `Violation` or `NotApplicable`; may return a remark.
        gate: Whether the checks after it mean nothing if it fails.
    """

    name: str
    explanation: str
    run: Run
    gate: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Attributes:
        check: The check.
        status: What became of it.
        message: What was found, why it was skipped, or a remark.
    """

    check: Check
    status: Literal["passed", "failed", "skipped"]
    message: str = ""


CHECKS: list[Check] = []


def check(name: str, gate: bool = False) -> Callable[[Run], Run]:
    """Adds a function to the checks; its docstring is the explanation."""

    def add(run: Run) -> Run:
        CHECKS.append(Check(name, inspect.getdoc(run) or "", run, gate))
        return run

    return add


def run_checks(name: str, options: Mapping[str, Any]) -> Iterator[Outcome]:
    """Runs every check on a pruner.

    Args:
        name: A name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: Options of the pruner; those that are not given take small values or the pruner's defaults.

    Yields:
        An outcome for each of `CHECKS`, as soon as it is there. After a gate that failed the rest are skipped.

    Raises:
        ValueError: If there is no such pruner.
    """
    cap.default_options(name)
    subject = Subject(name, options)
    failed_gate = ""
    for one in CHECKS:
        if failed_gate:
            yield Outcome(one, "skipped", f"not run, because {failed_gate!r} failed")
            continue
        outcome = run_check(one, subject)
        if one.gate and outcome.status == "failed":
            failed_gate = one.name
        yield outcome


def run_check(one: Check, subject: Subject) -> Outcome:
    """Runs one check; whatever the pruner raises is a failure."""
    try:
        remark = one.run(subject)
    except Violation as found:
        return Outcome(one, "failed", str(found))
    except NotApplicable as reason:
        return Outcome(one, "skipped", str(reason))
    except Exception as error:  # noqa: BLE001  whatever the pruner does
        return Outcome(one, "failed", _describe(error, subject))
    return Outcome(one, "passed", remark or "")


def _describe(error: Exception, subject: Subject) -> str:
    """Returns the line of a traceback that tells the error, with the last place in the pruner's own file."""
    last_line = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()[0]
    frames = traceback.extract_tb(error.__traceback__)
    file = source_file(subject.name)
    own = [frame for frame in frames if file and Path(frame.filename).resolve() == file.resolve()] or frames
    return f"{last_line} ({_short(own[-1].filename)}:{own[-1].lineno})"


def _short(path: str) -> str:
    """Returns a path as seen from the working folder."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _check_scores(pruner: cap.Pruner, layers: Mapping[str, Tensor]) -> None:
    scores = getattr(pruner, "importance", None)
    if not isinstance(scores, Mapping):
        raise Violation(f"scores returned {type(scores).__name__}, not a dictionary of tensors by layer")
    _same_names("scores", scores, layers)
    for name, weight in layers.items():
        score = scores[name]
        if not isinstance(score, Tensor):
            raise Violation(f"the scores of {name} are {type(score).__name__}, not a tensor")
        if score.shape != weight.shape:
            raise Violation(f"the scores of {name} have shape {tuple(score.shape)}, its weight {tuple(weight.shape)}")
        if torch.isnan(score).any():
            raise Violation(f"{int(torch.isnan(score).sum())} of {score.numel()} scores of {name} are NaN")
        if torch.isneginf(score).any():
            raise Violation(f"{int(torch.isneginf(score).sum())} of {score.numel()} scores of {name} are -inf")


def _same_names(what: str, found: Iterable[str], layers: Iterable[str]) -> None:
    if missing := set(layers) - set(found):
        raise Violation(f"{what}: no {', '.join(sorted(missing))}")
    if stray := set(found) - set(layers):
        raise Violation(f"{what}: {', '.join(sorted(map(str, stray)))} is no layer that was asked for")


def _prune(pruner: cap.Pruner, pattern: cap.Pattern) -> cap.PrunedWeights:
    """Returns a copy of the pruned weights; refuses a wrong form, so that no check stumbles over it."""
    pruned = pruner.prune(pattern)
    if not isinstance(pruned, cap.PrunedWeights):
        raise Violation(f"prune returned {type(pruned).__name__}, not cap.PrunedWeights")
    for what, tensors in (("weights", pruned.weights), ("masks", pruned.masks)):
        if not isinstance(tensors, Mapping):
            raise Violation(f"at {pattern} the {what} are {type(tensors).__name__}, not a dictionary by layer")
        _same_names(f"{what} at {pattern}", tensors, pruner.weights)
    for name, dense in pruner.weights.items():
        weight, mask = pruned.weights[name], pruned.masks[name]
        if weight.shape != dense.shape or mask.shape != dense.shape:
            raise Violation(
                f"{name} has shape {tuple(dense.shape)}, but at {pattern} its weights {tuple(weight.shape)} "
                f"and its mask {tuple(mask.shape)}"
            )
        if mask.dtype != torch.bool:
            raise Violation(f"the mask of {name} at {pattern} is {mask.dtype}, not torch.bool")
        if weight.dtype != dense.dtype:
            raise Violation(f"the weights of {name} at {pattern} are {weight.dtype}, not {dense.dtype}")
        if left := int((weight[~mask] != 0).sum()):
            raise Violation(f"{left} weights of {name} are not zero at {pattern} although their mask is False")
        if not weight.isfinite().all():
            raise Violation(f"weights of {name} at {pattern} are not finite")
    return copy.deepcopy(pruned)  # the pruner may write into its own again


def _supported(pruner: cap.Pruner, sparsities: Iterable[float] = SPARSITIES) -> list[cap.Unstructured]:
    """Returns unstructured patterns of one scope: all layers ranked together, or each alone if that is refused.

    Raises:
        NotApplicable: If none is supported.
    """
    reason: str | None = ""
    for scope in ("global", "layer"):
        patterns = [cap.Unstructured(sparsity, scope) for sparsity in sparsities]
        if accepted := [pattern for pattern in patterns if pruner.supports(pattern) is None]:
            return accepted
        reason = pruner.supports(patterns[0])
    raise NotApplicable(f"refused: {reason}")


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Returns the names whose tensors differ."""
    return [name for name, value in before.items() if not value.equal(after[name])]


def _traces(model: nn.Module) -> dict[str, dict[str, object]]:
    """Returns what a pruner could leave behind in a model beside other values: {what: {of which: state}}."""
    modules = {name or "the model": module for name, module in model.named_modules()}
    parameters = dict(model.named_parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "the training mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in parameters.items()},
        ".grad": {name: None if p.grad is None else p.grad.tolist() for name, p in parameters.items()},
        "the hooks": {name: [list(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
    }


def _check_followed(pattern: cap.Pattern, masks: Mapping[str, Tensor]) -> None:
    """Refuses masks that do not follow a pattern; for N:M those of layers without kernels."""
    removed = {name: int((~mask).sum()) for name, mask in masks.items()}
    sizes = {name: mask.numel() for name, mask in masks.items()}
    if isinstance(pattern, cap.NM):
        for name, mask in masks.items():
            if wrong := int((mask.reshape(-1, pattern.of).sum(1) != pattern.keep).sum()):
                raise Violation(f"{wrong} groups of {name} do not keep {pattern.keep} of {pattern.of} weights")
        return
    if isinstance(pattern, cap.Blocks):
        for name, mask in masks.items():
            blocks = mask.reshape(-1, pattern.size)
            if wrong := int((blocks.any(1) & ~blocks.all(1)).sum()):
                raise Violation(f"{wrong} blocks of {name} are masked in part")
        wanted = {"all layers": round(pattern.sparsity * sum(sizes.values()) / pattern.size) * pattern.size}
    elif pattern.scope != "global":
        wanted = layer_counts({name: tuple(mask.shape) for name, mask in masks.items()}, pattern)
    else:
        wanted = {"all layers": round(pattern.sparsity * sum(sizes.values()))}
    removed["all layers"] = sum(removed.values())
    for name, count in wanted.items():
        if removed[name] != count:
            raise Violation(f"at {pattern} {removed[name]} weights of {name} are masked, not {count}")


@check("options", gate=True)
def options_have_defaults(subject: Subject) -> None:
    """Every option has a default value that can be written as JSON, and the pruner can be made with these.

    Sweeps and the command line make a pruner by its name and record all of its options, defaults included, because the
    identity of a result is the hash of all its values. Usual causes are an option without a default, `*args` or
    `**kwargs` in `__init__`, or a default such as a tensor or a function. Write each option out as a keyword with a
    number, text, truth value, None or a list of these: `def __init__(self, power=1.0)`.
    """
    for name, value in cap.default_options(subject.name).items():
        if value is inspect.Parameter.empty:
            raise Violation(f"option {name} of __init__ has no default value")
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise Violation(f"the default of option {name}, {value!r}, cannot be written as JSON") from None
    cap.create(subject.name, **subject.options)


@check("docstring")
def class_says_what_it_does(subject: Subject) -> None:
    """The class has a docstring; that of a pruner of this package names its paper by arXiv number.

    Readers of a table want to know what a name in it stands for. Without one the check is skipped for pruners of your
    own. Write a line under `class ...:` that says what the score is, and where it is from.
    """
    kind = type(subject.create())
    if kind.__module__.startswith("cap."):
        if "arXiv" not in (kind.__doc__ or ""):
            raise Violation(f"the docstring of {kind.__name__} does not name its source (arXiv ...)")
    elif not kind.__doc__:
        raise NotApplicable(f"{kind.__name__} has none; a line that says what the score is helps readers")


@check("scores", gate=True)
def scores_cover_every_layer(subject: Subject) -> None:
    """`fit` works, and `scores` returns one number for every weight: finite or +inf (never to be removed), never NaN.

    The weights to remove are those of the lowest scores, so each layer that was asked for needs a tensor of its
    weight's own shape, and NaN has no rank. Gradients come flat, as (gradients, weights): the usual cause of a wrong
    shape is a missing `.view_as(weight)`, that of NaN a division by a sum, norm or variance that is zero, as for an
    input that is always zero. Add a small constant or clamp the divisor. An option whose value does not fit the 48
    calibration images of this check is another cause.
    """
    subject.fit()


@check("pruned weights", gate=True)
def only_the_chosen_weights_change(subject: Subject) -> None:
    """`prune` returns weights and masks for exactly the layers asked for, in their shapes, zero where masked.

    Accuracy is measured with the weights, sparsity is counted from zeros, and fine-tuning holds the masks: the three
    must tell the same. Masks are `torch.bool`, True where a weight is kept; weights have the dense weight's dtype.
    Usual causes are an `update` that changes removed weights after they were set to zero (end it with `* mask`), that
    computes in double precision and does not convert back (`.to(weight.dtype)`), or that leaves layers out.
    """
    model = tiny_model()
    pruner, pattern = subject.fit_any(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _prune(pruner, pattern).apply_to(model)
    if stray := set(_changed(before, model.state_dict())) - set(pruner.weights):
        raise Violation(f"{', '.join(sorted(stray))} changed, but was not to be pruned")


@check("exact count")
def as_many_zeros_as_asked_for(subject: Subject) -> None:
    """At sparsity s exactly round(s x weights) weights are masked: over all layers, or in each with `@layer`.

    Methods are compared at equal sparsity, and where a model collapses a tenth of a percent changes the result. The
    usual cause is a threshold of one's own in `select`, such as `score > ranked[k]`, which removes too many or too few
    where scores are equal. Return scores and leave the selection to the base class, or use `cap.selection.select`.
    """
    pruner = subject.fit()
    patterns = [cap.Unstructured(sparsity, scope) for scope in ("global", "layer") for sparsity in SPARSITIES]
    patterns = [pattern for pattern in patterns if pruner.supports(pattern) is None] or _supported(pruner)
    for pattern in patterns:
        _check_followed(pattern, _prune(pruner, pattern).masks)


@check("model untouched")
def fit_leaves_the_model_as_it_was(subject: Subject) -> None:
    """`fit` and `prune` change nothing of the model: values, training modes, `requires_grad`, `.grad`, hooks.

    The same dense model goes to the next pruner, and whatever one of them leaves behind spoils the comparison. Usual
    causes are `model.eval()` without a way back, a forward pass in training mode, which moves batch norm's statistics,
    `loss.backward()`, which writes `.grad`, a hook that stays, or a weight changed in place. Take gradients from
    `calibration.gradients(model, layers)`, which leaves no trace, or work on `copy.deepcopy(model)`. The calibration
    images stay as they are, too.
    """
    model, calibration = tiny_model().train(), tiny_calibration()
    model.norm.eval()
    model.stem.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    traces, images = _traces(model), calibration.images.clone()
    pruner, pattern = subject.fit_any(model, calibration)
    _prune(pruner, pattern)
    if changed := _changed(before, model.state_dict()):
        raise Violation(f"the values of {', '.join(changed)} changed")
    for what, states in _traces(model).items():
        if touched := [name for name, state in states.items() if state != traces[what][name]]:
            raise Violation(f"{what} of {', '.join(touched)} changed")
    if not calibration.images.equal(images):
        raise Violation("the calibration images changed")


@check("same seed")
def same_seed_same_result(subject: Subject) -> None:
    """Two fits after the same `torch.manual_seed` give the same weights, bit for bit.

    A result that cannot be had again cannot be checked, and a sweep that was interrupted must go on as if it had not
    been. Usual causes are random numbers from `random`, `numpy` or a generator without a seed, and walking through a
    set. Draw from torch's default generator, which is seeded before every fit.
    """
    one, other = (_prune(*subject.fit_any()) for _ in range(2))
    for what, changed in (
        ("masks", _changed(one.masks, other.masks)),
        ("weights", _changed(one.weights, other.weights)),
    ):
        if changed:
            raise Violation(f"two fits give different {what} of {', '.join(changed)}")


@check("monotone masks")
def masks_are_monotone(subject: Subject) -> None:
    """A weight that is removed at one sparsity is removed at every higher one.

    Then a curve over sparsities is one path through nested sets of weights. It is so wherever weights are removed in
    the order of one score. If the method chooses anew at each sparsity on purpose, say so with `monotone = False` in
    the class, and this check is skipped; otherwise look for a `select` or `supports` that treats sparsities
    differently.
    """
    pruner = subject.fit()
    if not pruner.monotone:
        raise NotApplicable("the class says monotone = False")
    patterns = _supported(pruner)
    masks = [_prune(pruner, pattern).masks for pattern in patterns]
    for (low, lower), (high, higher) in itertools.pairwise(zip(patterns, masks, strict=True)):
        for name, mask in lower.items():
            if back := int((higher[name] & ~mask).sum()):
                raise Violation(f"{back} weights of {name} are removed at {low} and kept at {high}")


@check("any order")
def one_fit_serves_any_order(subject: Subject) -> None:
    """After one `fit`, `prune` gives the same at a sparsity whatever it was asked for before.

    One fit serves all sparsities of a curve, in any order. The usual cause of a difference is a `prune`, `select` or
    `update` that changes what `fit` stored, such as `self.weights[name] *= mask` or `scores[~mask] = 0`: operations
    with a trailing underscore and `*=`, `+=` and `[...] =` write in place. Write `weight = weight * mask` or clone
    first.
    """
    pruner = subject.fit()
    patterns = [pattern for pattern in _supported(pruner) if pattern.sparsity]
    first = {pattern: _prune(pruner, pattern) for pattern in patterns}
    for pattern in reversed(patterns):
        again = _prune(pruner, pattern)
        changed = _changed(first[pattern].weights, again.weights) + _changed(first[pattern].masks, again.masks)
        if changed:
            raise Violation(f"{changed[0]} at {pattern} is not the same after pruning to other sparsities")


@check("sparsity 0")
def sparsity_zero_is_the_dense_model(subject: Subject) -> None:
    """At sparsity 0 nothing is masked and the weights are the dense ones, bit for bit.

    It is where every curve begins. The usual cause is an `update` that computes something even if no weight is removed
    (a rescaling or a correction that is not exactly 1 or 0 then), or a mask of one weight too many.
    """
    pruner = subject.fit()
    pruned = _prune(pruner, _supported(pruner, [0.0])[0])
    if pruned.sparsity:
        raise Violation(f"{pruned.sparsity:.3%} of the weights are masked")
    if changed := _changed(tiny_layers(tiny_model()), pruned.weights):
        raise Violation(f"the weights of {', '.join(changed)} are not the dense ones")


@check("zeros stay")
def zeros_go_first_and_stay(subject: Subject) -> None:
    """Fitted to a model that it has pruned, and asked for more, the pruner keeps no weight that is zero already.

    Gradual pruning fits and prunes in turns: were a zero kept, it would come back to life and another weight go
    instead. The base class's `select` sees to it, whatever the scores; the usual cause is a `select` or `weights_at` of
    the pruner's own that decides anew. Give zeros the lowest score there: `scores.masked_fill(weight == 0, -math.inf)`.
    """
    patterns = [pattern for pattern in _supported(subject.fit()) if pattern.sparsity]
    if len(patterns) < 2:
        raise NotApplicable("the pruner has no two sparsities to go through")
    model = tiny_model()
    layers = tiny_layers(model)
    for seed, pattern in enumerate(patterns):
        pruned = _prune(subject.fit(model, seed=seed), pattern)
        for name, weight in layers.items():
            if kept := int((pruned.masks[name] & (weight == 0)).sum()):
                raise Violation(f"{kept} weights of {name} that are zero already are kept at {pattern}")
        pruned.apply_to(model)


def _pattern_check(pattern: cap.Pattern) -> Run:
    def a_pattern_is_followed_or_refused(subject: Subject) -> str | None:
        """The pattern is followed exactly, or `supports` gives a reason why not and `prune` raises it as a ValueError.

        A sweep asks `supports` and writes the reason into its results; what is not refused is taken for what it says.
        Scores alone are enough for every pattern, as the base class selects the weights. If the method cannot do one,
        let `supports(self, pattern)` return a sentence of more than three words that tells what to do instead; if you
        override `prune`, call `self.check(pattern)` first.
        """
        pruner = subject.fit(layers=PATTERN_LAYERS)
        if reason := pruner.supports(pattern):
            if len(str(reason).split()) <= 3:
                raise Violation(f"supports refuses {pattern} without a reason: {reason!r}")
            try:
                pruner.prune(pattern)
            except ValueError:
                return f"refused: {reason}"
            raise Violation(f"supports refuses {pattern}, but prune raises no ValueError")
        _check_followed(pattern, _prune(pruner, pattern).masks)
        return None

    return a_pattern_is_followed_or_refused


for _pattern in PATTERNS:
    check(f"pattern {_pattern}")(_pattern_check(_pattern))


@check("batch gradients")
def gradients_of_batches_work_or_are_refused(subject: Subject) -> str | None:
    """With `Calibration(gradient="batch")` the pruner works, or raises a ValueError that says it needs other gradients.

    Some experiments use the gradients of mini-batches: one row for each batch, any number of them, where otherwise
    there is a row for each image. The usual cause of a failure is code that counts on as many rows as images. Count the
    rows that come (`len(rows)`), or `calibration.count(num_gradients)`. If the method needs the gradient of every
    image, raise ValueError("... needs per-sample gradients") where `calibration.gradient == "batch"`.
    """
    try:
        pruner, pattern = subject.fit_any(calibration=tiny_calibration("batch"))
    except ValueError as error:
        if "gradient" in str(error) and len(str(error).split()) > 3:
            return f"refused: {error}"
        raise
    _prune(pruner, pattern)
    return None
