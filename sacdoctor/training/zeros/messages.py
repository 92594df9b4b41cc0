"""What is told of a check, and how often, as findings and as lines of text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from sacdoctor.diagnosis import biases as biases_are
from sacdoctor.diagnosis.rules import Rule, dead_bias, not_in_optimizer, rule_named
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, worst
from sacdoctor.training.live import LiveModel, listed
from sacdoctor.training.zeros.checks import Check, DeadBias

_SINGLY = 5
"""So many repairs of one check have a line each; more share one."""
_LEVELS = {Severity.CRITICAL: logging.ERROR, Severity.WARNING: logging.WARNING}


class Outcome(NamedTuple):
    """The cause of a dead bias, and what became of it in a check."""

    cause: Cause
    became: str


def level(finding: Finding) -> int:
    """Return the level of `logging` at which a finding is told."""
    return _LEVELS.get(finding.severity, logging.INFO)


def line(check: Check, finding: Finding) -> str:
    """Return a finding of a check in one line."""
    parts = (finding.message, finding.evidence, finding.remedy)
    return f"{_at(check)}: {finding.severity.value}: {'; '.join(part for part in parts if part)}"


def outcomes(check: Check, auto_fix: bool) -> dict[str, Outcome]:
    """Return the outcome of each dead bias, by its name."""
    lasts = {repair.name: repair.lasts for repair in check.repaired}

    def became(name: str) -> str:
        if name in check.left:
            return f"not repaired: {check.left[name]}"
        if not auto_fix:
            return "not repaired: auto_fix is off"
        if lasts[name]:
            return "repaired"
        return "repaired once, which will not last: nothing trains the new values"

    return {bias.name: Outcome(bias.cause, became(bias.name)) for bias in check.dead}


def dead(
    check: Check, found: Mapping[str, Outcome], earlier: Mapping[str, Outcome]
) -> Iterator[Finding]:
    """Yield a finding per outcome, on the biases to which it is new.

    `found` and `earlier` are the outcomes of this check and of the one before. The rule is that of
    the cause.
    """
    news: dict[Outcome, list[DeadBias]] = {}
    for bias in check.dead:
        if earlier.get(bias.name) != found[bias.name]:
            news.setdefault(found[bias.name], []).append(bias)
    for outcome, biases in news.items():
        share = max(bias.zero_percent for bias in biases)
        names = [bias.name for bias in biases]
        yield _rule_of(outcome.cause).finding(
            worst([bias.severity for bias in biases]),
            f"{biases_are(len(biases))} dead, up to {share:.0f} % zero, {outcome.cause} "
            f"({listed(names)})",
            evidence=f"{names[0]}: {biases[0].evidence}",
            remedy=outcome.became,
            tensors=tuple(names),
        )


def as_made(biases: Sequence[DeadBias]) -> Finding:
    """Return the notice on biases with zeros that never were anything else, in living layers."""
    names = [bias.name for bias in biases]
    return _rule_of(Cause.ZERO_GRADIENT).finding(
        Severity.NOTICE,
        f"{biases_are(len(biases))} partly as made: zeros that never were anything else "
        f"({listed(names)})",
        evidence="no gradient came to these elements yet, and their layers live",
        remedy="left as they are",
        tensors=tuple(names),
    )


def non_finite(names: Sequence[str]) -> Finding:
    """Return which tensors are not finite, and what to do."""
    return rule_named("non-finite").finding(
        Severity.CRITICAL,
        f"{listed(list(names))} hold NaN or infinite values",
        evidence="",
        remedy="go back to an earlier checkpoint",
        tensors=tuple(names),
    )


def made_late(live: LiveModel, names: Collection[str]) -> Finding:
    """Return that parameters were made while training went on, and are in no optimizer."""
    return not_in_optimizer.RULE.finding(
        Severity.WARNING,
        f"{missing(live, names)}: they were made since the last check",
        evidence="",
        remedy="hand them to the optimizer (add_param_group)",
        tensors=tuple(names),
    )


def _rule_of(cause: Cause) -> Rule:
    return dead_bias.RULE if cause is Cause.UNKNOWN else rule_named(cause.value)


def repairs(check: Check, *, singly: bool) -> Iterator[str]:
    """Yield what was set to what, in one line where it is much, unless each is wanted `singly`."""
    if singly or len(check.repaired) <= _SINGLY:
        for repair in check.repaired:
            yield f"{_at(check)}: {repair.name}: {repair.elements:,} elements set to {repair.fill}"
        return
    elements = sum(repair.elements for repair in check.repaired)
    names = listed([repair.name for repair in check.repaired])
    fitted = sum(repair.elements for repair in check.repaired if repair.by == "refit")
    how = f", {fitted:,} of them fitted to its own transitions" if fitted else ""
    yield (
        f"{_at(check)}: {elements:,} elements of {len(check.repaired):,} biases revived{how} "
        f"({names})"
    )


def state(check: Check) -> str:
    """Return how many zeros there are, in one line."""
    return f"{_at(check)}: {check.zero_percent:.2f} % zeros, {len(check.dead)} dead biases"


def summary(history: Sequence[Check], elements_repaired: int) -> str:
    """Return what all checks together found and did."""
    repaired = {repair.name for check in history for repair in check.repaired}
    died = {bias.name for check in history for bias in check.dead}
    last = history[-1]
    return (
        f"{len(history):,} checks of {last.biases:,} biases: {len(died):,} were dead, "
        f"{len(repaired):,} repaired ({elements_repaired:,} elements); "
        f"{last.zero_percent:.2f} % zeros at the end"
    )


def reason_to_stop(check: Check, stop: float) -> str | None:
    """Return why training should not go on, None where it may."""
    if check.non_finite:
        return f"{listed(check.non_finite)} not finite"
    above = [bias.name for bias in check.dead if bias.zero_percent > stop]
    return f"{listed(above)} above {stop:g} % zero" if above else None


# -- at the start of training ------------------------------------------------------------------


def missing(live: LiveModel, names: Collection[str]) -> str:
    """Return how many parameters, and which, no optimizer holds."""
    return _parameters(live, names, "in no optimizer")


def never_trained(live: LiveModel, names: Collection[str], *, can_be_added: bool) -> str:
    """Return what will become of parameters that no optimizer holds, and the remedy."""
    line = (
        f"{missing(live, names)} and will never be trained: create the optimizer after all layers"
    )
    return f"{line}, or on_missing_parameters='add'" if can_be_added else line


def added(found: str, homes: Mapping[str, str]) -> str:
    """Return where the missing parameters that were `found` went: `homes` has their optimizers."""
    counts = Counter(homes.values()).items()
    return (
        f"{found}: added {', '.join(f'{number:,} to {home}' for home, number in counts)}; a model "
        "saved from now on loads with load_added, or into a policy that creates its optimizer "
        "after all layers"
    )


def frozen(live: LiveModel, names: Collection[str]) -> str:
    """Return how many parameters, and which, are kept from training."""
    return _parameters(live, names, "frozen and will not be trained")


def _parameters(live: LiveModel, names: Collection[str], what: str) -> str:
    return (
        f"{len(names):,} of {len(live.parameters):,} parameters are {what} ({listed(list(names))})"
    )


def _at(check: Check) -> str:
    return f"at {check.num_timesteps:,} steps"
