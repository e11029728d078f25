"""The base classes of pruners: one asks for `fit` and `prune` alone, the other for scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.finite import check_scores, check_weights
from cap.fisher.planning import MemoryPlan
from cap.layers import check_layers
from cap.patterns import Pattern, Units, UnitsThen, as_pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner_state import copied, is_plain
from cap.selection import select, with_zeros_lowest

Needs = Literal["nothing", "inputs", "gradients"]


class Pruner(ABC):
    """Base class of all pruners: fitted to a dense model, then asked for pruned weights at one pattern or several.

    A subclass is a class with keyword options that have defaults, and two methods, `fit` and `prune`. All else has a
    default. A method that gives every weight a score is easier to write as a `ScorePruner`.

    Attributes:
        needs: Part of the calibration that a fit computes: nothing, the layers' inputs, or gradients.
        shares_gram: Whether the Gram matrices of the gradients may come from the pruner that was fitted before.
        prunes_units: Whether the pruner removes whole units too, see `cap.structured.UnitPruner`.
        monotone: Whether a weight that is removed at one sparsity is removed at every higher one.
        refit_seconds: Seconds of the last `prune` that were spent on fitting anew.
        search_space: Values of options, {option: values}, among which a benchmark may choose; None for none declared.
    """

    needs: ClassVar[Needs] = "gradients"
    shares_gram: ClassVar[bool] = False
    prunes_units: ClassVar[bool] = False

    monotone: bool = False
    refit_seconds: float = 0.0
    search_space: ClassVar[Mapping[str, Sequence[Any]] | None] = None

    @abstractmethod
    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> Pruner:
        """Learns all that `prune` needs; the model is left untouched.

        Args:
            model: Dense model.
            layers: Weights to prune, {name: weight}, as `select_layers` returns them; not to be changed.
            calibration: All else that may be used: images, labels, loss, gradients, layer inputs, memory budget,
                device, random generator, a place for the progress.

        Returns:
            The pruner itself.
        """

    @abstractmethod
    def prune(self, pattern: Any) -> PrunedWeights:
        """Returns the pruned weights at a pattern; may be called any number of times after one `fit`.

        Args:
            pattern: A `cap.Pattern`; the suite hands over no pattern that `supports` refuses. This package's own
                pruners also take a number, the sparsity over all layers, or a text that `cap.parse_pattern` reads.
        """

    def supports(self, pattern: Pattern) -> str | None:
        """Returns why the pruner cannot produce a pattern, or None if it can."""
        return None

    def refusal(self, pattern: Pattern) -> str | None:
        """Returns why the suite must not ask for a pattern, or None: what `supports` says, and patterns of units."""
        if isinstance(pattern, UnitsThen):
            return self.refusal(pattern.units) or self.refusal(pattern.then)
        if isinstance(pattern, Units) and not self.prunes_units:
            return f"{type(self).__name__} removes single weights, not heads and channels as {pattern} asks for"
        return self.supports(pattern)

    def expect(self, patterns: Sequence[Pattern]) -> None:  # noqa: B027  nothing is what most pruners do
        """Learns which patterns `prune` will be asked for: a pruner may work ahead; by default it does nothing.

        Args:
            patterns: Patterns, those that the pruner does not support among them.
        """

    def predicted_loss(self, pruned: PrunedWeights) -> float | None:
        """Returns by how much pruning raises the calibration loss in the pruner's own model of it, None if it has none.

        Args:
            pruned: Pruned weights that `prune` returned.
        """
        return None

    def plan(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> MemoryPlan | None:
        """Returns how `fit` would go about its work within `calibration.memory_budget`; None if it takes next to none.

        Raises:
            ValueError: If the budget is too small, with what is needed and what to change.
        """
        return None

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of a fit; by default that of one pass over what the pruner needs.

        An option `num_gradients` is taken for the number of gradients in the pass.
        """
        match self.needs:
            case "nothing":
                return FitWork()
            case "inputs":  # a forward pass, and as much again for what is made of the inputs
                return FitWork(inference=2 * size.macs * size.calibration_images)
            case "gradients":
                return FitWork(gradients=size.gradient_macs(getattr(self, "num_gradients", None)))

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of one `prune`; by default next to none."""
        return FitWork()

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of a fit beside the model and its activations; by default next to none."""
        return FitBytes()

    def state_dict(self) -> dict[str, Any]:
        """Returns all that `prune` needs, options included: by default the pruner's attributes.

        Tensors are those of the pruner, not copies. `torch.save` writes it, `torch.load` reads it without other code.

        Raises:
            NotImplementedError: If an attribute is no tensor, number, text or None, or container of these.
        """
        if other := [name for name, value in vars(self).items() if not is_plain(value)]:
            raise NotImplementedError(
                f"{type(self).__name__} keeps {', '.join(other)}, which is no tensor, number or text: "
                "its state cannot be saved, fit it again"
            )
        return copied(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned: from then on `prune` gives the same as before."""
        vars(self).update(copied(state))


class ScorePruner(Pruner):
    """Base class of pruners that give every weight a score: those of the lowest are removed, at any pattern.

    A subclass has one method, `scores`. If removing weights should also move the others it overrides `update` too, and
    if it does not reach every pattern, `supports`.

    Attributes:
        weights: Copies of the dense weights that `fit` saw, {name: weight}.
        importance: Scores as `scores` returned them, {name: score per weight}.
    """

    weights: dict[str, Tensor]
    importance: dict[str, Tensor]
    monotone: bool = True

    @abstractmethod
    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Scores every weight; the lowest are removed first.

        Args:
            model: Dense model, to be left as it is.
            layers: Weights to prune, {name: weight}, detached copies (the same as `self.weights`).
            calibration: All else that may be used.

        Returns:
            {name: scores} in each weight's own shape, comparable across layers.
        """

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights that go with the masks; by default the dense ones with zeros."""
        return {name: self.weights[name] * mask for name, mask in masks.items()}

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Returns the keep-masks that follow the pattern and the scores; weights and blocks that are zero go first."""
        return select(with_zeros_lowest(self.importance, self.weights, pattern), pattern)

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern that the pruner supports, in one step from the weights of the fit."""
        masks = self.select(pattern)
        return PrunedWeights(self.update(masks), masks)

    def reach(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern that the pruner supports, by default in one step."""
        return self.weights_at(pattern)

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> ScorePruner:
        """Scores the weights of a model, which is left untouched; then any sparsity can be read off.

        Args:
            model: Dense model.
            layers: Weights to prune, {name: weight}, as `select_layers` returns them.
            calibration: Images, labels, loss and means of the fit.

        Raises:
            ValueError: If there are no layers, one cannot be pruned, the memory budget is too small, or weights,
                gradients or layer inputs are not finite.
        """
        self.weights = dense_copies(model, layers)
        self.importance = self.scores(model, self.weights, calibration)
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the pruned weights at a pattern; may be called any number of times after one `fit`.

        Args:
            pattern: Pattern; or a number, the sparsity over all layers; or a text that `cap.parse_pattern` reads, like
                `2:4` or `0.75@layer`.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If it is no pattern, or one that the pruner does not support.
        """
        wanted = as_pattern(pattern)
        self.check(wanted)
        check_scores(self.importance)
        return self.reach(wanted)

    def check(self, pattern: Pattern) -> None:
        """Refuses what `prune` cannot do.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If the pruner does not support the pattern.
        """
        check_request(self, pattern)
        if isinstance(pattern, UnitsThen):
            steps = f"prune to {pattern.units}, cut, fit again, prune to {pattern.then}"
            raise ValueError(f"{pattern} is two steps: {steps}")


def dense_copies(model: nn.Module, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns detached copies of the weights to prune, {name: weight}.

    Raises:
        ValueError: If there are none, one cannot be pruned in this model, or is not finite.
    """
    check_layers(model, layers)
    check_weights(layers)
    return {name: weight.detach().clone() for name, weight in layers.items()}


def check_fitted(pruner: Pruner) -> None:
    """Refuses a pruner that has no `weights` yet.

    Raises:
        RuntimeError: If it has none.
    """
    if not hasattr(pruner, "weights"):
        raise RuntimeError("the pruner has not been fitted: call fit(model, layers, calibration) first")


def check_request(pruner: Pruner, pattern: Pattern) -> None:
    """Refuses a pattern that a pruner cannot be asked for.

    Raises:
        RuntimeError: If the pruner has not been fitted.
        ValueError: If it does not support the pattern.
    """
    check_fitted(pruner)
    if reason := pruner.refusal(pattern):
        raise ValueError(reason)
