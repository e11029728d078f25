"""Discovery of sweeps: by name among the installed ones, or in a user's file."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench.core.errors import UserError, first_mistake
from bench.results.folders import WORKING, pilot_name, profile_folder, source
from bench.results.store import Store, name_mistake

if TYPE_CHECKING:
    import pandas as pd

    from bench.specs.sweep import Sweep

ENTRY_POINTS = "capbench.sweeps"


def sweep_modules() -> dict[str, str]:
    """Returns the installed sweeps, {name: module}, from every package of the entry-point group `capbench.sweeps`."""
    found: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = importlib.import_module(point.value)
        found |= {info.name: f"{point.value}.{info.name}" for info in pkgutil.iter_modules(package.__path__)}
    return dict(sorted(found.items()))


def load_sweep(name: str) -> Sweep:
    """Loads a sweep by name, or from a file `path/to/sweep.py`.

    Raises:
        UserError: If there is no such sweep, the file is not valid, or its sweep has the name of another.
    """
    from bench.specs.sweep import Sweep

    known = sweep_modules()
    if name in known:
        module = importlib.import_module(known[name])
    elif name.endswith(".py") and Path(name).is_file():
        module = _load_file(name)
    else:
        raise UserError(f"unknown sweep {name!r}: choose from {', '.join(known)}, or give a file path/to/sweep.py")
    if not isinstance(module.SWEEP, Sweep):
        raise UserError(f"SWEEP of {name} is no bench.Sweep but a {type(module.SWEEP).__name__}")
    if name not in known:
        _check_free(name, module.SWEEP.name, known)
    return module.SWEEP


def _check_free(path: str, name: str, known: dict[str, str]) -> None:
    """Refuses a file whose sweep has the name of one of ours, as its results would go to the same place."""
    from bench.specs.sweep import RESERVED

    spec = importlib.util.find_spec(known[name]) if name in known else None
    is_ours = spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(path).resolve()
    if name in (*known, *RESERVED) and not is_ours:
        raise UserError(f"{path}: the name {name!r} is taken: choose another than {', '.join((*known, *RESERVED))}")


def _load_file(path: str) -> ModuleType:
    """Imports a sweep file; a mistake in it is the user's."""
    from pydantic import ValidationError

    from cap.registry import import_file

    try:
        module = import_file(Path(path))
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from None
    if not hasattr(module, "SWEEP"):
        raise UserError(f"{path} defines no SWEEP: it must have a variable SWEEP of the class bench.Sweep")
    return module


def find_results(sweep: str, profile: str = "embedded", results: Path = WORKING, images: int | None = None) -> Store:
    """Returns the place of a sweep's results; for its name, its file or package need not be there.

    Where the working folder has none, it is that of the published ones.

    Args:
        sweep: Name of the sweep, or its file `path/to/sweep.py`.
        profile: Name of the profile.
        results: Folder of all results.
        images: Images of a pilot of the sweep; None for the sweep itself.

    Raises:
        UserError: If there is neither such a sweep nor a table of its results, or the file is not valid.
    """
    known = sweep_modules()
    name = load_sweep(sweep).name if sweep.endswith(".py") and sweep not in known else sweep
    name = name if images is None else pilot_name(name, images)
    folder = source(f"{profile_folder(profile)}/{name}.parquet", results)
    if sweep in known or sweep.endswith(".py"):
        return Store(folder, profile, name, source=sweep, pilot_images=images)
    store = Store(folder, profile, name)
    if name_mistake(name) or not store.collected.exists():
        raise UserError(
            f"unknown sweep {sweep!r}, and {store.collected} does not exist: choose from {', '.join(known)}"
        )
    return store


def load_results(sweep: str, profile: str = "embedded", results: Path = WORKING) -> pd.DataFrame:
    """Returns the collected rows of a sweep, as `bench.results.schema.ResultRow` describes them.

    Args:
        sweep: Name of the sweep, or its file `path/to/sweep.py`.
        profile: Name of the profile.
        results: Folder of all results.

    Raises:
        UserError: If there is no table of its results, no trial in it finished, or it cannot be read.
    """
    return find_results(sweep, profile, results).read()
