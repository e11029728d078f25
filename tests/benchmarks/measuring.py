"""What the benchmarks share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# sizes that take a second, to test the benchmarks themselves; what they measure then means nothing
SMALL = os.environ.get("CAPBENCH_BENCHMARK_SIZE") == "small"
Measure = Callable[..., Any]
