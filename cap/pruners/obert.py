"""oBERT."""

from __future__ import annotations

from cap.fisher.dampening import DampScale
from cap.pruners._schedule import Schedule
from cap.pruners.woodfisher import WoodFisher
from cap.registry import register


@register("obert")
class OBERT(WoodFisher):
    """WoodFisher's saliencies with the joint OBS update of all that is removed (Kurtic et al., 2022, arXiv 2203.07259).

    What is removed from a Fisher block at once is one set Q: the others take the values of
    `w - H[:,Q] (H[Q,Q])^-1 w_Q` (eq. 6), H the inverse of the dampened block. Single weights are ranked by
    `w_j^2 / (2 H_jj)`, blocks of weights as whole ones (eq. 7).

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        num_recomputations: N_r, number of parts of the way to a sparsity, with the Fisher estimated anew before each.
        schedule: Sizes of these parts: `linear` for equal ones, `polynomial` or `geometric` for smaller and smaller
            ones.
        damp_scale: Unit of the dampening: `absolute`; `relative` for the mean of the Fisher's diagonal over all pruned
            weights; `noise` for `tr(F_b) / sqrt(m)` in each block (RobOP).
        fresh_gradients: Whether each part takes its gradients from other calibration images than those before it.
        reconstruction: mu, weight of the layer-wise objective that is mixed into the Fisher (MOONSHOT); 0 for none.
    """

    def __init__(
        self,
        block_size: int = 50,
        num_gradients: int | None = None,
        damp: float = 1e-7,
        num_recomputations: int = 1,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
        reconstruction: float = 0.0,
    ) -> None:
        super().__init__(
            block_size,
            num_gradients,
            damp,
            num_recomputations,
            joint=True,
            schedule=schedule,
            damp_scale=damp_scale,
            fresh_gradients=fresh_gradients,
            reconstruction=reconstruction,
        )
