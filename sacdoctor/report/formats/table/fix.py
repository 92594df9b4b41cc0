"""The result of a repair as a table for people: before and after side by side."""

from __future__ import annotations

import textwrap
from pathlib import PurePath

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.diagnosis.rules import rule_named, rule_of
from sacdoctor.model import Cause, Finding, Report, Summary
from sacdoctor.printable import printable
from sacdoctor.repair import (
    Completion,
    FixResult,
    MomentReset,
    Rename,
    RepairPlan,
    SettingChange,
    cures,
)
from sacdoctor.report.formats.table.style import (
    PROSE,
    STATUS_STYLES,
    STYLES,
    bare_table,
    dotted,
    finding_text,
)
from sacdoctor.report.text import counted
from sacdoctor.severity import Severity

_WORDS = {
    "reinit": "drawn anew",
    "target": "from the target network",
    "donor": "from the donor",
    "refit": "refitted",
    "online": "from the online network",
}
_ADVICE = {
    Cause.NOT_IN_OPTIMIZER: "Nothing trains them before the policy's code is changed",
    Cause.NO_GRADIENT: "No gradient reaches them",
    Cause.ZERO_GRADIENT: "Their gradients were all 0 and may stay so",
}
_LASTING = (Severity.CRITICAL, Severity.WARNING)
"""What is worth saying that it stays."""
_UNTOUCHED = "nothing to clear"
_ROOMY = 80
"""Columns from which on names and what became of the moments are not broken within a word."""
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
    if plan.refits or plan.unused:
        console.print(_refits(plan, console.width))
        console.print()
    changes = [change for change in plan.settings if change.before != change.after]
    if changes:
        for change in changes:
            console.print(Text(f"{printable(change.key)}: {_before(change)} -> {_after(change)}"))
        console.print()
    if plan.wrappers:
        paths = ", ".join(printable(path) for path in sorted(plan.wrappers))
        words = f"Taken out of the names of tensors, so that SB3 finds them: {paths}"
        console.print(Text("\n".join(textwrap.wrap(words, min(console.width, PROSE)))))
        console.print()
    if plan.renames:
        for line in dict.fromkeys(_renamed(rename) for rename in plan.renames):
            console.print(Text(line))
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
    for what, pickles in (
        ("Not stripped; loading the file still uses it:", plan.unstripped),
        ("Not for this environment, and left as it is:", plan.unported),
    ):
        if pickles:
            console.print(Text(what, style="yellow"))
            reasons: dict[str, list[str]] = {}
            for left in pickles:
                reasons.setdefault(left.reason, []).append(left.name)
            for reason, places in reasons.items():
                words = f"  {printable(', '.join(places))}: {printable(reason)}"
                lines = textwrap.wrap(words, min(console.width, PROSE), subsequent_indent="    ")
                console.print(Text("\n".join(lines)))
            console.print()
    if plan.left:
        console.print(_left(plan, console.width))
        console.print()
    stays = [finding for finding in result.remaining if finding.severity in _LASTING]
    if stays:
        for finding in stays:
            console.print(_stays(finding, result, console.width, dry_run=dry_run))
        console.print()
    for finding in result.unsafe:
        console.print(finding_text(finding, console.width))
        console.print()


def _refits(plan: RepairPlan, width: int) -> Text:
    """Return what came of each refit, judged on transitions that were held out, and which donors
    gave nothing."""
    text = Text()
    for account in plan.refits:
        source = printable(PurePath(account.source).name)
        if account.age:
            source += f" ({account.age:,} timesteps older)"
        verdict = (
            f"{account.measure} {account.before:.3g} -> {account.after:.3g} on "
            f"{account.held_out:,} held-out transitions of {account.transitions:,}, better by "
            f"{account.low:.2g} to {account.high:.2g}"
        )
        if not account.is_written:
            verdict += ": not proven, or no better than what another donor has; not used"
        words = f"{account.network} on {source}: {verdict}."
        lines = textwrap.wrap(words, min(width, PROSE), subsequent_indent="  ")
        text.append("\n".join(lines) + "\n", "" if account.is_written else "yellow")
    for left in plan.unused:
        words = f"Not used: {printable(left.name)}: {printable(left.reason)}."
        lines = textwrap.wrap(words, min(width, PROSE), subsequent_indent="  ")
        text.append("\n".join(lines) + "\n", "yellow")
    text.rstrip()
    return text


def _left(plan: RepairPlan, width: int) -> Text:
    """Return what is left as it is, each reason once with the names that it is true of."""
    reasons: dict[str, list[str]] = {}
    for left in plan.left[:_MAX_LEFT]:
        reasons.setdefault(left.reason, []).append(printable(left.name))
    lines = []
    for reason, names in reasons.items():
        lines += textwrap.wrap(f"Left as they are: {printable(reason)}", min(width, PROSE))
        lines += [dotted(f"  {name}", width, "    ") for name in names]
    if len(plan.left) > _MAX_LEFT:
        rest = counted(len(plan.left) - _MAX_LEFT, "more tensor")
        lines.append(f"and {rest}; --format json lists all")
    return Text("\n".join(lines), style="dim")


def _stays(finding: Finding, result: FixResult, width: int, *, dry_run: bool) -> Text:
    """Return what is not cured, and the command for it, or that there is none."""
    still = "Would still be" if dry_run and not result.plan.is_empty else "Still"
    level = "critical" if finding.severity is Severity.CRITICAL else "a warning"
    cured_by = cures(finding, result.plan)
    commands = [f"`sacdoctor {command}`" for command in cured_by]
    if commands:
        what = "your settings" if cured_by[0] == "fix-config" else "the file"
        cure = f"{' or '.join(commands)} mends {what}"
    elif rule_of(finding).cured_by:
        cure = "this repair leaves it"
    else:
        cure = f"no repair is known, see `sacdoctor rules {finding.rule}`"
    message = printable(finding.message)
    words = f"{still} {level}: {finding.rule}; {cure}. {message[0].upper()}{message[1:]}."
    lines = textwrap.wrap(words, min(width, PROSE), subsequent_indent="      ")
    return Text("\n".join(lines), style=STYLES[finding.severity])


def _renamed(rename: Rename) -> str:
    """Return what becomes of a module, or of a name that goes to another place in another one."""
    (module, name), (other, new) = rename.before, rename.after
    if name != new:
        module, other = f"{module}.{name}", f"{other}.{new}"
    return f"{printable(module)} -> {printable(other)}"


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
    good = "yellow" if any(f.severity in _LASTING for f in result.remaining) else "green"
    if plan.is_empty:
        nothing = "Nothing to repair" if good == "green" else "No bias to repair"
        if result.before.unjudged is not None:
            nothing = "It holds no tensors that could be repaired"
        if "fix" not in plan.commands:
            ported = "fix --for-this-environment" in plan.commands
            nothing = "No name to change for this environment" if ported else "No code to strip"
        if plan.unstripped:
            nothing = "Nothing could be repaired or stripped"
        if result.output is None:
            return Text(f"{nothing}; nothing was written.", good)
        return Text(f"{nothing}; copied to {printable(result.output)}.", good)
    parts = []
    if plan.repaired:
        elements = sum(repair.elements for repair in plan.repaired)
        tensors = len({repair.name for repair in plan.repaired})
        parts.append(f"{counted(elements, 'dead element')} in {counted(tensors, 'bias tensor')}")
    if plan.settings:
        parts.append(counted(len(plan.settings), "setting"))
    if plan.completions:
        parts.append(counted(len(plan.completions), "optimizer"))
    if plan.renames:
        places = len({rename.place for rename in plan.renames})
        parts.append(f"what {counted(places, 'pickle asks', 'pickles ask')} for")
    if plan.wrappers:
        parts.append("the names of wrapped tensors")
    what = " and ".join(parts)
    if dry_run:
        return Text(f"Would repair {what}. Dry run: nothing was written.", style="bold yellow")
    return Text(f"Repaired {what}, written to {printable(result.output or '')}.", f"bold {good}")


def _repairs(plan: RepairPlan, width: int) -> Table:
    resets: dict[str, list[MomentReset]] = {}
    for reset in plan.optimizer:
        resets.setdefault(reset.name, []).append(reset)
    name_width = max(24, width - 54)
    names = {r.name: dotted(printable(r.name), name_width, "  ") for r in plan.repaired}
    widest = max(len(line) for name in names.values() for line in name.split("\n"))
    widest = min(widest, name_width)
    # In little room all columns give way, and names are broken anywhere; else how a tensor was
    # filled takes what the others leave: 8 for its elements, 6 between the columns.
    rest = width - widest - 8 - len(_UNTOUCHED) - 6 if width >= _ROOMY else None
    table = bare_table()
    table.add_column("tensor", overflow="fold", min_width=widest if rest else None)
    table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("filled", overflow="fold", max_width=rest)
    table.add_column("optimizer", overflow="fold")
    for repair in plan.repaired:
        moments = ", ".join(map(_moments, resets.get(repair.name, ())))
        words = _WORDS[repair.by]
        if repair.by == "reinit":
            words += f": {repair.fill}"
        table.add_row(
            Text(names[repair.name]),
            f"{repair.elements:,}",
            words,
            Text(moments or _UNTOUCHED, style="" if moments else "dim"),
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


def _before(change: SettingChange) -> str:
    if isinstance(change.before, str):
        return printable(change.before)
    return "not set" if change.before is None else _number(change.before, change.after)


def _after(change: SettingChange) -> str:
    if change.after is None:
        return "removed, SB3 builds it anew"
    other = change.before if isinstance(change.before, float) else None
    return _number(change.after, other)


def _number(value: float, other: float | None) -> str:
    """Return a number, with all its digits where fewer would not tell it from the other."""
    return f"{value:g}" if other is None or f"{value:g}" != f"{other:g}" else repr(value)
