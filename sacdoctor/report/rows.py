"""Reports as the rows of one table: a row per checkpoint, and below it one per finding.

A row says of itself which it is (`row`), and a finding's has its checkpoint's path, status,
algorithm and versions beside it, so that each can be counted and grouped alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from sacdoctor.errors import SacdoctorError
from sacdoctor.extras import imported
from sacdoctor.model import Report
from sacdoctor.report.results import Judge

if TYPE_CHECKING:
    from pyarrow import Schema, Table

CHECKPOINT, FINDING = "checkpoint", "finding"
_MOST, _SECONDS = 4096, 30.0
"""Rows that wait to be written, and how long they do at most."""
_SHARED = {
    "row": "dictionary",
    "path": "string",
    "status": "dictionary",
    "algorithm": "dictionary",
    "policy_class": "dictionary",
    "sb3_version": "dictionary",
}
_OF_CHECKPOINT = {
    "error": "string",
    "num_timesteps": "int64",
    "n_updates": "int64",
    "learning_rate": "float64",
    "unjudged": "dictionary",
    "tensors": "int64",
    "parameters": "int64",
    "zero_parameters": "int64",
    "zero_percent": "float64",
    "bias_tensors": "int64",
    "all_zero_bias_tensors": "int64",
}
_OF_FINDING = {
    "rule": "dictionary",
    "name": "dictionary",
    "severity": "dictionary",
    "in_passing": "bool",
    "known": "bool",
    "about": "list",
    "message": "string",
    "evidence": "string",
    "remedy": "string",
}
COLUMNS = {**_SHARED, **_OF_CHECKPOINT, **_OF_FINDING}
"""All columns and their types; those of the other kind of row are null."""


def arrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or a part of it; raises `SacdoctorError` where it is not installed."""
    try:
        imported("pyarrow", "Table", "Parquet")
        from importlib import import_module

        return import_module(module)
    except ImportError as error:
        raise SacdoctorError(str(error)) from None


def schema() -> Schema:
    """Return the columns as pyarrow has them."""
    pa = arrow()
    types = {
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "list": pa.list_(pa.string()),
    }
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


class Rows:
    """Collects reports, and hands their rows on as tables: a part when it is full, or waited long.

    Whoever adds must `flush` at the end, however that comes.
    """

    def __init__(self, write: Callable[[Table], Any], judge: Judge) -> None:
        self._write = write
        self._judge = judge
        self._schema = schema()
        self._waiting: list[dict[str, Any]] = []
        self._since = monotonic()

    def add(self, report: Report) -> None:
        self._waiting += _rows(report, self._judge)
        if len(self._waiting) >= _MOST or monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._write(arrow().Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting.clear()
        self._since = monotonic()


def _rows(report: Report, judge: Judge) -> Iterator[dict[str, Any]]:
    shared: dict[str, Any] = {
        name: _text(getattr(report, name)) for name in _SHARED if name != "row"
    }
    counts = report.summary
    yield {
        **shared,
        "row": CHECKPOINT,
        "error": _text(report.error),
        "num_timesteps": _whole(report.num_timesteps),
        "n_updates": _whole(report.n_updates),
        "learning_rate": report.learning_rate,
        "unjudged": report.unjudged,
        **(
            {}
            if counts is None
            else {name: getattr(counts, name) for name in _OF_CHECKPOINT if hasattr(counts, name)}
        ),
    }
    for one in report.findings:
        yield {
            **shared,
            "row": FINDING,
            "rule": one.rule,
            "name": one.name,
            "severity": one.severity,
            "in_passing": one.in_passing,
            "known": judge.knows(report.path, one),
            "about": [*map(_text, one.tensors)],
            "message": _text(one.message),
            "evidence": _text(one.evidence),
            "remedy": _text(one.remedy),
        }


def _text(text: str | None) -> str | None:
    """Return a text that UTF-8 can hold: bytes of a path that are none are written as escapes."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _whole(number: int | None) -> int | None:
    """Return a number that 64 bits can hold, None for those that no training counts to."""
    return number if number is not None and abs(number) < 2**63 else None
