"""Weights or an entropy coefficient that something else than training changed during a run.

## What it does
`sacdoctor history` compares neighbouring checkpoints of one run. It reports

- weights, biases and the entropy coefficient (`log_ent_coef`) that moved further than Adam can move
  a parameter in the updates between the two, at the highest rate that both files tell of;
- networks of which nothing is left: the weights after have no more in common with those before than
  those of two networks that were drawn independently.

Both hold whatever the gradients were. Only the first needs what the optimizers keep; it is silent
where the limit is unknown: with another optimizer than Adam, weight decay, a schedule of one's own.
What is 0 afterwards is the business of the rules about zeros.

## Why is this bad
What the agent had learned is gone or disturbed, and what stayed (the other network, the targets,
the optimizer's moments, the replay buffer) belongs to the weights from before. A rate that was
raised for a while, and is back, leaves the same trace.

## Example
A callback calls `model.set_parameters("best_model")` in the middle of the training, or makes the
actor anew; the weight norm goes from 13 to 41 between two checkpoints.

## Use instead
Go back to the checkpoint before. Load all parts together, before `learn()`:
`SAC.load(path, env=env)`. If it was on purpose, as with networks that are reset now and then
(Nikishin et al. 2022), all is well: ignore the rule (`--ignore SD807`).

## Fix safety
No fix: `sacdoctor fix` does not know which of the two states was meant.

## References
- Kingma and Ba 2015, "Adam", algorithm 1
- Défossez et al. 2020, "A Simple Convergence Proof of Adam and Adagrad", lemma 5.2: how far it goes
- Nikishin et al. 2022, "The Primacy Bias in Deep Reinforcement Learning"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.run_facts import Jump, RunFacts
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(run: RunFacts) -> Iterator[Finding]:
    """Yield one finding over all jumps of a run; the first pair of checkpoints is told of."""
    if not run.jumps:
        return
    first = [jump for jump in run.jumps if jump.until == run.jumps[0].until]
    later = len({jump.until for jump in run.jumps}) - 1
    again = f"; {later:,} more such jump{'s' if later > 1 else ''} later" if later else ""
    names = [f"the {jump.component}" for jump in first]
    yield RULE.finding(
        Severity.WARNING,
        f"something else than training changed {_listed(names)} between {first[0].since:,} and "
        f"{first[0].until:,} steps{again}",
        evidence=_evidence(first),
        remedy=(
            "Look for what sets weights or the rate in the middle of the training: "
            "set_parameters, load_state_dict, a network that is made anew, a callback. Unless it "
            "was on purpose, go back to the checkpoint before."
        ),
        tensors=tuple(dict.fromkeys(name for jump in run.jumps for name in jump.tensors)),
    )


def _evidence(jumps: Sequence[Jump]) -> str:
    gone = [jump for jump in jumps if jump.left is not None]
    if gone:
        return (
            f"of the weights of the {' and of the '.join(jump.component for jump in gone)} nothing "
            "is left: they have no more in common than those of two networks drawn independently"
        )
    leap = max((jump.leap for jump in jumps if jump.leap), key=lambda leap: leap.excess)
    return (
        f"{leap.tensor} moved by {leap.distance:.3g} in {leap.updates:,} updates; at a rate of "
        f"{leap.rate:.3g} Adam can have moved it by {leap.limit:.3g} at most"
    )


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


RULE = Rule(
    code="SD807",
    name="unexplained-jump",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(RunFacts, check),),
    explains=(Symptom("standing-still"),),
)
