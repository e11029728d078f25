"""A CUDA device that is not there: its tensors refuse what a card's would, and compute on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from cap.kernels import for_device

CARD = torch.device("cuda", 0)
MEMORY = 2**36  # bytes that the card pretends to have
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize")  # from device to device
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index")


class CardTensor(Tensor):
    """Tensor that says it is on the card; to PyTorch's own code in C++ it is on the meta device, which needs no driver.

    Attributes:
        held: Tensor on the CPU that holds the values.
    """

    held: Tensor
    device = CARD
    is_cuda, is_meta = True, False
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> CardTensor:
        """Wraps a tensor on the CPU."""
        found: CardTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("meta"),
        )
        found.held = inner
        return found

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Computes outside of `pretend_card`, which the tensor has outlived."""
        return compute(func, args, kwargs or {}, CardTensor)

    def tolist(self) -> Any:  # noqa: D102  PyTorch's own refuses subclasses
        return self.held.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"CardTensor({self.held!r})"


def compute(func: Any, args: Any, kwargs: Mapping[str, Any], wrap: Callable[[Tensor], CardTensor]) -> Any:
    """Returns what an operation gives on the card or on the CPU, as its tensors and its device say.

    Args:
        func: Operation.
        args: Arguments by position.
        kwargs: Arguments by keyword.
        wrap: Function that puts a result on the card.

    Raises:
        RuntimeError: If it mixes tensors of the card with others.
    """
    name = func._schema.name
    flat, structure = tree_flatten((args, dict(kwargs)))
    ours = [value for value in flat if isinstance(value, CardTensor)]
    asked = next((value for value in flat if isinstance(value, torch.device)), None)
    on_card = bool(ours) if asked is None else asked.type in ("cuda", "meta")
    if ours and name not in COPIES:
        _check_devices(name, args, flat)
    _check_generator(name, kwargs, on_card)
    wrappers = {id(value.held): value for value in ours}
    inner = [_inner(value) for value in flat]
    own_args, own_kwargs = tree_unflatten(inner, structure)
    if name == "aten::_to_copy" or asked is not None:
        own_kwargs["device"] = torch.device("cpu")
    if "pin_memory" in own_kwargs:
        own_kwargs["pin_memory"] = False
    found = func(*own_args, **own_kwargs)
    if name in ("aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize"):
        return args[0] if name == "aten::copy_" else args[1]
    if not on_card:
        return found
    return tree_map_only(Tensor, lambda tensor: wrappers[id(tensor)] if id(tensor) in wrappers else wrap(tensor), found)


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, CardTensor) else value


def _check_devices(name: str, args: Any, flat: list[Any]) -> None:
    """Refuses tensors of the CPU beside those of the card, but for single numbers and indices, as CUDA does."""
    if name in INDEXED:
        flat = [args[0], *args[2:3]]
    written = name.endswith("_") and isinstance(args[0], Tensor) and not isinstance(args[0], CardTensor)
    others = [value for value in flat if isinstance(value, Tensor) and not isinstance(value, CardTensor)]
    if written or any(value.ndim for value in others):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {name}")


def _check_generator(name: str, kwargs: Mapping[str, Any], on_card: bool) -> None:
    generator = kwargs.get("generator")
    if on_card and generator is not None and generator.device.type != "cuda":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu': {name}")


class PretendCard(TorchDispatchMode):
    """Mode in which the device `cuda` is there; it counts the memory of what is on it.

    Attributes:
        allocated: Bytes of the tensors that are on the card.
        peak: The most of them since the start, or since `reset_peak`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allocated = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {}, self._wrap)

    def _wrap(self, inner: Tensor) -> CardTensor:
        """Puts a tensor on the card, and counts its storage until nothing uses it."""
        storage = inner.untyped_storage()
        if storage not in self._seen:
            self._seen.add(storage)
            size = storage.nbytes()
            self.allocated += size
            self.peak = max(self.peak, self.allocated)
            weakref.finalize(storage, self._free, size)
        return CardTensor(inner)

    def _free(self, size: int) -> None:
        self.allocated -= size

    def reset_peak(self) -> None:
        """Begins to watch the peak anew."""
        self.peak = self.allocated


@contextmanager
def pretend_card() -> Iterator[PretendCard]:
    """Lets this process use a device `cuda` that it does not have, to find what would fail on a real one.

    Tensors on it are computed with on the CPU, but an operation that mixes them with tensors of the CPU is refused, as
    are `numpy()` and generators of the other device. There is no Triton: kernels are those of batched torch. Time means
    nothing, and memory is that of tensors, without what CUDA's libraries take for a moment.
    """
    card = PretendCard()
    functions: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "a card that is not there",
        "mem_get_info": lambda device=None: (MEMORY - card.allocated, MEMORY),
        "memory_reserved": lambda device=None: card.allocated,
        "memory_allocated": lambda device=None: card.allocated,
        "max_memory_allocated": lambda device=None: card.peak,
        "reset_peak_memory_stats": lambda device=None: card.reset_peak(),
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "manual_seed_all": lambda seed: None,
        "is_current_stream_capturing": lambda: False,
    }
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter cannot become one of another kind
    with ExitStack() as stack:
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(
            mock.patch("cap.elimination.eliminator", lambda device: for_device(device).eliminate_blocks)
        )
        stream = SimpleNamespace(is_capturing=lambda: False)
        stack.enter_context(mock.patch.object(torch.accelerator, "current_stream", return_value=stream))
        inference = mock.patch("torch._C._InferenceMode", lambda on: torch.no_grad() if on else nullcontext())
        stack.enter_context(inference)  # whose tensors no subclass can have
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # of several kernels, the one that the CPU has too
        yield stack.enter_context(card)
