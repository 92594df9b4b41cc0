"""How many of the faults in the labelled benchmark are found, and what is found where none is."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: fixtures are not installed

from fixtures.faults import build
from sacdoctor import Report, Severity, read_history
from sacdoctor.fleet import Look, find_checkpoints, reports_on
from sacdoctor.options import ScanOptions


@dataclass
class Recall:
    """What was labelled, and how much of it was found. Causes count tensors, rules files and runs.

    `false` counts what was said where no label bears it out.
    """

    right: int = 0
    labelled: int = 0
    false: int = 0
    cases: set[str] = field(default_factory=set)
    algorithms: set[str] = field(default_factory=set)

    def count(self, name: str, algorithm: str, right: bool) -> None:
        self.right += right
        self.labelled += 1
        self.cases.add(name)
        self.algorithms.add(algorithm)

    @property
    def percent(self) -> str:
        return f"{100.0 * self.right / self.labelled:.0f} %" if self.labelled else ""


class Said(NamedTuple):
    """What was found: a rule, and how bad."""

    rule: str
    severity: Severity


@dataclass
class Outcome:
    """Recall by cause and rule, and what was said that no label bears out."""

    causes: dict[str, Recall] = field(default_factory=dict)
    rules: dict[str, Recall] = field(default_factory=dict)
    healthy: list[str] = field(default_factory=list)
    faulty: list[str] = field(default_factory=list)
    false: list[tuple[str, str]] = field(default_factory=list)
    false_critical: int = 0
    shown: Counter[int] = field(default_factory=Counter)

    def judge(self, name: str, label: Mapping[str, Any], report: Report) -> None:
        """Hold the report of a checkpoint or replay buffer against its label."""
        algorithm: str = label["algorithm"]
        found = {layer.name: layer.cause for layer in report.layers if layer.cause is not None}
        if report.status != "error":
            for tensor, cause in label["causes"].items():
                right = found.pop(tensor, None) in {cause, label["also_true"].get(tensor, cause)}
                self.causes.setdefault(cause, Recall()).count(name, algorithm, right)
            for tensor, cause in found.items():
                self.false.append((name, f"{tensor} is {cause}"))
                self.causes.setdefault(cause, Recall()).false += 1
        self.judge_rules(name, label, [Said(f.rule, f.severity) for f in report.findings])

    def judge_rules(self, name: str, label: Mapping[str, Any], told: list[Said]) -> None:
        """Hold what rules found against a label."""
        codes = {said.rule for said in told}
        for code in label["rules"]:
            self._of(code).count(name, label["algorithm"], code in codes)
        for code, severity in told:
            if code not in {*label["rules"], *label["allowed"]}:
                self.false.append((name, f"{code} {severity.value}"))
                self._of(code).false += 1
                self.false_critical += severity is Severity.CRITICAL
        if label["faults"] == 1 and label["rules"]:
            self.shown[len(told)] += 1
        (self.healthy if label["healthy"] else self.faulty).append(name)

    def _of(self, code: str) -> Recall:
        return self.rules.setdefault(code, Recall())

    @property
    def is_perfect(self) -> bool:
        recalls = [*self.causes.values(), *self.rules.values()]
        return not self.false_critical and all(one.right == one.labelled for one in recalls)


def judged(folder: Path) -> Outcome:
    """The outcome over all files and runs of `folder` that have a label beside them."""
    outcome = Outcome()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        label = json.loads(file.read_text())
        path = file.with_name(label["file"])
        if path.is_dir():
            outcome.judge_rules(file.stem, label, [*_said_of_run(path)])
        else:
            (report,) = reports_on([path], Look(ScanOptions()))
            outcome.judge(file.stem, label, report)
    return outcome


def _said_of_run(folder: Path) -> Iterator[Said]:
    """Yield what `history` says of a folder: each rule of a run once, and what its logs show."""
    history = read_history(folder)
    yield from (Said(of.finding.rule, of.finding.severity) for of in history.logged)
    for run in history.runs:
        found = {said.rule: said.severity for said in (*run.onsets, *run.findings)}
        yield from (Said(rule, severity) for rule, severity in found.items())


def recall_table(title: str, what: str, recalls: Mapping[str, Recall]) -> Table:
    """The table of these recalls, by name; `what` is what they count."""
    table = Table(title=title, title_justify="left")
    table.add_column(title.rpartition(" ")[2])
    for heading in ("recall", what, "cases", "algorithms", "false alarms"):
        table.add_column(heading, justify="right")
    for name, recall in sorted(recalls.items()):
        counts = f"{recall.right} of {recall.labelled}"
        sizes = (len(recall.cases), len(recall.algorithms), recall.false)
        table.add_row(name, recall.percent, counts, *map(str, sizes))
    return table


def findings_per_fault(shown: Mapping[int, int]) -> str:
    """How many single faults are shown in how many findings."""
    parts = (f"{number} in {count}" for count, number in sorted(shown.items()))
    return "Findings for one fault: " + ", ".join(parts)


def corpus_table(folders: Iterable[str]) -> tuple[Table, int]:
    """The table over folders of checkpoints that trained well, and how many are called critical."""
    table = Table(title="Checkpoints from the wild", title_justify="left")
    for heading in ("folder", "files", "critical", "warnings"):
        table.add_column(heading)
    critical = 0
    for folder in folders:
        reports = [*reports_on(find_checkpoints([folder]), Look(ScanOptions()))]
        by_status = {
            status: [Path(report.path).name for report in reports if report.status == status]
            for status in ("critical", "error", "warning")
        }
        bad = by_status["critical"] + by_status["error"]
        critical += len(bad)
        cells = [f"{len(n)}: {', '.join(n)}" if n else "0" for n in (bad, by_status["warning"])]
        table.add_row(Path(folder).name, str(len(reports)), *cells)
    return table, critical


def main() -> None:
    """Print the tables; exit with 1 where a fault was missed or something sound called critical."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", nargs="+", default=[], metavar="FOLDER")
    parser.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER", help="labelled ones, built before"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkpoints is None:
            build(Path(folder))
        outcome = judged(arguments.checkpoints or Path(folder))
    console = Console()
    console.print(recall_table("Recall by cause", "tensors", outcome.causes))
    console.print(recall_table("Recall by rule", "found", outcome.rules))
    for kind, names in (("healthy", outcome.healthy), ("faulty", outcome.faulty)):
        false = [f"{name}: {what}" for name, what in outcome.false if name in names]
        console.print(f"{len(false)} false findings on {len(names)} {kind} cases")
        console.print(*false, sep="\n", end="\n" if false else "", highlight=False)
    console.print(findings_per_fault(outcome.shown))
    critical = 0
    if arguments.corpus:
        table, critical = corpus_table(arguments.corpus)
        console.print(table)
    sys.exit(not outcome.is_perfect or critical > 0)


if __name__ == "__main__":
    main()
