"""Networks that do not move from checkpoint to checkpoint while another trains.

## What it does
`sacdoctor history` reports an actor, a critic or a Q-network of which no weight and no bias changed
between checkpoints, although at least ten updates were made and another network moved. It needs no
optimizer state.

## Why is this bad
Half of the agent learns for the other half in vain: a critic that judges a policy which never
changes, or a policy that climbs a critic which never learns.

## Example
`model.actor.requires_grad_(False)`, left over from pretraining the critic. A subclass that builds
its actor again after the optimizer was made.

## Use instead
Take the freezing back, or make the network's optimizer once all its layers exist. If you froze it
on purpose, all is well: ignore the rule (`--ignore SD210`).

## Fix safety
No fix: the weights are as they were, what is missing is their training.

## References
- PyTorch: `torch.optim.Adam` moves every parameter that ever had a gradient other than 0
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.gradient_record import NETWORKS
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(run: RunFacts) -> Iterator[Finding]:
    """Yield one finding over all networks that stand still at the end of the run."""
    still = {name: network for name, network in run.still.items() if name in NETWORKS}
    if not still:
        return
    first = next(iter(still.values()))
    yield RULE.finding(
        Severity.WARNING,
        f"the {' and the '.join(still)} {'stands' if len(still) == 1 else 'stand'} still",
        evidence=f"identical from {first.since:,} to {first.until:,} steps, while updates went on "
        "and another network moved",
        remedy=(
            "If you did not freeze it: look for requires_grad_(False), for a network that was made "
            "after its optimizer, and for a loss that does not reach it. `sacdoctor scan` of the "
            "last checkpoint tells which, where it holds its optimizers."
        ),
        tensors=tuple(name for network in still.values() for name in network.tensors),
    )


RULE = Rule(
    code="SD210",
    name="standing-still",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(RunFacts, check),),
)
