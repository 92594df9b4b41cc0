"""The audit of a warm-up for people: what fills the buffer, and what came of it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.diagnosis.warmup import NO_BUFFER, WarmupReport
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import PROSE, STATUS_STYLES, bare_table, finding_text
from sacdoctor.report.text import counted

_BAR = 40


def print_warmup(console: Console, report: WarmupReport, cleaned: str | None = None) -> None:
    """Print one audit; `cleaned` is the buffer that was written, if one was."""
    console.print(Text(printable(report.path), style="bold"))
    console.print(_headline(report))
    console.print()
    if report.transitions is not None:
        console.print(_facts(console, report))
        console.print()
    for note in report.notes:
        if note == NO_BUFFER:
            continue  # the headline says it
        for line in textwrap.wrap(_sentence(note), min(console.width, PROSE)):
            console.print(Text(printable(line), style="dim"))
        console.print()
    for finding in report.findings:
        console.print(finding_text(finding, console.width))
        console.print()
    if cleaned is not None and report.forced_head is not None:
        rows = report.forced_head.rows * (report.n_envs or 1)
        console.print(
            Text(
                f"Written to {printable(cleaned)}, without {counted(rows, 'transition')}.", "green"
            )
        )
        console.print()


def _headline(report: WarmupReport) -> Text:
    status = Text(f"{report.status.upper()}  ", style=STATUS_STYLES[report.status])
    return status.append(_verdict(report), style="bold")


def _verdict(report: WarmupReport) -> str:
    head = report.forced_head
    if report.findings and rule_of(report.findings[0]).comes_first:
        return _sentence(report.findings[0].message)
    if head is not None and report.share is not None:
        first = counted(head.transitions, "stored action")
        if head.stored == "varied":
            what = f"The first {first} are not the ones that were carried out: "
        elif head.is_exact:
            what = f"The first {first} are forced: "
        else:
            what = f"Up to {first} are forced, the oldest ones: at most "
        return f"{what}{_percent(report.share)} of the buffer."
    found = [_sentence(finding.message) for finding in report.findings[:1]]
    if NO_BUFFER in report.notes:
        return " ".join([*found, _sentence(NO_BUFFER)])
    if report.doubts:
        return " ".join([*found, "Whether the first actions were carried out cannot be told."])
    if report.transitions is not None:
        return "The stored actions are the ones that were carried out, as far as outcomes show."
    return f"The settings let {'a' if report.findings else 'no'} warm-up do harm."


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."


def _facts(console: Console, report: WarmupReport) -> Table:
    table = bare_table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    envs = f", {report.n_envs:,} environments" if (report.n_envs or 1) > 1 else ""
    table.add_row("transitions", f"{report.transitions:,} of {report.capacity:,}{envs}")
    head = report.forced_head
    if head is not None and report.share is not None:
        table.add_row("forced", _bar(report.share, console.options.ascii_only))
        where = f"at transition {head.transitions:,}, exact to the step"
        if not head.is_exact:
            at_the_latest = " at the latest" if head.transitions == head.latest else ""
            where = (
                f"at transition {head.transitions:,}{at_the_latest}; {head.earliest:,} to "
                f"{head.latest:,} are possible"
            )
        table.add_row("they end", where)
        if head.action is not None:
            table.add_row("action", ", ".join(f"{x:g}" for x in head.action[:8]) + " (as stored)")
    if head is not None and report.updates_during_forced is not None:
        of = f" of {report.n_updates:,}" if report.n_updates is not None else ""
        table.add_row("updates with them alone", f"{report.updates_during_forced:,}{of}")
    if report.checkpoint is not None:
        table.add_row("checkpoint", printable(Path(report.checkpoint).name))
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _bar(share: float, ascii_only: bool) -> Text:
    full, empty = ("#", ".") if ascii_only else ("█", "░")
    filled = max(1, round(_BAR * share))
    bar = Text(full * filled, style="yellow").append(empty * (_BAR - filled), style="dim")
    return bar.append(f"  {_percent(share)}", style="none")
