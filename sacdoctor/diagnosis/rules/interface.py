"""What a rule is: a value that says everything that formats, history and `fix` must know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from sacdoctor.model import Finding
from sacdoctor.severity import Severity


class Subject(Protocol):
    """A kind of thing that rules judge: `Examination`, `LoadedCode`, … Any type may become one."""

    @classmethod
    def in_words(cls) -> str:
        """Return what it is, for people who ask what a rule looks at."""


S = TypeVar("S", bound=Subject)


class Check(NamedTuple, Generic[S]):
    """What a rule does with one kind of subject: `find` yields its findings there."""

    looks_at: type[S]
    find: Callable[[S], Iterator[Finding]]


def within(_judged: Any, cause: Finding, finding: Finding) -> bool:
    """Return whether a finding names no tensor that its cause does not name, too."""
    return {*finding.tensors} <= {*cause.tensors}


class Symptom(NamedTuple):
    """A rule, by its name, whose findings may follow from another one's.

    `follows` tells which do, from what the other rule judged, its finding, and the one in question.
    Where it says no, the two are two faults, and both are named. `is_of` tells it by the other
    rule's finding alone, which may be about one thing or another.
    """

    rule: str
    follows: Callable[[Any, Finding, Finding], bool] = within
    is_of: Callable[[Finding], bool] = lambda _: True


class Rule(Struct, frozen=True, eq=False):
    """A rule, one per file in this folder, where it is called `RULE`.

    `doc` is the file's docstring. `severities` are those that its findings can have, the worst
    first. `checks` has one for each kind of subject: a fault may show in a replay buffer and in a
    settings file. `cured_by` are commands that take the fault away, after `sacdoctor`; none where
    only a person can.

    What its findings mean to others:
    `needs_optimizers`: it judges by the optimizers' state, so that its silence about a checkpoint
    without any says nothing.
    `about_zeros`: it is about tensors that are zero, or why they are, which the table of biases and
    the sentence above it tell already.
    `grades_biases`: its severity is that of single biases. While all such rules are selected, the
    biases' severities count in a checkpoint's status themselves: a notice is no finding.
    `comes_first`: it is named before findings as severe as its own: while it stands, nothing else
    in the file is worth mending.
    `explains`: what follows from its findings: beside one at warning or worse it is left out, and
    the cause is as bad as the worst of it, where `severities` lets it.
    `bars_refit`: what a replay buffer holds is not what the agent did, or not what came of it:
    nothing is to be fitted to it.
    `takes_initial_zeros`: before the first update it finds zeros that a run may prove innocent.
    """

    code: str
    name: str
    doc: str | None
    severities: tuple[Severity, ...]
    checks: tuple[Check[Any], ...]
    cured_by: tuple[str, ...] = ()
    needs_optimizers: bool = False
    about_zeros: bool = False
    grades_biases: bool = False
    takes_initial_zeros: bool = False
    comes_first: bool = False
    explains: tuple[Symptom, ...] = ()
    bars_refit: bool = False

    @property
    def explanation(self) -> str:
        """Markdown with fixed headings; empty where Python was told to drop docstrings."""
        return (self.doc or "").strip()

    @property
    def summary(self) -> str:
        """The explanation's first line."""
        return self.explanation.partition("\n")[0]

    def looks_at(self, kind: type[Subject]) -> bool:
        """Return whether the rule judges subjects of this kind."""
        return any(issubclass(kind, check.looks_at) for check in self.checks)

    def findings_in(self, subject: Subject) -> Iterator[Finding]:
        """Yield what the rule finds in `subject`; nothing in a kind that it does not judge."""
        for check in self.checks:
            if isinstance(subject, check.looks_at):
                yield from check.find(subject)

    def symptoms_of(self, finding: Finding) -> Iterator[Symptom]:
        """Yield what may follow from one of its findings."""
        return (symptom for symptom in self.explains if symptom.is_of(finding))

    def finding(
        self,
        severity: Severity,
        message: str,
        *,
        evidence: str,
        remedy: str,
        tensors: tuple[str, ...] = (),
        in_passing: bool = False,
    ) -> Finding:
        """Return an instance of this rule."""
        return Finding(
            self.code, self.name, severity, tensors, message, evidence, remedy, in_passing
        )
