"""Zero statistics, causes, rules and the report of a checkpoint; `scan` puts them together."""

from sacdoctor.diagnosis.options import ScanOptions

__all__ = ["ScanOptions"]
