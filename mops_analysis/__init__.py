"""Sample MerchantOps job status over time; chart throughput, ETA and failure rates.

The way of the data, each step a function or a small class that can be used on its own::

    service ─HTTP→ client ─JobStatus→ sampler → store (SQLite)
    store → samples (one tidy DataFrame) → metrics (frames) → charts (Axes) → notebook | dashboard | report | cli

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers and editors; at run time `_HOMES` below says the same, lazily. A test compares the two.
    from mops_analysis.charts import alt_text as alt_text
    from mops_analysis.charts import plot_comparison as plot_comparison
    from mops_analysis.charts import plot_eta as plot_eta
    from mops_analysis.charts import plot_failure_rate as plot_failure_rate
    from mops_analysis.charts import plot_failures_by_job as plot_failures_by_job
    from mops_analysis.charts import plot_heatmap as plot_heatmap
    from mops_analysis.charts import plot_progress as plot_progress
    from mops_analysis.charts import plot_ranks as plot_ranks
    from mops_analysis.charts import plot_throughput as plot_throughput
    from mops_analysis.charts import plot_throughput_by as plot_throughput_by
    from mops_analysis.charts import plot_timeline as plot_timeline
    from mops_analysis.client import JobStatusClient as JobStatusClient
    from mops_analysis.credentials import Secret as Secret
    from mops_analysis.dashboard import JobPicker as JobPicker
    from mops_analysis.dashboard import dashboard as dashboard
    from mops_analysis.dataset import read_dataset as read_dataset
    from mops_analysis.dataset import summarize_dataset as summarize_dataset
    from mops_analysis.dataset import write_dataset as write_dataset
    from mops_analysis.errors import ConfigurationError as ConfigurationError
    from mops_analysis.errors import MopsError as MopsError
    from mops_analysis.errors import PollError as PollError
    from mops_analysis.errors import SchemaError as SchemaError
    from mops_analysis.errors import StoreError as StoreError
    from mops_analysis.files import load_example as load_example
    from mops_analysis.files import read_samples as read_samples
    from mops_analysis.metrics.anomalies import anomalies as anomalies
    from mops_analysis.metrics.backtest import backtest_summary as backtest_summary
    from mops_analysis.metrics.backtest import eta_backtest as eta_backtest
    from mops_analysis.metrics.comparison import comparison as comparison
    from mops_analysis.metrics.comparison import week_on_week as week_on_week
    from mops_analysis.metrics.counting import counting as counting
    from mops_analysis.metrics.eta import eta as eta
    from mops_analysis.metrics.failures import failure_rate as failure_rate
    from mops_analysis.metrics.fleet import fleet as fleet
    from mops_analysis.metrics.summary import summary as summary
    from mops_analysis.metrics.throughput import throughput as throughput
    from mops_analysis.metrics.throughput import throughput_by as throughput_by
    from mops_analysis.report import export as export
    from mops_analysis.report import report as report
    from mops_analysis.report import tear_sheet as tear_sheet
    from mops_analysis.sampler import Sampler as Sampler
    from mops_analysis.schema import JobStatus as JobStatus
    from mops_analysis.store import SampleStore as SampleStore

__version__ = "0.1.0"

# The public names, each with the module it lives in.
_HOMES = {
    "MopsError": "errors",
    "SchemaError": "errors",
    "ConfigurationError": "errors",
    "StoreError": "errors",
    "PollError": "errors",
    "JobStatus": "schema",
    "Secret": "credentials",
    "JobStatusClient": "client",
    "SampleStore": "store",
    "read_samples": "files",
    "load_example": "files",
    "Sampler": "sampler",
    "counting": "metrics",
    "throughput": "metrics",
    "throughput_by": "metrics",
    "failure_rate": "metrics",
    "eta": "metrics",
    "eta_backtest": "metrics",
    "summary": "metrics",
    "fleet": "metrics",
    "backtest_summary": "metrics",
    "anomalies": "metrics",
    "comparison": "metrics",
    "week_on_week": "metrics",
    "write_dataset": "dataset",
    "read_dataset": "dataset",
    "summarize_dataset": "dataset",
    "plot_progress": "charts",
    "plot_ranks": "charts",
    "plot_throughput": "charts",
    "plot_throughput_by": "charts",
    "plot_eta": "charts",
    "plot_failure_rate": "charts",
    "plot_comparison": "charts",
    "plot_failures_by_job": "charts",
    "plot_timeline": "charts",
    "plot_heatmap": "charts",
    "alt_text": "charts",
    "export": "report",
    "report": "report",
    "tear_sheet": "report",
    "dashboard": "dashboard",
    "JobPicker": "dashboard",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    # `mops.report` and `mops.dashboard` are functions whose modules have the same name. The import system binds each
    # imported submodule to its package; that must not hide the function.
    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
