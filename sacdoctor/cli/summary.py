"""`sacdoctor summary`: what is wrong how often in what many scans wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from sacdoctor.cli.options import TABLE, MaxBytesOption, OutputOption, format_option
from sacdoctor.cli.outcome import CLEAN
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import SummaryResult


def summary(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="What `scan --format jsonl` or `--format parquet` wrote, or a folder of Parquet.",
        ),
    ],
    format: Annotated[str, format_option(SummaryResult)] = TABLE,
    output: OutputOption = None,
    max_bytes: MaxBytesOption = None,
) -> int:
    """Say what is wrong how often: by rule, by algorithm, by version of SB3.

    Each checkpoint counts once. Exit codes: 0 counted, 2 wrong usage or something unreadable.
    """
    from sacdoctor.fleet import copies
    from sacdoctor.fleet.summary import summary_of

    with copies(max_bytes) as here:
        counted = here.named(summary_of([here.file(file) for file in files]))
    with open_output(output) as file:
        FORMATS[format].write(SummaryResult(counted), file)
    return CLEAN
