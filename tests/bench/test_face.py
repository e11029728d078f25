"""The public face of bench."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bench

SOURCE = Path(bench.__file__)


def test_every_name_is_there() -> None:
    for name in bench.__all__:
        assert getattr(bench, name) is not None
    assert set(bench.__all__) <= set(dir(bench))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        bench.nothing  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(SOURCE.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("bench.")]
    seen = {alias.asname or alias.name: (node.module, alias.name) for node in imports for alias in node.names}
    assert set(seen) == set(bench.__all__)
    for name, (module, attribute) in seen.items():
        assert getattr(bench, name) is getattr(sys.modules[module], attribute)


def test_the_command_line_imports_nothing_else_of_bench() -> None:
    for path in (SOURCE.parent / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench."):
                assert node.module.startswith("bench.cli") or path.name == "cluster_options.py", (path, node.module)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, bench; bench.UserError; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
