"""What leaves the house: tables as files, and reports to send."""

from mops_analysis.report.page import report
from mops_analysis.report.tables import export
from mops_analysis.report.tearsheet import tear_sheet

__all__ = ["export", "report", "tear_sheet"]
