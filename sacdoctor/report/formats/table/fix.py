"""The result of a repair as a table for people: before and after side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.diagnosis.rules import rule_named
from sacdoctor.model import Cause, Report, Summary
from sacdoctor.printable import printable
from sacdoctor.repair import Completion, FixResult, MomentReset, RepairPlan
from sacdoctor.report.formats.table.style import (
    STATUS_STYLES,
    bare_table,
    dotted,
    finding_text,
)
from sacdoctor.report.text import counted

_WORDS = {
    "reinit": "drawn anew",
    "target": "from the target network",
    "donor": "from the donor",
    "online": "from the online network",
}
_ADVICE = {
    Cause.NOT_IN_OPTIMIZER: "Nothing trains them before the policy's code is changed",
    Cause.NO_GRADIENT: "No gradient reaches them",
    Cause.ZERO_GRADIENT: "Their gradients were all 0 and may stay so",
}
_MAX_LEFT = 12
"""Tensors left alone that are listed one by one; beyond that they are counted."""


def print_result(console: Console, result: FixResult, *, dry_run: bool) -> None:
    """Print what was done to one checkpoint, or with `dry_run` what would be."""
    console.print(Text(printable(result.source), style="bold"))
    console.print(_headline(result, dry_run))
    console.print()
    plan = result.plan
    if plan.repaired:
        console.print(_repairs(plan, console.width))
        console.print()
    if plan.settings:
        for change in plan.settings:
            before = change.before if isinstance(change.before, str) else _number(change.before)
            after = "removed, SB3 builds it anew" if change.after is None else f"{change.after:g}"
            console.print(f"{printable(change.key)}: {before} -> {after}")
        console.print()
    if plan.completions:
        for completion in plan.completions:
            console.print(Text(f"{printable(completion.optimizer)}: {_completed(completion)}"))
        load = f": {printable(result.loads_with)}" if result.loads_with else "."
        console.print(
            Text(f"The copy loads only into a policy that makes its optimizer last{load}")
        )
        console.print()
    if not dry_run and result.output is not None and result.after is not None:
        console.print(_before_and_after(result.before, result.after))
        console.print()
    for cause, names in result.not_lasting.items():
        tensors = counted(len(names), "of the repaired tensors is", "of the repaired tensors are")
        more = f"{_ADVICE[cause]}; see `sacdoctor rules {rule_named(cause).code}`."
        console.print(Text(f"This will not last: {tensors} {cause}. {more}", style="yellow"))
        console.print()
    if plan.unstripped:
        console.print(Text("Not stripped; loading the file still uses it:", style="yellow"))
        for left in plan.unstripped:
            console.print(Text(f"  {printable(left.name)}: {printable(left.reason)}"))
        console.print()
    if plan.left:
        console.print("Left as they are:", style="dim")
        for left in plan.left[:_MAX_LEFT]:
            console.print(Text(f"  {printable(left.name)}: {left.reason}", style="dim"))
        if len(plan.left) > _MAX_LEFT:
            rest = counted(len(plan.left) - _MAX_LEFT, "more tensor")
            console.print(Text(f"  and {rest}; --format json lists all", style="dim"))
        console.print()
    for finding in result.unsafe:
        console.print(finding_text(finding, console.width))
        console.print()


def _completed(completion: Completion) -> str:
    entries, joined = len(completion.names), len(completion.added)
    if not joined:
        return f"its {entries:,} entries, in two groups that train alike, become one group."
    who = counted(joined, "parameter joins", "parameters join")
    return (
        f"{completion.entries_before:,} entries become {entries:,}; {who}, every existing moment "
        "stays with its parameter."
    )


def _headline(result: FixResult, dry_run: bool) -> Text:
    plan = result.plan
    if plan.is_empty and result.output is None:
        if plan.unstripped:
            return Text("Nothing could be repaired or stripped; nothing was written.", "yellow")
        return Text("Nothing to repair; nothing was written.", style="green")
    if plan.is_empty:
        return Text(f"Nothing to repair; copied to {printable(result.output or '')}.", "green")
    parts = []
    if plan.repaired:
        elements = sum(repair.elements for repair in plan.repaired)
        tensors = len({repair.name for repair in plan.repaired})
        parts.append(f"{counted(elements, 'dead element')} in {counted(tensors, 'bias tensor')}")
    if plan.settings:
        parts.append(counted(len(plan.settings), "setting"))
    if plan.completions:
        parts.append(counted(len(plan.completions), "optimizer"))
    what = " and ".join(parts)
    if dry_run:
        return Text(f"Would repair {what}. Dry run: nothing was written.", style="bold yellow")
    return Text(f"Repaired {what}, written to {printable(result.output or '')}.", "bold green")


def _repairs(plan: RepairPlan, width: int) -> Table:
    resets: dict[str, list[MomentReset]] = {}
    for reset in plan.optimizer:
        resets.setdefault(reset.name, []).append(reset)
    table = bare_table()
    table.add_column("tensor", overflow="fold")
    table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("filled", overflow="fold")
    table.add_column("optimizer", overflow="fold")
    name_width = max(24, width - 54)
    for repair in plan.repaired:
        moments = ", ".join(map(_moments, resets.get(repair.name, ())))
        words = _WORDS[repair.by]
        if repair.by == "reinit":
            words += f": {repair.fill}"
        table.add_row(
            Text(dotted(printable(repair.name), name_width, "  ")),
            f"{repair.elements:,}",
            words,
            Text(moments or "nothing to clear", style="" if moments else "dim"),
        )
    return table


def _moments(reset: MomentReset) -> str:
    if reset.step_reset:
        return "moments and step cleared"
    return f"moments cleared; {reset.note}" if reset.note else "moments cleared"


def _before_and_after(before: Report, after: Report) -> Table:
    table = bare_table()
    table.add_column("")
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)

    def row(name: str, attribute: str) -> None:
        numbers = [_count(report.summary, attribute) for report in (before, after)]
        table.add_row(name, *numbers)

    row("bias tensors 100 % zero", "all_zero_bias_tensors")
    row("critical", "critical")
    row("warning", "warning")
    row("notice", "notice")
    row("zero elements in all tensors", "zero_parameters")
    table.add_row(
        "status",
        Text(before.status, style=STATUS_STYLES[before.status]),
        Text(after.status, style=STATUS_STYLES[after.status]),
    )
    return table


def _count(summary: Summary | None, attribute: str) -> str:
    return f"{getattr(summary, attribute):,}" if summary else ""


def _number(value: float | None) -> str:
    return "not set" if value is None else f"{value:g}"
