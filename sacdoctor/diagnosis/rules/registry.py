"""All rules by their codes, and what a selection of them finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules import (
    corrupt_record,
    dead_bias,
    dead_unit,
    dead_weight,
    entropy_collapse,
    exploded_weights,
    exploding_gradients,
    exploration_collapse,
    forced_actions,
    gradient_clipping,
    learning_rate,
    long_warmup,
    never_updated,
    no_gradient,
    non_finite,
    not_in_optimizer,
    partly_dead_bias,
    reset_after_training,
    schedule_mismatch,
    target_out_of_sync,
    unknown_code,
    unreadable,
    unsafe_pickle,
    untrained,
    updates_during_warmup,
    value_clipping,
    zero_gradient,
)
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError
from sacdoctor.model import Finding
from sacdoctor.trust.parts import PickledPart
from sacdoctor.trust.suspicions import Suspicion, suspicions


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: `explanation` is Markdown with fixed headings, the docstring of its module.

    `check` looks at tensors and settings, `check_code` at what the file's pickles refer to. Both
    are None where the fault shows elsewhere: when the file is opened (see `from_error`), between
    the checkpoints of a run (`never_updated`), in a replay buffer (see `audit_warmup`).
    """

    code: str
    name: str
    explanation: str
    check: Callable[[Examination], Iterator[Finding]] | None
    check_code: Callable[[Sequence[Suspicion]], Iterator[Finding]] | None

    @property
    def summary(self) -> str:
        """The explanation's first line."""
        return self.explanation.partition("\n")[0]


def _rule(module: ModuleType) -> Rule:
    return Rule(
        module.CODE,
        module.NAME,
        (module.__doc__ or "").strip(),
        getattr(module, "check", None),
        getattr(module, "check_code", None),
    )


RULES: tuple[Rule, ...] = tuple(
    _rule(module)
    for module in (
        dead_bias,
        partly_dead_bias,
        dead_weight,
        dead_unit,
        untrained,
        not_in_optimizer,
        no_gradient,
        zero_gradient,
        reset_after_training,
        target_out_of_sync,
        never_updated,
        non_finite,
        exploded_weights,
        exploding_gradients,
        learning_rate,
        gradient_clipping,
        value_clipping,
        schedule_mismatch,
        updates_during_warmup,
        long_warmup,
        forced_actions,
        entropy_collapse,
        exploration_collapse,
        unsafe_pickle,
        unknown_code,
        corrupt_record,
        unreadable,
    )
)
"""All rules in the order of their codes."""


def findings(
    examination: Examination | None,
    parts: Iterable[PickledPart],
    rules: Iterable[Rule],
    *,
    with_references: bool,
) -> tuple[Finding, ...]:
    """Return what the rules find in tensors and settings, and in pickles, the worst first.

    `examination` is None where there is none; `parts` are looked at only if a rule does.
    `with_references` names classes of the user's that are only referred to as well: no finding
    about a model's health, but one about its code.
    """
    rules = tuple(rules)
    found: list[Finding] = []
    if examination is not None:
        found += [f for rule in rules if rule.check is not None for f in rule.check(examination)]
    if any(rule.check_code is not None for rule in rules):
        met = suspicions(parts)
        if not with_references:
            met = tuple(suspicion for suspicion in met if not suspicion.is_mere_reference)
        found += [f for rule in rules if rule.check_code is not None for f in rule.check_code(met)]
    return tuple(sorted(found, key=lambda finding: -finding.severity.rank))


def from_error(error: SacdoctorError) -> Finding:
    """Return the finding about a checkpoint that could not be opened or read."""
    if isinstance(error, CorruptCheckpoint):
        return corrupt_record.finding(error)
    return unreadable.finding(error)


def selected(select: Iterable[str], ignore: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules whose code starts with one of `select` (none given: all), less `ignore`.

    Raises `ValueError` for a code or prefix that no rule has.
    """
    wanted, unwanted = tuple(select), tuple(ignore)
    for prefix in (*wanted, *unwanted):
        if not any(rule.code.startswith(prefix) for rule in RULES):
            raise ValueError(f"no rule's code starts with {prefix!r}")
    return tuple(
        rule
        for rule in RULES
        if (not wanted or rule.code.startswith(wanted)) and not rule.code.startswith(unwanted)
    )
