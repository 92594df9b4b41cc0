"""A report as a table for people: grouped by component, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.model import LayerReport, Report, Summary
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
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
from sacdoctor.report.text import counted, flow
from sacdoctor.severity import Severity, Status, worst


@dataclass(frozen=True, slots=True)
class _Layout:
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
    console: Console, reports: Iterable[Report], *, all_tensors: bool = False
) -> None:
    """Print each report as it comes, and one line over all where there are several.

    Checkpoints that cannot be read are only counted: the command line names them on stderr.
    """
    counts: dict[Status, int] = {}
    for report in reports:
        counts[report.status] = counts.get(report.status, 0) + 1
        if report.error is None:
            print_report(console, report, all_tensors=all_tensors)
    if sum(counts.values()) > 1:
        console.print(_totals(counts))


def print_report(console: Console, report: Report, *, all_tensors: bool = False) -> None:
    """Print one readable checkpoint's report."""
    console.print(_head(report, console.width))
    console.print(headline(report))
    if report.layers:
        console.print()
    layers = report.layers if all_tensors else report.biases
    if layers:
        console.print(_table(layers, all_tensors, _Layout(console.width, is_ascii(console))))
    hidden = sum(layer.alias_of is None and layer.severity is Severity.OK for layer in layers)
    if hidden and not all_tensors:
        note = f"Not listed: {counted(hidden, 'bias tensor')} in order; --all lists every tensor."
        console.print(note, style="dim")
    for finding in report.findings:
        console.print()
        console.print(finding_text(finding, console.width))
    console.print()


def _totals(counts: Mapping[Status, int]) -> Text:
    parts = [
        Text(f"{counts[status]:,} {status}", style=style)
        for status, style in STATUS_STYLES.items()
        if status in counts
    ]
    total = counted(sum(counts.values()), "checkpoint")
    return Text(f"{total}: ").append_text(Text(", ").join(parts))


def headline(report: Report) -> Text:
    """Return the one line that says how the checkpoint is."""
    status = Text(f"{report.status.upper()}  ", style=STATUS_STYLES[report.status])
    if report.summary is None:
        return status.append(_code_verdict(report), style="bold")
    status.append(_verdict(report, report.summary), style="bold")
    others = [f for f in report.findings if not rule_of(f).about_zeros]
    if others:
        codes = ", ".join(dict.fromkeys(f.rule for f in others))
        status.append(f" Also: {codes}.", style="bold")
    if any(
        layer.severity is Severity.CRITICAL and layer.zero_percent > report.thresholds.stop
        for layer in report.layers
    ):
        status.append("\nStop training and look for the cause before you go on.", style="red")
    return status


def _code_verdict(report: Report) -> str:
    if not report.findings:
        return "Nothing outside SB3 and its libraries was found."
    message = "; ".join(finding.message for finding in report.findings)
    return f"{message[0].upper()}{message[1:]}."


def _verdict(report: Report, summary: Summary) -> str:
    thresholds = report.thresholds
    of = f"of {counted(summary.bias_tensors, 'bias tensor')}"
    if summary.bias_tensors == 0:
        return "The policy has no bias tensors."
    cause = _leading_cause(report)
    if summary.all_zero_bias_tensors:
        are = "is" if summary.all_zero_bias_tensors == 1 else "are"
        verdict = f"{summary.all_zero_bias_tensors} {of} {are} 100 % zero"
        if summary.critical or summary.warning:
            return f"{verdict}; {cause}."
        return f"{verdict}, all normalisation layers at their starting value."
    for count, limit in (
        (summary.critical, thresholds.critical),
        (summary.warning, thresholds.warning),
        (summary.notice, thresholds.notice),
    ):
        if count:
            are = "is" if count == 1 else "are"
            return f"{count} {of} {are} more than {limit:g} % zero" + (
                f"; {cause}." if cause else "."
            )
    return f"None {of} is more than {thresholds.notice:g} % zero."


def _leading_cause(report: Report) -> str:
    """Return the most frequent cause among the biases in trouble, empty where none is."""
    causes = Counter(
        layer.cause
        for layer in report.layers
        if layer.cause and layer.severity in (Severity.CRITICAL, Severity.WARNING)
    )
    if not causes:
        return ""
    (cause, number), total = causes.most_common(1)[0], causes.total()
    return f"cause: {cause}" + (f" ({number} of {total})" if number < total else "")


def _head(report: Report, width: int) -> Text:
    head = Text(printable(report.path), style="bold")
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


def _rate(report: Report) -> str:
    if report.learning_rate is not None:
        return f"learning rate {report.learning_rate:g}"
    applied = {rate for rate in report.optimizer_learning_rates.values() if rate is not None}
    return f"learning rate {max(applied):g} (scheduled)" if applied else ""


def _table(layers: tuple[LayerReport, ...], all_tensors: bool, layout: _Layout) -> Table:
    table = bare_table()
    table.add_column("component and tensor", overflow="fold")
    if not layout.is_narrow:
        table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("zero %", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    with_causes = any(layer.cause for layer in layers)
    table.add_column("cause" if with_causes else "", no_wrap=True)

    def add(name: Text, elements: Text, *others: Text) -> None:
        table.add_row(name, *(() if layout.is_narrow else (elements,)), *others)

    for component, members in _by_component(layers):
        own = [layer for layer in members if layer.alias_of is None]
        elements = sum(layer.parameters for layer in own)
        zeros = sum(layer.zeros for layer in own)
        percent = 100.0 * zeros / elements if elements else 0.0
        level = worst([layer.severity for layer in own if layer.severity is not None])
        add(
            Text(printable(component), style="bold"),
            Text(f"{elements:,}", style="dim"),
            Text(percent_text(percent), style="dim"),
            _bar(percent, level, layout),
            Text(level.value, style=STYLES[level]),
            Text(),
        )
        for layer in members:
            if all_tensors or (layer.severity is not None and layer.severity.rank > 0):
                add(*_row(layer, layout))
    return table


def _row(layer: LayerReport, layout: _Layout) -> tuple[Text, Text, Text, Text, Text, Text]:
    width = layout.name
    name = Text("  " + dotted(printable(layer.name), width - 2, "    "))
    if layer.alias_of is not None:
        other = dotted(f"is {printable(layer.alias_of)}", width - 4, "      ")
        name.append(f"\n    {other}", style="dim")
        return name, Text(), Text(), Text(), Text("alias", style="dim"), Text()
    if layer.gates and len(set(layer.gates.values())) > 1:
        shares = ", ".join(f"{gate} {percent:.3g} %" for gate, percent in layer.gates.items())
        name.append("\n    " + flow(split_after(", ", shares), width - 4, "    "), style="dim")
    severity = layer.severity
    return (
        name,
        Text(f"{layer.parameters:,}"),
        Text(percent_text(layer.zero_percent)),
        _bar(layer.zero_percent, severity or Severity.OK, layout),
        Text(severity.value, style=STYLES[severity]) if severity else Text(layer.role, style="dim"),
        Text(layer.cause or ""),
    )


def _by_component(layers: Iterable[LayerReport]) -> list[tuple[str, list[LayerReport]]]:
    groups: dict[str, list[LayerReport]] = {}
    for layer in layers:
        groups.setdefault(layer.component, []).append(layer)

    def rank(members: list[LayerReport]) -> int:
        return worst([m.severity for m in members if m.severity is not None]).rank

    return sorted(groups.items(), key=lambda group: -rank(group[1]))


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
