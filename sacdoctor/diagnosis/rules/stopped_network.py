"""Networks that no gradient reaches any more, while updates went on.

## What it does
Reports an actor, a critic or a Q-network in which the second moments (Adam's `exp_avg_sq`,
RMSprop's `square_avg`) of every weight and bias are 0, or below 1e-30, after ten updates and more.

Its layers, and biases that are zero because of that, are not named once more.

## Why is this bad
Nothing trains it. An actor whose tanh is saturated, or whose ReLU layers are all dead, stays as it
is however good the critic becomes; a critic whose loss is multiplied by 0 judges nothing.

## Example
DDPG with a learning rate of 1e-2: after a few hundred updates every action lies on a bound, where
the squashing tanh has no gradient. PPO with `vf_coef=0`.

## Use instead
Go back to a checkpoint before it stopped (`sacdoctor history RUN` shows where its updates become 0)
and go on with a smaller learning rate, scaled observations and rewards; raise `vf_coef` above 0.

## Fix safety
No fix: what stands between the network and its loss has no gradient, and values that are drawn anew
for dead biases rarely change that.

## References
- Kingma and Ba 2015, "Adam": the second moment is the decayed mean of squared gradients
- Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": the actor's gradient
  passes through its tanh
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.gradient_record import stopped_networks, updates_of
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all networks that have stopped."""
    facts = examination.facts
    stopped = stopped_networks(facts)
    if not stopped:
        return
    names = tuple(name for tensors in stopped.values() for name in tensors)
    steps = max(updates_of(facts, name) for name in names)
    is_one = len(stopped) == 1
    yield RULE.finding(
        Severity.CRITICAL,
        f"the {' and the '.join(stopped)} {'has' if is_one else 'have'} stopped: no gradient "
        "reaches any layer",
        evidence=f"the second moments of all {len(names):,} weights and biases are 0 after "
        f"{steps:,.0f} updates",
        remedy=(
            "Look for outputs that are saturated (actions on their bounds) and for a loss that is "
            "multiplied by 0 (vf_coef). `sacdoctor history` shows when it stopped: go on from a "
            "checkpoint before that, with a smaller learning rate."
        ),
        tensors=names,
    )


def _within(examination: Examination, stopped: Finding, other: Finding) -> bool:
    """Return whether all tensors that another finding names are of stopped networks, or copies of
    theirs in a target network."""
    roles = examination.facts.anatomy.roles
    owners = {roles[name].online or name for name in other.tensors}
    return owners <= {*stopped.tensors}


RULE = Rule(
    code="SD208",
    name="stopped-network",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    explains=(
        Symptom("zero-gradient", _within),
        Symptom("dead-bias", _within),
        Symptom("partly-dead-bias", _within),
    ),
)
