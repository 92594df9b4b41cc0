"""Reports as tables for people: grouped by component, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.model import BufferSummary, Cause, Finding, LayerReport, Report
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.listing import Line, print_lines
from sacdoctor.report.formats.table.style import (
    MOST_ROWS,
    NARROW,
    STATUS_STYLES,
    STYLES,
    bare_table,
    dotted,
    finding_text,
    is_ascii,
    percent_text,
    split_after,
)
from sacdoctor.report.results import Judge
from sacdoctor.report.text import counted, flow
from sacdoctor.report.verdict import verdict
from sacdoctor.severity import Severity, Status, worst

_CAUSES = frozenset(Cause)
"""Rules that are called so tell why biases are zero."""
_NO_BASELINE = Judge()


class _Layout(Struct, frozen=True):
    """What fits on a line of `width` columns."""

    width: int
    ascii_only: bool

    @property
    def is_narrow(self) -> bool:
        return self.width < NARROW

    @property
    def bar(self) -> int:
        return 6 if self.is_narrow else 10

    @property
    def name(self) -> int:
        """Columns left for the name, beside the others and their gaps."""
        others = (6, self.bar, len("severity"), len("reset-after-training"))
        elements = 0 if self.is_narrow else len("99,999,999") + 2
        return self.width - elements - sum(others) - 2 * len(others)


def print_reports(
    console: Console,
    reports: Iterable[Report],
    *,
    all_tensors: bool = False,
    verbose: bool = False,
    quiet: bool = False,
    judge: Judge = _NO_BASELINE,
) -> None:
    """Print one report in full; of several those of the bad, then a line for each and a count.

    Reports are printed as they come. With `verbose` none of those that could be read is left out;
    why others could not, the command line says on stderr, too. With `quiet` there is a line for
    each of the bad, and nothing else; bad is what has findings that no baseline knows.
    """
    if quiet:
        _print_bad_lines(console, reports, judge)
        return
    lines: list[Line] = []
    first: Report | None = None
    known = 0
    for report in reports:
        lines.append(Line.of(report))
        known += sum(judge.knows(report.path, finding) for finding in report.findings)
        if len(lines) == 1:
            first = report
            continue
        for one in (first, report):
            if one is not None and one.error is None and (verbose or _is_bad(one, judge)):
                print_report(console, one, all_tensors=all_tensors, judge=judge)
        first = None
    if first is None:
        print_lines(console, lines)
    elif first.error is None:
        print_report(console, first, all_tensors=all_tensors, judge=judge)
    if judge.baseline is not None and known:
        words = f"{judge.baseline.path} knows {counted(known, 'finding')}: known ones do not fail."
        console.print(Text(printable(words), style="dim"))


def _print_bad_lines(console: Console, reports: Iterable[Report], judge: Judge) -> None:
    lines = [Line.of(one) for one in reports if one.error is None and _is_bad(one, judge)]
    if lines:
        print_lines(console, lines, with_totals=False)


def _is_bad(report: Report, judge: Judge) -> bool:
    """Return whether a report is at warning or worse, and not all for what a baseline knows."""
    if report.status not in (Status.CRITICAL, Status.WARNING):
        return False
    return judge.baseline is None or any(
        not judge.knows(report.path, finding)
        for finding in report.findings
        if finding.severity is not Severity.NOTICE
    )


def print_report(
    console: Console,
    report: Report,
    *,
    all_tensors: bool = False,
    judge: Judge = _NO_BASELINE,
) -> None:
    """Print one readable checkpoint's report."""
    console.print(_head(report, console.width))
    console.print(headline(report))
    if report.layers:
        console.print()
    groups = _groups(report, all_tensors)
    if groups:
        table = _table(groups, _Layout(console.width, is_ascii(console)))
        console.print(table)
        if cut := _cut_off(groups, table):
            console.print(Text(cut, style="dim"))
    note = "" if all_tensors else _not_listed(groups)
    if note:
        console.print(Text(note, style="dim"))
    for finding in report.findings:
        console.print()
        is_known = judge.knows(report.path, finding)
        console.print(finding_text(finding, console.width, is_known=is_known))
    console.print()


def headline(report: Report) -> Text:
    """Return the status, what is worst, and whether to stop training."""
    text = Text(f"{report.status.upper()}  ", style=STATUS_STYLES[report.status])
    text.append(verdict(report), style="bold")
    are_graded = any(rule_of(finding).grades_biases for finding in report.findings)
    named = {n for f in report.findings if f.severity is Severity.CRITICAL for n in f.tensors}
    if any(
        layer.severity is Severity.CRITICAL and layer.zero_percent > report.thresholds.stop
        for layer in report.layers
        if are_graded or layer.name in named
    ):
        text.append("\nStop training and look for the cause before you go on.", style="red")
    return text


def _head(report: Report, width: int) -> Text:
    head = Text(printable(report.path), style="bold")
    if report.replay is not None:
        text = ", ".join(_held(report.replay))
        return head.append("\n" + flow(split_after(", ", text), width), style="not bold dim")
    if report.algorithm is None and report.summary is None:
        return head  # a pickle of its own
    policy = (report.policy_class or "").rpartition(".")[2]
    facts = [
        report.algorithm or "unknown algorithm",
        policy,
        f"{report.num_timesteps:,} steps" if report.num_timesteps is not None else "",
        f"{report.n_updates:,} updates" if report.n_updates is not None else "",
        _rate(report),
        f"SB3 {report.sb3_version}" if report.sb3_version else "",
    ]
    text = ", ".join(printable(fact) for fact in facts if fact)
    return head.append("\n" + flow(split_after(", ", text), width), style="not bold dim")


def _held(buffer: BufferSummary) -> Iterator[str]:
    """Yield what a replay buffer holds: how many transitions, and of its arrays the shapes."""
    yield printable(buffer.class_name)
    yield f"{buffer.transitions:,} of {buffer.capacity:,} transitions"
    if buffer.n_envs > 1:
        yield f"{buffer.n_envs:,} environments"
    for name, (shape, dtype) in buffer.arrays.items():
        yield f"{printable(name)} {'×'.join(map(str, shape))} {dtype}"


def _rate(report: Report) -> str:
    if report.learning_rate is not None:
        return f"learning rate {report.learning_rate:g}"
    applied = {rate for rate in report.optimizer_learning_rates.values() if rate is not None}
    if not applied:
        return ""
    # Of SB3's a schedule has set it; an agent of somebody's own has no other.
    scheduled = " (scheduled)" if report.algorithm is not None else ""
    return f"learning rate {max(applied):g}{scheduled}"


class _Row(Struct, frozen=True):
    """A tensor, how bad it is in itself, and `why`: a cause, or the rule that finds fault with it.

    `about` are the findings that name it, the worst first, but for those that grade biases.
    """

    layer: LayerReport
    severity: Severity | None
    why: str
    about: tuple[Finding, ...]
    is_listed: bool


class _Group(Struct, frozen=True):
    """A component: its tensors that the table counts, the worst about any of them, and why."""

    name: str
    rows: tuple[_Row, ...]
    severity: Severity
    why: str


def _groups(report: Report, all_tensors: bool) -> list[_Group]:
    """Return the components with biases or trouble (with `all_tensors` all), the worst first."""
    about: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if not rule_of(finding).grades_biases:
            for name in finding.tensors:
                about.setdefault(name, []).append(finding)
    members: dict[str, list[_Row]] = {}
    for layer in report.layers:
        row = _row_of(layer, tuple(about.get(layer.name, ())), all_tensors)
        members.setdefault(layer.component, []).append(row)
    groups = [_group(name, rows, all_tensors) for name, rows in members.items()]
    found = [group for group in groups if group.rows or group.severity is not Severity.OK]
    return sorted(found, key=lambda group: -group.severity.rank)


def _group(name: str, rows: Sequence[_Row], all_tensors: bool) -> _Group:
    """Return a component; its `why` is what the rows below it do not say."""
    about = {id(finding): finding for row in rows for finding in row.about}.values()
    level = worst(
        [row.severity for row in rows if row.severity] + [finding.severity for finding in about]
    )
    said = {row.why for row in rows if row.is_listed and row.severity is level}
    names = [finding.name for finding in about if finding.severity is level]
    why = names[0] if names and not said & {*names} else ""
    shown = tuple(row for row in rows if all_tensors or row.layer.role == "bias")
    return _Group(name, shown, level, why)


def _row_of(layer: LayerReport, about: tuple[Finding, ...], all_tensors: bool) -> _Row:
    """Return the tensor's row: listed are biases with many zeros, or with a fault of their own.

    A finding about a cause, such as `not-in-optimizer`, names tensors that are in order in
    themselves; it says nothing worse of a bias than its zeros do.
    """
    severity, why = layer.severity, layer.cause.value if layer.cause else ""
    has_zeros = severity is not None and severity is not Severity.OK
    faults = [finding for finding in about if finding.name not in _CAUSES]
    worse = next(iter(faults if has_zeros else about), None)
    if worse is not None and (
        severity is None
        or worse.severity.rank > severity.rank
        or (worse.severity is severity and rule_of(worse).comes_first)
    ):
        severity, why = worse.severity, worse.name
    is_listed = all_tensors or has_zeros or (layer.role == "bias" and bool(faults))
    return _Row(layer, severity, why, about, is_listed)


def _not_listed(groups: Iterable[_Group]) -> str:
    hidden = [row for group in groups for row in group.rows if not row.is_listed]
    hidden = [row for row in hidden if row.layer.severity is Severity.OK]
    named = sum(bool(row.about) for row in hidden)
    if not hidden:
        return ""
    what = counted(len(hidden), "bias tensor")
    if named:
        what += f", {named:,} of which a finding below names"
    else:
        what += " in order"
    return f"Not listed: {what}; --all lists every tensor."


def _table(groups: Sequence[_Group], layout: _Layout) -> Table:
    table = bare_table()
    table.add_column("component and tensor", overflow="fold")
    if not layout.is_narrow:
        table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("zero %", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    with_causes = any(group.why or any(row.why for row in group.rows) for group in groups)
    table.add_column("cause" if with_causes else "", no_wrap=True)

    def add(name: Text, elements: Text, *others: Text) -> None:
        table.add_row(name, *(() if layout.is_narrow else (elements,)), *others)

    for group in groups:
        if table.row_count >= MOST_ROWS:
            break
        add(*_group_cells(group, layout))
        for row in [row for row in group.rows if row.is_listed][: MOST_ROWS - table.row_count]:
            add(*_cells(row, layout))
    return table


def _cut_off(groups: Sequence[_Group], table: Table) -> str:
    """Return what to say of rows beyond those that are shown; empty where there are none."""
    rows = sum(1 + sum(row.is_listed for row in group.rows) for group in groups)
    if rows <= table.row_count:
        return ""
    return f"{rows - table.row_count:,} further rows are not shown; --format json has all."


def _group_cells(group: _Group, layout: _Layout) -> tuple[Text, Text, Text, Text, Text, Text]:
    own = [row.layer for row in group.rows if row.layer.alias_of is None]
    elements = sum(layer.parameters for layer in own)
    zeros = sum(layer.zeros for layer in own)
    percent = 100.0 * zeros / elements if elements else 0.0
    style = STYLES[group.severity]
    return (
        Text(printable(group.name), style="bold"),
        Text(f"{elements:,}" if own else "", style="dim"),
        Text(percent_text(percent) if own else "", style="dim"),
        _bar(percent, group.severity, layout) if own else Text(),
        Text(group.severity.value, style=style),
        Text(group.why),
    )


def _cells(row: _Row, layout: _Layout) -> tuple[Text, Text, Text, Text, Text, Text]:
    layer, width = row.layer, layout.name
    name = Text("  " + dotted(printable(layer.name), width - 2, "    "))
    if layer.alias_of is not None:
        other = dotted(f"is {printable(layer.alias_of)}", width - 4, "      ")
        name.append(f"\n    {other}", style="dim")
        return name, Text(), Text(), Text(), Text("alias", style="dim"), Text()
    if layer.gates and len(set(layer.gates.values())) > 1:
        shares = ", ".join(f"{gate} {percent:.3g} %" for gate, percent in layer.gates.items())
        name.append("\n    " + flow(split_after(", ", shares), width - 4, "    "), style="dim")
    level = row.severity
    return (
        name,
        Text(f"{layer.parameters:,}"),
        Text(percent_text(layer.zero_percent)),
        _bar(layer.zero_percent, layer.severity or Severity.OK, layout),
        Text(level.value, style=STYLES[level]) if level else Text(layer.role, style="dim"),
        Text(row.why),
    )


def _bar(percent: float, severity: Severity, layout: _Layout) -> Text:
    full, empty = ("#", ".") if layout.ascii_only else ("█", "░")
    filled = round(layout.bar * percent / 100)
    if percent > 0:
        filled = max(1, filled)
    if percent < 100:
        filled = min(layout.bar - 1, filled)
    return Text(full * filled, style=STYLES[severity]).append(
        empty * (layout.bar - filled), style="dim"
    )
