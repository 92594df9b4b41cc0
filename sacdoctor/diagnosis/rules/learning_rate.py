"""A learning rate outside the range in which the algorithm is known to train.

## What it does
Compares the configured learning rate with the safe range of the algorithm. Where the file holds a
schedule, only the rate that the optimizers last used is known: it is reported only where it is
critically high, or below 0. A schedule that overshoots its end is critical where it goes below 0 by
a tenth of the recommended rate or more, and a notice where it does so by less. A rate of 0 in a
trained model is the end of a schedule, and not reported: only where, after 100 updates and more, no
weight is other than its initialiser draws it. Above the range, but not above what
rl-zoo tuned for some environment, it is a notice: what a rate does hangs on batch size, network and
normalisation too. The ranges are for optimizers that divide gradients by their size (Adam,
RMSprop). Plain SGD does not: its rate is judged by the rate at which Adam would move weights as
far, for gradients of a norm of 1, or of `max_grad_norm` where that is smaller.

## Why is this bad
Too high a rate makes Q-values diverge and kills ReLU units; with one below 0 each update makes the
loss larger; too low a rate looks like a run that
does not learn.

## Example
SAC at 5e-3: 50 times the recommended 1e-4, 16.7 times the upper end of the safe range.
`policy_kwargs={"optimizer_class": torch.optim.SGD}` and nothing else: PPO's 9,000 weights each get
a hundredth of a gradient of norm 0.5, and move as with Adam at 2e-6.

## Use instead
`sacdoctor fix --learning-rate 1e-4 model.zip` corrects the file, `sacdoctor fix-config` the
settings. `fix-config` shows the range and its source.

## Fix safety
Safe: with `--learning-rate` the rate changes in the settings and in every optimizer.

## References
- Ranges and their sources: `sacdoctor/algorithms.py`
- Kingma and Ba 2015, "Adam", section 2.1: a step is about the learning rate, whatever the gradient
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.initialisation import was_trained
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.optimizers import optimizer_with
from sacdoctor.settings import MAX_GRAD_NORM, judge_learning_rate
from sacdoctor.severity import Severity

SGD_MARGIN = 2.0
"""How far beyond a range the rate at which SGD moves weights must lie for more than a notice: it is
an estimate, by the largest gradients that there are, or usually are."""
LEAST_UPDATES = 100
"""After so many a weight has left where it was drawn, at any rate above 0."""
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
        if configured == 0 and _never_moved(examination.facts):
            yield _zero(algorithm, examination.facts.n_updates or 0)
        return
    slower = _slower_than_adam(examination.facts)
    if slower is not None and rate > 0:
        if configured is not None:  # a schedule may have come to its end
            yield from _of_sgd(algorithm, rate, rate / slower)
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


def _never_moved(facts: Facts) -> bool:
    """Return whether updates left every weight as its initialiser drew it, at a rate of 0."""
    rates = [state.learning_rate for state in facts.policy_optimizers.values()]
    weights = [name for name in facts.parameters if facts.anatomy.roles[name].role == "weight"]
    if (facts.n_updates or 0) < LEAST_UPDATES or not rates or any(rates) or not weights:
        return False
    return not any(was_trained(facts.tensors[name]) for name in weights)


def _zero(algorithm: str, updates: int) -> Finding:
    recommended = ALGORITHMS[algorithm].learning_rates.recommended
    return RULE.finding(
        Severity.CRITICAL,
        "the learning rate is 0: nothing was learned",
        evidence=f"learning_rate 0; after {updates:,} updates no weight is other than its "
        "initialiser draws it",
        remedy=f"Set learning_rate to {recommended:g} and train anew; `sacdoctor fix-config` "
        "corrects settings.",
    )


def _slower_than_adam(facts: Facts) -> float | None:
    """Return how many times less plain SGD moves a weight than Adam does at the same rate.

    None where not all of the policy is trained by SGD. Adam moves each of n weights by about the
    rate; SGD all together by rate x norm of the gradient, which is 1/sqrt(n) of it for each, and
    momentum adds up 1 / (1 - momentum) of such steps.
    """
    options = [g.options for state in facts.policy_optimizers.values() for g in state.groups]
    used = [optimizer_with(of) for of in options]
    if facts.updates_by_other_means or not used or any(o is None or o.name != "SGD" for o in used):
        return None
    roles = facts.anatomy.roles
    online = [name for name in facts.parameters if roles[name].online is None]
    momenta = [m for of in options if isinstance(m := of.get("momentum"), (int, float))]
    most = facts.checkpoint.hyperparameters.number("max_grad_norm") or MAX_GRAD_NORM
    steps_added_up = 1 / max(1 - max(momenta, default=0.0), 1e-6)
    weights = sum(facts.tensors[name].numel for name in online)
    return sqrt(max(weights, 1)) / (min(most, MAX_GRAD_NORM) * steps_added_up)


def _of_sgd(algorithm: str, rate: float, like: float) -> Iterator[Finding]:
    """Yield a finding where SGD at `rate` moves weights as Adam at `like`, which is not safe."""
    verdict = judge_learning_rate(algorithm, like)
    if verdict is None or verdict.low is None or verdict.high is None or not verdict.must_change:
        return
    is_near = verdict.low <= like * SGD_MARGIN and like <= verdict.high * SGD_MARGIN
    yield RULE.finding(
        Severity.NOTICE if is_near else Severity.WARNING,
        f"SGD at {rate:g} moves weights as Adam does at {like:.2g}",
        evidence="SGD does not divide gradients by their size, as Adam does, so that a weight gets "
        f"its share of them alone; {like:.2g} is {verdict.message}",
        remedy="Leave optimizer_class at SB3's (Adam, for A2C RMSprop) and train anew, or at a "
        f"rate near {rate * (verdict.recommended or like) / like:.1g}.",
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
    explains=(Symptom("destructive-update"), Symptom("value-out-of-bounds")),
    cured_by=("fix --learning-rate RATE", "fix-config"),
)
