"""Settings for networks that nobody tuned for: the same rule for every pruner on the Fisher."""

from __future__ import annotations

from bench.specs.profiles.profile import OptionRule

RELATIVE_DAMP = 0.1  # of the mean of F's diagonal; measured on networks of three kinds, docs/real_networks.md
ON_THE_FISHER = ("cap", "woodfisher", "obert", "mfac", "chita")  # that have an absolute dampening by default


def untuned_rules(gradients: int, block_size: int = 64) -> tuple[OptionRule, ...]:
    """Returns option rules with one relative dampening.

    An absolute dampening fits the networks that it was chosen on; of others nobody knows the scale of the gradients.

    Args:
        gradients: Number of gradients, as many as there are images to calibrate on.
        block_size: Size of the blocks of the Fisher.
    """
    sizes = {"block_size": block_size, "num_gradients": gradients}
    dampening = {"damp": RELATIVE_DAMP, "damp_scale": "relative"}
    return (
        OptionRule(sizes),
        *(OptionRule(dampening, pruner) for pruner in ON_THE_FISHER),
        # M-FAC is for blocks too large for their matrices, and SparseGPT's block is no Fisher block
        OptionRule({"block_size": 512, "span_layers": True}, "mfac"),
        OptionRule({"block_size": 128, "sequential": True}, "sparsegpt"),
        # CAP's own options first; a refit of at most two minutes
        OptionRule({"first_options": {**sizes, **dampening}}, "snows"),
        OptionRule({"images": min(256, gradients), "passes": 2, "cg_steps": 20}, "snows"),
    )
