"""Zero statistics, severities and the report of a checkpoint."""

from sacdoctor.diagnosis.model import Finding, LayerReport, Report, Summary
from sacdoctor.diagnosis.scan import ScanOptions, diagnose, report_of_error, scan
from sacdoctor.diagnosis.severity import Severity, Thresholds

__all__ = [
    "Finding",
    "LayerReport",
    "Report",
    "ScanOptions",
    "Severity",
    "Summary",
    "Thresholds",
    "diagnose",
    "report_of_error",
    "scan",
]
