from __future__ import annotations

from pathlib import Path

import cap
from cap.device_memory import free_memory, left_in_control_groups


def test_limits_of_control_groups(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "root"
    membership.write_text("0::/job/step\n3:cpu:/elsewhere\n")
    for folder, limit, usage in (("job", "1000", "700"), ("job/step", "max", "500"), ("", "5000", "100")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "memory.max").write_text(limit)
        (root / folder / "memory.current").write_text(usage)
        (root / folder / "memory.stat").write_text("anon 1\ninactive_file 50\n")
    assert left_in_control_groups(membership, root) == [350, 4950]
    membership.write_text("5:memory:/job\n")
    (root / "memory/job").mkdir(parents=True)
    (root / "memory/job/memory.limit_in_bytes").write_text("2000")
    (root / "memory/job/memory.usage_in_bytes").write_text("500")
    (root / "memory/job/memory.stat").write_text("total_inactive_file 100\n")
    assert left_in_control_groups(membership, root) == [1600]
    assert left_in_control_groups(tmp_path / "none", root) == []


def test_default_budget_is_shared() -> None:
    assert 0 < cap.default_budget(shares=4) < cap.default_budget() < free_memory() * 1.1
