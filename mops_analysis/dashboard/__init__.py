"""The notebook's panels: the job picker, and the live view of a store.

What is shown comes from `metrics` and `charts`; here are only widgets, and what a click does.
"""

try:
    import ipywidgets as _  # noqa: F401  said here once, for all panels
except ImportError as error:
    raise ImportError(
        f'the panels need JupyterLab and ipywidgets ({error}): pip install "mops_analysis[notebook]"'
    ) from error

from mops_analysis.dashboard.picker import JobPicker
from mops_analysis.dashboard.view import LiveView, dashboard

__all__ = ["JobPicker", "LiveView", "dashboard"]
