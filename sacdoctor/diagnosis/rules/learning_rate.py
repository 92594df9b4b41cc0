"""A learning rate outside the range in which the algorithm is known to train.

## What it does
Compares the configured learning rate with the safe range of the algorithm. Where the file holds a
schedule, only the rate that the optimizers last used is known: it is reported only where it is
critically high, or below 0. A schedule that overshoots its end is critical where it goes below 0 by
a tenth of the recommended rate or more, and a notice where it does so by less. A rate of 0 in a
trained model is the end of a schedule, and not reported. Above the range, but not above what
rl-zoo tuned for some environment, it is a notice: what a rate does hangs on batch size, network and
normalisation too.

## Why is this bad
Too high a rate makes Q-values diverge and kills ReLU units; with one below 0 each update makes the
loss larger; too low a rate looks like a run that
does not learn.

## Example
SAC at 5e-3: 50 times the recommended 1e-4, 16.7 times the upper end of the safe range.

## Use instead
`sacdoctor fix --learning-rate 1e-4 model.zip` corrects the file, `sacdoctor fix-config` the
settings. `fix-config` shows the range and its source.

## Fix safety
Safe: with `--learning-rate` the rate changes in the settings and in every optimizer.

## References
- Ranges and their sources: `sacdoctor/algorithms.py`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.settings import judge_learning_rate
from sacdoctor.severity import Severity

LITTLE = 1e-5
"""A tenth of the rate that is recommended for SAC and DQN, where the file does not tell which."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where the learning rate is not safe."""
    checkpoint = examination.facts.checkpoint
    algorithm, optimizers = checkpoint.algorithm, checkpoint.optimizers
    lowest = _lowest(examination)
    if lowest is not None:
        yield from _negative(examination, *lowest)
        return
    configured = checkpoint.hyperparameters.number("learning_rate")
    applied = [state.learning_rate for state in optimizers.values()]
    rate = configured
    if configured is None:
        rate = max((r for r in applied if r is not None), default=None)
    if algorithm is None or rate is None:
        return
    if rate <= 0 and (configured is None or any(state.moments for state in optimizers.values())):
        return
    verdict = judge_learning_rate(algorithm, rate)
    if verdict is None or (
        configured is None and (verdict.severity is not Severity.CRITICAL or rate <= 0)
    ):
        return
    where = "learning_rate" if configured is not None else "the optimizers' last rate"
    remedy = (
        f"`sacdoctor fix --learning-rate {verdict.recommended:g}` corrects it in the file, "
        "`sacdoctor fix-config` in your settings."
    )
    if not verdict.must_change:
        remedy = (
            "Leave it if training goes well. If not, "
            f"`sacdoctor fix --learning-rate {verdict.recommended:g}`."
        )
    yield RULE.finding(
        verdict.severity,
        f"the learning rate {rate:g} is outside {algorithm}'s safe range",
        evidence=f"{where} {rate:g}: {verdict.message}",
        remedy=remedy,
    )


def _lowest(examination: Examination) -> tuple[str, float] | None:
    """Return the rate below 0 that lies furthest from it, and where it is; None for none."""
    checkpoint = examination.facts.checkpoint
    rates = {"learning_rate": checkpoint.hyperparameters.number("learning_rate") or 0.0}
    for name, state in checkpoint.optimizers.items():
        applied = (group.learning_rate for group in state.groups)
        rates[f"{name}'s last rate"] = min((r for r in applied if r is not None), default=0.0)
    where = min(rates, key=lambda name: rates[name])
    return (where, rates[where]) if rates[where] < 0 else None


def _negative(examination: Examination, where: str, rate: float) -> Iterator[Finding]:
    """Yield a finding over a rate below 0, with which an optimizer ascends.

    A schedule whose end lies within a rollout comes to a rate a little below 0, for that rollout
    alone: at less than a tenth of the recommended rate that undoes next to nothing. rl-zoo's PPO
    ends CartPole at -1.1e-5 that way. Less than a hundredth of it is said in passing.
    """
    row = examination.facts.algorithm
    little = 0.1 * row.learning_rates.recommended if row is not None else LITTLE
    of_schedule = where != "learning_rate"
    is_harmless = of_schedule and -rate < little
    yield RULE.finding(
        Severity.NOTICE if is_harmless else Severity.CRITICAL,
        f"the learning rate {rate:.2g} is below 0: the optimizer ascends",
        evidence=f"{where} {rate:.2g}: with it each update makes the loss larger"
        + (", by next to nothing" if is_harmless else ""),
        remedy=(
            "Let the schedule end at 0 (`max(progress_remaining, 0.0) * rate`), and go on from a "
            "checkpoint before it crossed 0."
            if of_schedule and not is_harmless
            else "Let the schedule end at 0: `max(progress_remaining, 0.0) * rate`."
            if of_schedule
            else "Set a rate above 0 and train anew; `sacdoctor fix-config` corrects settings."
        ),
        in_passing=is_harmless and -rate < 0.1 * little,
    )


RULE = Rule(
    code="SD401",
    name="learning-rate",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    explains=("destructive-update", "value-out-of-bounds"),
    cured_by=("fix --learning-rate RATE", "fix-config"),
)
