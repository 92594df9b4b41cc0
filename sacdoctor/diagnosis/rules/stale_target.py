"""Target networks that do not follow the online network.

## What it does
Reports a target network whose distance from its online network, ‖target − online‖ ÷ ‖online‖, is
above 1, and a `tau` of 0, with which no target ever moves. `sacdoctor history` reports targets that
are identical from checkpoint to checkpoint while their online network moves, for longer than two
intervals of target updates.

## Why is this bad
The values that updates aim at come from a network that has nothing to do with the one that learns.
A target that is further from the online network than a network of zeros is another network: two
independent ones of one size are 1.4 apart. With `tau` 0 it stays what it was at the start.

## Example
A state dict loaded with `strict=False` whose names for the target did not match, so that it kept
its first random values. `tau=0.0`.

## Use instead
`model.critic_target.load_state_dict(model.critic.state_dict())` before training goes on, and a
`tau` above 0 (SB3's default for SAC and TD3 is 0.005; for DQN 1.0, every
`target_update_interval` steps).

## Fix safety
No fix: which of the two networks is the good one, the file does not tell.

## References
- Mnih et al. 2015, "Human-level control through deep reinforcement learning": target networks
- Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": soft target updates
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt

import numpy as np

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import updates_of
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.diagnosis.statistics import as_floats, has_floats, pieces
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

FAR = 1.0
"""The distance of a network of zeros. Over 157 healthy public networks it was at most 0.39."""
LEAST_UPDATES = 100
"""Before that a target of somebody's own may not have been made a copy yet."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all target networks."""
    facts = examination.facts
    distances = {}
    if _may_be_compared(facts):
        distances = {name: apart for name, apart in _distances(facts).items() if apart > FAR}
    if distances:
        worst = max(distances, key=lambda network: distances[network])
        yield RULE.finding(
            Severity.CRITICAL,
            f"the {' and the '.join(distances)} {'is' if len(distances) == 1 else 'are'} no copy "
            "of the online network",
            evidence=f"{worst}: its distance is {distances[worst]:.3g} times the online network's "
            "norm; two independent networks are 1.4 apart",
            remedy=(
                "Before training goes on: `model.critic_target.load_state_dict("
                "model.critic.state_dict())`, or the same for the networks named."
            ),
            tensors=tuple(
                name for name in facts.own() if facts.anatomy.roles[name].component in distances
            ),
        )
    elif _never_follows(facts):
        yield RULE.finding(
            Severity.CRITICAL,
            "tau is 0: the target network never follows the online network",
            evidence="the file's tau is 0",
            remedy="Set tau above 0 (SB3's default: 0.005 for SAC and TD3, 1.0 for DQN).",
        )


def check_run(run: RunFacts) -> Iterator[Finding]:
    """Yield one finding over all targets that a whole stretch of a run left as they were."""
    if not run.stale:
        return
    first = next(iter(run.stale.values()))
    is_one = len(run.stale) == 1
    yield RULE.finding(
        Severity.CRITICAL,
        f"the {' and the '.join(run.stale)} {'does' if is_one else 'do'} not follow",
        evidence=f"identical from {first.since:,} to {first.until:,} steps, while the online "
        "network moved",
        remedy=(
            "Look for a tau of 0, a target that is updated from itself, or code that replaces "
            "`_on_step`, where SB3 updates DQN's target."
        ),
        tensors=tuple(name for still in run.stale.values() for name in still.tensors),
    )


def _may_be_compared(facts: Facts) -> bool:
    """Return whether targets had time to follow: a file of somebody's own must show updates."""
    if not facts.policy_optimizers:
        return facts.algorithm is not None
    updates = (updates_of(facts, name) for name in facts.parameters)
    return max(updates, default=0.0) >= LEAST_UPDATES


def _never_follows(facts: Facts) -> bool:
    return facts.checkpoint.hyperparameters.number("tau") == 0.0 and any(_pairs(facts))


def _pairs(facts: Facts) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the component, the target's weight or bias, and the online network's."""
    for name in facts.parameters:
        online = facts.anatomy.roles[name].online
        other = facts.tensors.get(online) if online is not None else None
        target = facts.tensors[name]
        if other is None or (other.shape, other.dtype) != (target.shape, target.dtype):
            continue
        if has_floats(target):
            yield facts.anatomy.roles[name].component, target, other


def _distances(facts: Facts) -> dict[str, float]:
    """Return the distance of each target network as a share of the online network's norm.

    Networks with NaN have none: that is another finding.
    """
    sums: dict[str, list[float]] = {}
    for component, target, online in _pairs(facts):
        apart = norm = 0.0
        for mine, its in zip(pieces(target), pieces(online), strict=False):
            ours, theirs = as_floats(target, mine), as_floats(online, its)
            if ours.shape == theirs.shape:
                difference = (ours - theirs).reshape(-1)
                apart += float(np.dot(difference, difference))
                norm += float(np.dot(theirs.reshape(-1), theirs.reshape(-1)))
        total = sums.setdefault(component, [0.0, 0.0])
        total[0], total[1] = total[0] + apart, total[1] + norm
    return {
        component: sqrt(apart / norm)
        for component, (apart, norm) in sums.items()
        if norm > 0 and isfinite(apart) and isfinite(norm)
    }


RULE = Rule(
    code="SD209",
    name="stale-target",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check), Check(RunFacts, check_run)),
)
