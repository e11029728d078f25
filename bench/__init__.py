"""Benchmark of pruners: from a sweep's definition to tables and figures.

Of this package the command line uses these names alone. They are imported when they are first used: `import bench`
loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.cluster.config import apply_places
    from bench.cluster.doctor import examine
    from bench.cluster.executor import ClusterExecutor
    from bench.cluster.sweeps import (
        ClusterTarget,
        cancel_sweep,
        plan_sweep,
        prepare_submission,
        select_to_retry,
        sweep_status,
    )
    from bench.core.durations import TimeLeft, duration
    from bench.core.errors import UserError
    from bench.diagnosis.diagnose import diagnose, diagnose_models
    from bench.diagnosis.finding import Diagnosis, Finding, as_json
    from bench.execution.comparison import compare, select_comparison
    from bench.execution.contract import contract_failures
    from bench.execution.executor import Executor, FinishedTrial
    from bench.execution.inline import InlineExecutor
    from bench.execution.pool import PoolExecutor
    from bench.execution.preflight import LocalResources, check_pruner, skipped_patterns
    from bench.execution.rerun import rerun
    from bench.execution.selection import CollectedResults, TrialSelection, select_trials
    from bench.execution.stored import StoredTrial, find_trial
    from bench.execution.sweeps import LocalRun, run_sweep
    from bench.execution.tuning import select_tuning, store_choices, tune
    from bench.export.model import export_model
    from bench.export.small import load_small
    from bench.export.source import one_shot_trial
    from bench.latency.run import measure_latency
    from bench.leaderboard.submit import submit_comparison
    from bench.leaderboard.verify import verify_submission
    from bench.models import MODELS, get_model
    from bench.models.own import own_model
    from bench.models.own_text import model_text
    from bench.publication.prepare import prepare_publication
    from bench.reports.comparison.report import ComparisonReport
    from bench.reports.kernels import find_benchmarks
    from bench.reports.kernels import report as write_kernel_report
    from bench.reports.latency.analysis import analyse as analyse_timings
    from bench.reports.latency.report import LatencyReport
    from bench.reports.latency.report import print_cells as print_timings
    from bench.reports.latency.report import progress_lines as timing_lines
    from bench.reports.page.comparison import find_comparison
    from bench.reports.page.report import PageReport
    from bench.reports.sweep.outcome import outcome_table
    from bench.reports.sweep.report import SweepReport
    from bench.reports.tuning import print_choices
    from bench.results.folders import collected_sweeps
    from bench.results.submissions import find_submissions
    from bench.results.timings import Timings, find_timings
    from bench.results.tuned import TunedSettings, read_tuned, tuned_file
    from bench.specs.comparison import Comparison
    from bench.specs.comparison import plan as plan_comparison
    from bench.specs.discovery import find_results, load_results, load_sweep, sweep_modules
    from bench.specs.profiles import Profile, get_profile, own_profile
    from bench.specs.settings import finetune_recipe, setting_cases
    from bench.specs.sweep import Sweep, grid
    from bench.specs.trial import Trial, model_notes
    from bench.trials.context import ExecutionConfig
    from bench.trials.runner import run_trial

# {name: module}, or module:attribute where the two names differ
_MODULES = {
    "ClusterExecutor": "bench.cluster.executor",
    "ClusterTarget": "bench.cluster.sweeps",
    "CollectedResults": "bench.execution.selection",
    "Comparison": "bench.specs.comparison",
    "ComparisonReport": "bench.reports.comparison.report",
    "Diagnosis": "bench.diagnosis.finding",
    "ExecutionConfig": "bench.trials.context",
    "Executor": "bench.execution.executor",
    "Finding": "bench.diagnosis.finding",
    "FinishedTrial": "bench.execution.executor",
    "InlineExecutor": "bench.execution.inline",
    "LatencyReport": "bench.reports.latency.report",
    "LocalResources": "bench.execution.preflight",
    "LocalRun": "bench.execution.sweeps",
    "MODELS": "bench.models",
    "PageReport": "bench.reports.page.report",
    "PoolExecutor": "bench.execution.pool",
    "Profile": "bench.specs.profiles",
    "StoredTrial": "bench.execution.stored",
    "Sweep": "bench.specs.sweep",
    "SweepReport": "bench.reports.sweep.report",
    "TimeLeft": "bench.core.durations",
    "Timings": "bench.results.timings",
    "Trial": "bench.specs.trial",
    "TrialSelection": "bench.execution.selection",
    "TunedSettings": "bench.results.tuned",
    "UserError": "bench.core.errors",
    "apply_places": "bench.cluster.config",
    "analyse_timings": "bench.reports.latency.analysis:analyse",
    "as_json": "bench.diagnosis.finding",
    "cancel_sweep": "bench.cluster.sweeps",
    "check_pruner": "bench.execution.preflight",
    "collected_sweeps": "bench.results.folders",
    "compare": "bench.execution.comparison",
    "contract_failures": "bench.execution.contract",
    "diagnose": "bench.diagnosis.diagnose",
    "diagnose_models": "bench.diagnosis.diagnose",
    "duration": "bench.core.durations",
    "examine": "bench.cluster.doctor",
    "export_model": "bench.export.model",
    "find_benchmarks": "bench.reports.kernels",
    "find_comparison": "bench.reports.page.comparison",
    "find_results": "bench.specs.discovery",
    "find_submissions": "bench.results.submissions",
    "find_timings": "bench.results.timings",
    "find_trial": "bench.execution.stored",
    "finetune_recipe": "bench.specs.settings",
    "get_model": "bench.models",
    "get_profile": "bench.specs.profiles",
    "grid": "bench.specs.sweep",
    "load_results": "bench.specs.discovery",
    "load_small": "bench.export.small",
    "load_sweep": "bench.specs.discovery",
    "measure_latency": "bench.latency.run",
    "model_notes": "bench.specs.trial",
    "model_text": "bench.models.own_text",
    "one_shot_trial": "bench.export.source",
    "outcome_table": "bench.reports.sweep.outcome",
    "own_model": "bench.models.own",
    "own_profile": "bench.specs.profiles",
    "plan_comparison": "bench.specs.comparison:plan",
    "plan_sweep": "bench.cluster.sweeps",
    "prepare_publication": "bench.publication.prepare",
    "prepare_submission": "bench.cluster.sweeps",
    "print_choices": "bench.reports.tuning",
    "print_timings": "bench.reports.latency.report:print_cells",
    "read_tuned": "bench.results.tuned",
    "rerun": "bench.execution.rerun",
    "run_sweep": "bench.execution.sweeps",
    "run_trial": "bench.trials.runner",
    "select_comparison": "bench.execution.comparison",
    "select_to_retry": "bench.cluster.sweeps",
    "select_trials": "bench.execution.selection",
    "select_tuning": "bench.execution.tuning",
    "setting_cases": "bench.specs.settings",
    "skipped_patterns": "bench.execution.preflight",
    "store_choices": "bench.execution.tuning",
    "submit_comparison": "bench.leaderboard.submit",
    "sweep_modules": "bench.specs.discovery",
    "sweep_status": "bench.cluster.sweeps",
    "timing_lines": "bench.reports.latency.report:progress_lines",
    "tune": "bench.execution.tuning",
    "tuned_file": "bench.results.tuned",
    "verify_submission": "bench.leaderboard.verify",
    "write_kernel_report": "bench.reports.kernels:report",
}

__all__ = [
    "MODELS",
    "ClusterExecutor",
    "ClusterTarget",
    "CollectedResults",
    "Comparison",
    "ComparisonReport",
    "Diagnosis",
    "ExecutionConfig",
    "Executor",
    "Finding",
    "FinishedTrial",
    "InlineExecutor",
    "LatencyReport",
    "LocalResources",
    "LocalRun",
    "PageReport",
    "PoolExecutor",
    "Profile",
    "StoredTrial",
    "Sweep",
    "SweepReport",
    "TimeLeft",
    "Timings",
    "Trial",
    "TrialSelection",
    "TunedSettings",
    "UserError",
    "analyse_timings",
    "apply_places",
    "as_json",
    "cancel_sweep",
    "check_pruner",
    "collected_sweeps",
    "compare",
    "contract_failures",
    "diagnose",
    "diagnose_models",
    "duration",
    "examine",
    "export_model",
    "find_benchmarks",
    "find_comparison",
    "find_results",
    "find_submissions",
    "find_timings",
    "find_trial",
    "finetune_recipe",
    "get_model",
    "get_profile",
    "grid",
    "load_results",
    "load_small",
    "load_sweep",
    "measure_latency",
    "model_notes",
    "model_text",
    "one_shot_trial",
    "outcome_table",
    "own_model",
    "own_profile",
    "plan_comparison",
    "plan_sweep",
    "prepare_publication",
    "prepare_submission",
    "print_choices",
    "print_timings",
    "read_tuned",
    "rerun",
    "run_sweep",
    "run_trial",
    "select_comparison",
    "select_to_retry",
    "select_trials",
    "select_tuning",
    "setting_cases",
    "skipped_patterns",
    "store_choices",
    "submit_comparison",
    "sweep_modules",
    "sweep_status",
    "timing_lines",
    "tune",
    "tuned_file",
    "verify_submission",
    "write_kernel_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _MODULES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
