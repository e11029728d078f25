"""Reports on compilations."""

from __future__ import annotations

from dataclasses import dataclass, field

from cap.runtime.folding import Fold
from cap.runtime.machine import PORTABLE, engine

SPARSE, DENSE = "sparse", "dense"  # choices


@dataclass
class LayerReport:
    """Decision about one layer.

    Attributes:
        name: Name of the module.
        kind: Class of its sparse counterpart.
        shape: Shape of its input.
        arguments: Numbers that it is called with after the input.
        sparsity: Fraction of zeros in its weights.
        expected_ms: Expected time of the sparse layer on the images that it was timed with, milliseconds.
        choice: "sparse" or "dense".
        dense_ms: Measured time of the dense layer within a pass of the dense model, milliseconds.
        sparse_ms: Measured time of the sparse layer within a pass of the model with sparse layers, milliseconds.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    arguments: tuple[int, ...]
    sparsity: float
    expected_ms: float
    choice: str = DENSE
    dense_ms: float | None = None
    sparse_ms: float | None = None


@dataclass
class Report:
    """Report of one compilation.

    Attributes:
        engine: Kernels that run: "avx512", "avx512-vnni" for integers, or "portable" on other processors.
        layers: Layers that could be sparse.
        folds: Convolutions that have taken in the batch norm and the activation after them.
        dense_ms: Measured time of the dense model on the images that it was timed with, milliseconds.
        compiled_ms: Measured time of the model with the sparse layers, milliseconds.
        kept_dense: Whether the dense model is used since the sparse one was slower.
        cached: Whether all this was read from the cache.
    """

    engine: str
    layers: list[LayerReport] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    dense_ms: float | None = None
    compiled_ms: float | None = None
    kept_dense: bool = False
    cached: bool = False

    def sparse_layers(self) -> list[LayerReport]:
        """Returns the layers that run sparse in the compiled model."""
        return [] if self.kept_dense else [layer for layer in self.layers if layer.choice == SPARSE]

    @property
    def int8(self) -> bool:
        """Whether sparse layers multiply integers of eight bits."""
        return self.engine == engine(int8=True)

    def __str__(self) -> str:
        lines = [f"engine: {self.engine}" + (" (this processor has no AVX-512)" if self.engine == PORTABLE else "")]
        form = "{:40} {:16} {:>8} {:>11} {:>9} {:>9}  {}"
        lines.append(form.format("layer", "kind", "sparsity", "expected ms", "sparse ms", "dense ms", "choice"))
        lines += [
            form.format(
                layer.name, layer.kind, f"{layer.sparsity:.1%}",
                *map(_milliseconds, (layer.expected_ms, layer.sparse_ms, layer.dense_ms)), layer.choice,
            )
            for layer in self.layers
        ]  # fmt: skip
        if self.dense_ms is not None:
            kept = "; the dense model is kept" if self.kept_dense else ""
            lines.append(f"model: {_milliseconds(self.compiled_ms)} ms, dense {_milliseconds(self.dense_ms)} ms{kept}")
        return "\n".join(lines)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
