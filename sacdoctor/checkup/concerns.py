"""What was found in all places, each fault once, and what follows from it below its cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from sacdoctor.checkup.model import Concern
from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.history import Onset
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, worst

_CAUSES = {cause.value for cause in Cause}
"""Rules about a cause of zeros are named after it."""


class Sign(NamedTuple):
    """A finding, the place that shows it, and when it came up."""

    finding: Finding
    where: str
    onset: Onset | None = None


def concerns(signs: Iterable[Sign]) -> tuple[Concern, ...]:
    """Return what is wrong, the worst first; of one severity what came first in `signs` does so.

    Signs of one rule are one concern, told by the worst of them. One that another's rule explains
    stands below that one, which is as bad.
    """
    merged = list(_merged(signs))
    merged.sort(key=lambda one: (-one.finding.severity.rank, not rule_of(one.finding).comes_first))
    causes: list[Concern] = []
    left = merged
    while left:
        cause = next(one for one in left if not _explained(one, left))
        follows = [one for one in left if one is not cause and _explains(cause, one)]
        causes.append(replace(cause, explains=tuple(follows)))
        left = [one for one in left if one is not cause and one not in follows]
    causes.sort(key=lambda one: -_worst(one).rank)
    return tuple(causes)


def _merged(signs: Iterable[Sign]) -> Iterator[Concern]:
    of_rule: dict[str, list[Sign]] = {}
    for sign in signs:
        of_rule.setdefault(sign.finding.rule, []).append(sign)
    for same in of_rule.values():
        first = max(same, key=lambda sign: sign.finding.severity.rank)
        onsets = [sign.onset for sign in same if sign.onset is not None]
        yield Concern(
            first.finding,
            tuple(dict.fromkeys(sign.where for sign in (first, *same))),
            min(onsets, key=lambda onset: onset.by_timesteps, default=None),
        )


def _explained(one: Concern, all_of_them: Iterable[Concern]) -> bool:
    """Return whether another explains it, and is not explained by it as well."""
    return any(
        _explains(other, one) and not _explains(one, other)
        for other in all_of_them
        if other is not one
    )


def _explains(cause: Concern, other: Concern) -> bool:
    """Return whether a finding follows from another: by its rule, or as the zeros' own cause.

    Where both name tensors of one file, those of the cause hold the others. What another place
    shows, a log or a network at work, does not go by tensors.
    """
    follows = {symptom.rule for symptom in rule_of(cause.finding).symptoms_of(cause.finding)}
    is_why = cause.finding.name in _CAUSES and rule_of(other.finding).grades_biases
    is_elsewhere = not {*cause.where} & {*other.where}
    return (
        cause.finding.severity.rank >= Severity.WARNING.rank
        and (is_why or other.finding.name in follows)
        and (is_elsewhere or {*other.finding.tensors} <= {*cause.finding.tensors})
    )


def _worst(concern: Concern) -> Severity:
    return worst(one.finding.severity for one in (concern, *concern.explains))
