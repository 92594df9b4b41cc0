"""Zero statistics, causes, rules and the report of a checkpoint; `scan` puts them together."""

from sacdoctor.diagnosis.model import Finding, LayerReport, Report, Summary
from sacdoctor.diagnosis.options import ScanOptions
from sacdoctor.diagnosis.severity import Severity, Thresholds

__all__ = [
    "Finding",
    "LayerReport",
    "Report",
    "ScanOptions",
    "Severity",
    "Summary",
    "Thresholds",
]
