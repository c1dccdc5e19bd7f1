"""Charts: what a metric returned in, matplotlib Axes out.

Each `plot_*` answers the question in its title, is honest about gaps, resets and zones, and can be said in words by
`alt_text`. Nothing is computed here that a metric computes, no figure is known to pyplot, no setting is changed.
"""

from mops_analysis.charts.canvas import alt_text
from mops_analysis.charts.eta import plot_eta
from mops_analysis.charts.failures import plot_failure_rate
from mops_analysis.charts.progress import plot_progress
from mops_analysis.charts.throughput import plot_throughput

__all__ = ["alt_text", "plot_eta", "plot_failure_rate", "plot_progress", "plot_throughput"]
