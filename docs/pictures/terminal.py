"""Draws the terminal's pictures: the scan of a fixture, and the history of a run, as SVG.

`python docs/pictures/terminal.py RUN`; `RUN` is shown by its own name, wherever it lies.
"""

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from sacdoctor import read_history, scan
from sacdoctor.report.formats.table.history import print_history
from sacdoctor.report.formats.table.scan import print_report

HERE = Path(__file__).parent
BROKEN = HERE.parents[1] / "fixtures" / "checkpoints" / "two_head_broken.zip"


def draw(name: str, command: str, columns: int, show: Callable[[Console], None]) -> None:
    """Write what `show` prints on a terminal of so many columns to `<name>.svg`."""
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, highlight=False
    )
    show(console)
    svg = console.export_svg(title=command, unique_id=name)
    # rich names a font on a server; a picture must not load anything.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (HERE / f"{name}.svg").write_text(svg)


def main() -> None:
    """Draw both pictures."""
    report = replace(scan(BROKEN), path="model.zip")
    draw("scan", "sacdoctor scan model.zip", 106, lambda console: print_report(console, report))
    run = Path(sys.argv[1]).resolve()
    os.chdir(run.parent)
    history = read_history(run.name)
    draw("history", f"sacdoctor history {run.name}", 92, lambda c: print_history(c, history))


if __name__ == "__main__":
    main()
