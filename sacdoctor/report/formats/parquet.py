"""Parquet: a table of checkpoints and findings for DuckDB, pandas and Spark, in row groups."""

from __future__ import annotations

from typing import TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import ScanResult


def _scan(result: ScanResult, file: TextIO) -> None:
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.report.rows import Rows, arrow, schema

    binary = getattr(file, "buffer", None)
    if binary is None or file.isatty():
        raise SacdoctorError("Parquet is no text for a terminal: give it --output FILE")
    parquet = arrow("pyarrow.parquet")
    with parquet.ParquetWriter(binary, schema()) as writer:
        rows = Rows(writer.write_table, result.judge)
        for report in result.reports:
            rows.add(report)
        rows.flush()


FORMAT = Format("parquet", "Parquet for tables", {ScanResult: _scan})
