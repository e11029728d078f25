"""Files of weights that a user gives, and whether they are those of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from bench.core.errors import UserError

COUNTER = "num_batches_tracked"  # of batch norm in training: older files lack it
Shape = tuple[int, ...]


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Returns the weights in a file, `.safetensors` or a checkpoint of torch, {name: value}.

    Raises:
        UserError: If there is no such file, or it holds no weights.
    """
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it is no dict of names and tensors")
    except Exception as error:  # noqa: BLE001  of many kinds, by what the file holds
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"weights {path} cannot be read, as .safetensors or a state dict of torch.save: {first}"
        ) from None
    return state


def check_weights(state: Mapping[str, Tensor], model: nn.Module, path: Path, name: str, head: tuple[str, ...]) -> None:
    """Refuses weights of another architecture, or of a head for other classes.

    Args:
        state: The weights.
        model: The architecture, with a head for the data's classes.
        path: File of the weights, for messages.
        name: Name of the model, for messages.
        head: Names of the parameters of its head.

    Raises:
        UserError: If names or shapes differ.
    """
    expected, given = _kept(_shapes_of(model.state_dict())), _kept(_shapes_of(state))
    shapes = [key for key in expected if key in given and given[key] != expected[key]]
    if expected.keys() == given.keys() and shapes and set(shapes) <= set(head):
        raise UserError(f"weights {path} have a head of {given[shapes[0]][0]} classes, but the data have "
                        f"{expected[shapes[0]][0]}: give weights that were trained on these data")  # fmt: skip
    if (mistake := weights_mistake(given, model)) is not None:
        raise UserError(f"weights {path} are not those of {name}: {mistake}")


def weights_mistake(given: Mapping[str, Shape], model: nn.Module) -> str | None:
    """Returns how weights differ from those of a model, all differences in one line; None where they do not.

    Args:
        given: Shapes of the weights, {name: shape}.
        model: The architecture.
    """
    expected, given = _kept(_shapes_of(model.state_dict())), _kept(given)
    differences = {
        "they lack": [key for key in expected if key not in given],
        "they have": [key for key in given if key not in expected],
        "another shape has": [
            f"{key} {given[key]}, not {shape}" for key, shape in expected.items() if given.get(key, shape) != shape
        ],
    }
    return "; ".join(f"{text} {_first(keys)}" for text, keys in differences.items() if keys) or None


def _shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _kept(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Returns the shapes of what a file must have."""
    return {key: shape for key, shape in shapes.items() if not key.endswith(COUNTER)}


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if names[1:] else "")
