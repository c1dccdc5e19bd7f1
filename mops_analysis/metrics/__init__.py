"""Pure functions on the samples frame: frame in, frame out; no clock, no network, no drawing."""

from mops_analysis.metrics.anomalies import anomalies
from mops_analysis.metrics.backtest import backtest_summary, eta_backtest
from mops_analysis.metrics.comparison import comparison, week_on_week
from mops_analysis.metrics.counting import counting
from mops_analysis.metrics.eta import eta
from mops_analysis.metrics.failures import failure_rate
from mops_analysis.metrics.fleet import fleet
from mops_analysis.metrics.summary import summary
from mops_analysis.metrics.throughput import throughput, throughput_by

__all__ = [
    "anomalies",
    "backtest_summary",
    "comparison",
    "counting",
    "eta",
    "eta_backtest",
    "failure_rate",
    "fleet",
    "summary",
    "throughput",
    "throughput_by",
    "week_on_week",
]
