"""The notebook's panels: the job picker, and the live view of a store.

What is shown comes from `metrics` and `charts`; here are only widgets, and what a click does.
"""

from mops_analysis.dashboard.picker import JobPicker
from mops_analysis.dashboard.view import LiveView, dashboard

__all__ = ["JobPicker", "LiveView", "dashboard"]
