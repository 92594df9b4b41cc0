"""A constant learning rate in the settings, and another one in the optimizers.

## What it does
Compares `learning_rate`, where it is a constant, with the rate in each optimizer's parameter
groups. Models without an update, whose rates SB3 has not written yet, are not looked at; nor is a
constant of 0, which tools write in place of a schedule when they load a model for evaluation.

## Why is this bad
SB3 makes `lr_schedule` out of `learning_rate` when a model is made or loaded, and writes the
schedule's value into every group before every update. If they differ, the model was trained at
another rate than its settings say, and will change its rate as soon as it is loaded and trained
again.

## Example
`model.learning_rate = 1e-4` on a live model: `lr_schedule` still gives the old rate, and the new
one is ignored until the model is loaded the next time. `model.set_parameters(...)` the other way
round: the optimizers take over the rate of the other file, until the next update.

## Use instead
Give the rate when the model is loaded, which makes the schedule anew:
`SAC.load(path, custom_objects={"learning_rate": 1e-4})`. Or `sacdoctor fix --learning-rate 1e-4`,
which corrects settings and optimizers together.

## Fix safety
Safe.

## References
- SB3: `_setup_lr_schedule` and `_update_learning_rate` in stable_baselines3/common/base_class.py
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.settings import Verdict, judge_learning_rate
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where configured and applied rate differ."""
    facts = examination.facts
    configured = facts.checkpoint.hyperparameters.number("learning_rate")
    if not configured or facts.counters_say_untrained:
        return
    differing = {
        name: group.learning_rate
        for name, state in facts.optimizers.items()
        for group in state.groups
        if group.learning_rate is not None
        and state.moments
        and not isclose(group.learning_rate, configured, rel_tol=1e-6, abs_tol=1e-12)
    }
    if differing:
        applied = ", ".join(f"{name}: {rate:g}" for name, rate in sorted(differing.items()))
        rates = dict.fromkeys(differing.values())
        yield RULE.finding(
            Severity.WARNING,
            "the optimizers use another learning rate than the settings say",
            evidence=f"learning_rate {configured:g}; {applied}",
            remedy=_remedy(facts.checkpoint.algorithm, configured, list(rates)),
        )


def _remedy(algorithm: str | None, configured: float, applied: list[float]) -> str:
    """Return what to do about both rates; a rate that SD401 would not leave is never advised."""
    verdict = _verdict(algorithm, configured)
    if verdict is not None:
        return (
            f"Once loaded, SB3 trains at {configured:g}, which is not safe (SD401). "
            f"`sacdoctor fix --learning-rate {verdict.recommended:g}` sets settings and "
            "optimizers alike."
        )
    ways = [
        f"Once loaded, SB3 trains at {configured:g}; `sacdoctor fix --learning-rate "
        f"{configured:g}` says so in the optimizers too."
    ]
    for rate in applied:
        if rate > 0 and _verdict(algorithm, rate) is None:
            ways.append(
                f"To stay at {rate:g}, at which it was last updated: "
                f"`sacdoctor fix --learning-rate {rate:g}`."
            )
        else:
            ways.append(f"The {rate:g} of its last update is no rate to go on with.")
    return " ".join(ways)


def _verdict(algorithm: str | None, rate: float) -> Verdict | None:
    """Return what must change about a rate, None where it may stay."""
    verdict = judge_learning_rate(algorithm, rate) if algorithm is not None else None
    return verdict if verdict is not None and verdict.must_change else None


RULE = Rule(
    code="SD404",
    name="schedule-mismatch",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    cured_by=("fix --learning-rate RATE",),
    needs_optimizers=True,
)
