"""Pure functions on the samples frame: frame in, frame out; no clock, no network, no drawing."""

from mops_analysis.metrics.counting import counting
from mops_analysis.metrics.eta import eta, eta_backtest
from mops_analysis.metrics.failures import failure_rate
from mops_analysis.metrics.summary import anomalies, summary
from mops_analysis.metrics.throughput import throughput, throughput_by

__all__ = [
    "anomalies",
    "counting",
    "eta",
    "eta_backtest",
    "failure_rate",
    "summary",
    "throughput",
    "throughput_by",
]
