"""Charts: what a metric returned in, matplotlib Axes out.

Each `plot_*` answers the question in its title, is honest about gaps, resets and zones, and can be said in words by
`alt_text`. Nothing is computed here that a metric computes, no figure is known to pyplot, no setting is changed.
"""

from mops_analysis.charts.canvas import alt_text
from mops_analysis.charts.comparison import plot_comparison, plot_failures_by_job, plot_ranks
from mops_analysis.charts.eta import plot_eta
from mops_analysis.charts.failures import plot_failure_rate
from mops_analysis.charts.periods import plot_throughput_by
from mops_analysis.charts.progress import plot_progress
from mops_analysis.charts.throughput import plot_throughput
from mops_analysis.charts.timeline import plot_heatmap, plot_timeline

__all__ = [
    "alt_text",
    "plot_comparison",
    "plot_eta",
    "plot_failure_rate",
    "plot_failures_by_job",
    "plot_heatmap",
    "plot_progress",
    "plot_ranks",
    "plot_throughput",
    "plot_throughput_by",
    "plot_timeline",
]
