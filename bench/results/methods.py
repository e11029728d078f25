"""Methods for readers: the family, the idea and the source of each pruner, and the settings of its authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.results.labels import BESIDE, LABELS
from bench.results.settings import Settings

WEIGHTS, GRADIENTS, FISHER = "weights alone", "first order", "second order"
INPUTS, PARTS, OTHER = "layer inputs", "composition", "other"
FAMILIES = (WEIGHTS, GRADIENTS, FISHER, INPUTS, PARTS, OTHER)  # of methods, in the order of legends
AUTHORS, TUNED, PROFILE, UNKNOWN = "authors'", "tuned", "profile's", ""
SAID = {"authors": AUTHORS, "tuned": TUNED}  # by a row's `setting`


@dataclass(frozen=True)
class Method:
    """Facts on a pruner that a reader of results wants.

    Attributes:
        family: One of `FAMILIES`: what the method looks at.
        idea: What it does, in one sentence.
        source: Number of the paper at arXiv; None for a method without one.
        place: Equation or algorithm of the paper.
        authors: Options at the authors' values; empty where the method has no such options, or their values are
            unknown.
    """

    family: str
    idea: str
    source: str | None = None
    place: str = ""
    authors: Mapping[str, Any] = field(default_factory=dict)


METHODS = {  # in the order in which a family's markers and shades go to them
    "magnitude": Method(WEIGHTS, "Removes the weights of smallest absolute value.", "1506.02626"),
    "random": Method(WEIGHTS, "Removes weights drawn at random: the control of every other pruner.", "2202.02643"),
    "synflow": Method(
        WEIGHTS, "Removes, in many steps, the weights that carry least synaptic flow; looks at no data.",
        "2006.05467", "Algorithm 1", {"iterations": 100},
    ),
    "gradient_weight": Method(GRADIENTS, "Ranks by the product of gradient and weight.", "2210.09223", "GrW"),
    "taylor": Method(
        GRADIENTS, "Ranks weights or whole units by the squared first-order change of the loss.", "1906.10771", "eq. 8"
    ),
    "cap": Method(
        FISHER, "Greedy Optimal Brain Surgeon on blocks of the empirical Fisher: every removal updates the others' "
        "saliencies and weights.", "2210.09223", "Algorithm 1",
        {"block_size": 192, "damp": 1e-8, "num_gradients": 4096},
    ),
    "woodfisher": Method(
        FISHER, "Optimal Brain Surgeon on blocks of the empirical Fisher, all weights removed at once.",
        "2004.14340", "eq. 11 and 12",
    ),
    "mfac": Method(
        FISHER, "Optimal Brain Surgeon with a matrix-free inverse of the Fisher, kept as gradients.", "2107.03356",
        authors={"block_size": 128, "num_recomputations": 16},
    ),
    "fastcap": Method(
        FISHER, "CAP in one sweep over columns, with one Fisher block a layer.", "2210.09223", "Algorithm 2"
    ),
    "obert": Method(
        FISHER, "WoodFisher's saliencies with the joint update of all that is removed.", "2203.07259", "eq. 6 and 7",
        {"block_size": 50, "damp": 1e-7, "num_gradients": 1024},
    ),
    "chita": Method(
        FISHER, "Sparse least squares on the quadratic model, by hard thresholding.", "2302.14623",
        authors={"block_size": 500},
    ),
    "wanda": Method(INPUTS, "Ranks by absolute weight times the norm of its input.", "2306.11695", "eq. 1"),
    "ria": Method(INPUTS, "Relative importance times activations.", "2501.18980", authors={"power": 0.5}),
    "dsnot": Method(
        INPUTS, "Swaps of removed and kept weights after Wanda; no weight is changed.", "2310.08915", "Algorithm 1",
        {"cycles": 50, "threshold": 0.1},
    ),
    "sparsegpt": Method(
        INPUTS, "One sweep over the columns of each layer, each removal made up for by the columns that follow.",
        "2301.00774", "Algorithm 1", {"block_size": 128},
    ),
    "obc": Method(
        INPUTS, "ExactOBS: greedy Optimal Brain Surgeon in every row of a layer.", "2208.11580", "Algorithm 1"
    ),
    "alps": Method(
        INPUTS, "ADMM on the error of each layer's outputs, then least squares on the mask.", "2406.07831",
        "Algorithms 1 and 2", {"damp": 0.01, "rho": 0.1, "iterations": 300, "cg_steps": 10},
    ),
    "snows": Method(
        PARTS, "Refit of the weights that another pruner keeps, for the outputs of the operations that follow.",
        "2411.18376",
    ),
    "compose": Method(PARTS, "Layer sparsities of one pruner, mask of another, weights of a third."),
}  # fmt: skip


def method_of(pruner: str) -> Method:
    """Returns the facts on a pruner; of one that is not registered here the family is `OTHER`."""
    return METHODS.get(pruner, Method(OTHER, f"The pruner {pruner}."))


def place_in_family(method: str, pruner: str) -> int:
    """Returns a method's place among those of its family, by which figures give it a marker: the same on every page.

    Args:
        method: Name of the method for readers.
        pruner: Registered name, or `path/to/file.py:ClassName`.
    """
    family = method_of(pruner).family
    registered = [LABELS[name] for name, facts in METHODS.items() if facts.family == family]
    beside = [name for name, other in BESIDE.items() if other in registered]
    names = [*registered, *beside]
    return names.index(method) if method in names else len(names)


def setting_of(pruner: str, options: Settings, said: object = None) -> str:
    """Returns whose settings options are: `AUTHORS`, `TUNED`, `PROFILE`, or `UNKNOWN` where the authors' are.

    Tuned are those of which a trial says so. Others that differ from the authors' are the profile's, for which nobody
    searched. A pruner without options of which the authors' values are known is at no setting, unless its trial says
    whose.

    Args:
        pruner: Registered name, or `path/to/file.py:ClassName`.
        options: All its options.
        said: The row's own `setting`, `authors` or `tuned`; anything else where it says nothing.
    """
    if said in SAID:
        return SAID[str(said)]
    authors = method_of(pruner).authors
    if not authors:
        return UNKNOWN
    return AUTHORS if all(options.get(name) == value for name, value in authors.items()) else PROFILE
