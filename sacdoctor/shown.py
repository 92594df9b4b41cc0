"""How a result shows itself to a program or in a notebook: a line, a small table, plain data."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sacdoctor.printable import printable

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 20
_FORMATS = "sacdoctor.report.documents"
"""Where the documents are written: above all results, so that it is found when it is asked for."""


class Shown:
    """What results have in common that are handed to a program."""

    __slots__ = ()

    def __repr__(self) -> str:
        words = import_module(_FORMATS).words(self)
        return f"<{type(self).__name__} {printable(words)}>"

    def _repr_html_(self) -> str:
        """Return the line and a table below it; everything that comes from a file is escaped."""
        from html import escape  # with its table of entities, which only a notebook needs

        columns, rows = import_module(_FORMATS).table(self)
        parts = [f"<p><b>{escape(repr(self)[1:-1])}</b></p>"]
        if rows:
            head = "".join(f"<th>{escape(column)}</th>" for column in columns)
            body = "".join(
                "<tr>"
                + "".join(
                    f'<td style="text-align: left">{escape(printable(str(cell)))}</td>'
                    for cell in row
                )
                + "</tr>"
                for row in rows[:_MOST_ROWS]
            )
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if len(rows) > _MOST_ROWS:
            parts.append(f"<p>and {len(rows) - _MOST_ROWS:,} more</p>")
        return "".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `--format json` writes, every tensor in it, as plain values."""
        document: dict[str, Any] = import_module(_FORMATS).document(self)
        return document

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame: a row per tensor, of a run per checkpoint or finding.

        Raises `ImportError` where pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            raise ImportError(
                f"{type(self).__name__}.to_dataframe() needs pandas: pip install pandas"
            ) from error
        return pd.DataFrame(import_module(_FORMATS).records(self))
