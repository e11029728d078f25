"""The registry that finds pruners by name, entry point or file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from cap.exits import exits_raised
from cap.pruner import Pruner, ScorePruner

ENTRY_POINTS = "cap.pruners"
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_REGISTRY: dict[str, type[Pruner]] = {}
PrunerClass = TypeVar("PrunerClass", bound=type[Pruner])


def _registered() -> dict[str, type[Pruner]]:
    """Returns the registered classes by name, those of this package included."""
    importlib.import_module("cap.pruners")  # they register themselves; here, because they import this module
    return _REGISTRY


def register(name: str) -> Callable[[PrunerClass], PrunerClass]:
    """Class decorator that makes a pruner available to `create` under a name.

    Raises:
        ValueError: If another class has the name already.
    """

    def add(cls: PrunerClass) -> PrunerClass:
        known = _registered().get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"pruner name {name!r} is taken by {known.__module__}.{known.__qualname__}")
        _REGISTRY[name] = cls
        return cls

    return add


def available() -> list[str]:
    """Returns the names of all pruners, those of installed third-party packages included."""
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return sorted({*_registered(), *(point.name for point in points)})


def _find(name: str) -> type[Pruner]:
    """Looks a pruner up by registered name, entry point or `path/to/file.py:ClassName`."""
    registered = _registered()
    if name in registered:
        return registered[name]
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _load_file(Path(path), class_name)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        return point.load()
    raise ValueError(
        f"unknown pruner {name!r}: choose from {', '.join(available())}, or give a file as path/to/file.py:ClassName"
    )


def import_file(path: Path) -> ModuleType:
    """Imports a Python file that is in no package; once for each version of the file."""
    path = path.resolve()
    source = path.read_bytes()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + source).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as any import does; dataclasses look themselves up there
    try:
        # not by the loader: its cache takes a file for unchanged that has its old size, and changed within a second
        with exits_raised():
            exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_file(path: Path, class_name: str) -> type[Pruner]:
    if not path.is_file():
        raise ValueError(f"pruner file {path} does not exist")
    module = import_file(path)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Pruner)):
        bases = (Pruner, ScorePruner)
        classes = [
            n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Pruner) and v not in bases
        ]
        raise ValueError(f"{path} has no pruner class {class_name!r}; it has {', '.join(classes) or 'none'}")
    return found


def default_options(name: str) -> dict[str, Any]:
    """Returns a pruner's options and their default values; none for what `*args` and `**kwargs` stand for.

    Raises:
        ValueError: If there is no such pruner.
    """
    parameters = inspect.signature(_find(name)).parameters.values()
    return {one.name: one.default for one in parameters if one.kind not in _VARIADIC}


def variadic_options(name: str) -> list[str]:
    """Returns the parameters of a pruner's `__init__` that stand for any others, as written: `*args`, `**kwargs`.

    Raises:
        ValueError: If there is no such pruner.
    """
    parameters = inspect.signature(_find(name)).parameters.values()
    return [str(one).partition(":")[0] for one in parameters if one.kind in _VARIADIC]


def source_file(name: str) -> Path | None:
    """Returns the file that defines a pruner, None for those of this package.

    Raises:
        ValueError: If there is no such pruner.
    """
    found = _find(name)
    return None if found.__module__.startswith("cap.") else Path(inspect.getfile(found))


def create(name: str, **options: Any) -> Pruner:
    """Makes a pruner.

    Args:
        name: Name of `available()`, or `path/to/file.py:ClassName`.
        **options: Options of the pruner.

    Raises:
        ValueError: If the pruner, or one of the options, is unknown; the message lists the valid ones. If the class
            lacks a method.
    """
    valid, found = default_options(name), _find(name)
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ValueError(
            f"pruner {name!r} has no method {' and no '.join(missing)}: "
            "a cap.Pruner has fit and prune, a cap.ScorePruner has scores"
        )
    if unknown := sorted(set(options) - set(valid)):
        listed = ", ".join(f"{key}={value!r}" for key, value in valid.items()) or "none"
        raise ValueError(f"pruner {name!r} has no option {', '.join(unknown)}: its options are {listed}")
    with exits_raised():
        return found(**options)
