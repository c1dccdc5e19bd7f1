"""What leaves the house: tables as files, and reports to send."""

from mops_analysis.report.page import report
from mops_analysis.report.tables import export

__all__ = ["export", "report"]
