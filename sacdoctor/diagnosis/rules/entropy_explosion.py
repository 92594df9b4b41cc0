"""An entropy coefficient that has grown: the agent is paid for acting at random.

## What it does
Reports a learned entropy coefficient (SAC, TQC, CrossQ: exp of `log_ent_coef`) above 5 (warning) or
50 (critical) that is above the one it started from. A coefficient that was fixed by hand is the
business of `setting-out-of-range`. Where a run has no checkpoint that holds it, `sacdoctor history`
goes by what SB3 logged (`train/ent_coef`).

## Why is this bad
The coefficient starts at 1 and is raised, by about the learning rate per update and without limit,
for as long as the policy's entropy is below `target_entropy`. Where it has grown, the policy could
not follow: the target is higher than any policy's entropy, the rewards are so large that the
entropy does not count beside them, or the actor no longer moves. At 5 every nat of entropy is worth
as much as 5 of reward; what is left to learn is to be random.

## Example
`target_entropy=3.0` for one action: the entropy of actions in [-1, 1] is at most ln 2 = 0.69, and
the coefficient grows to the end of the run.

## Use instead
`target_entropy="auto"`, which is minus the number of actions; rewards of a size around 1. Go back
to a checkpoint from before: the critic has learned values that are made of entropy.

## Fix safety
No fix.

## References
- Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", section 5
- The largest coefficient in healthy trained checkpoints that this was measured on is 0.91; in
  broken ones it was 7.7 to 108
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, isfinite

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.log_facts import COEFFICIENT, LogFacts
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

WARNING = 5.0
CRITICAL = 50.0


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where the learned entropy coefficient has grown."""
    checkpoint = examination.facts.checkpoint
    tensor = checkpoint.variables.get("log_ent_coef")
    if tensor is None or tensor.numel != 1 or tensor.dtype.zero_mask:
        return
    log_coefficient = float(tensor.item())
    coefficient = exp(min(log_coefficient, 700.0))
    start = _start(checkpoint.hyperparameters.get("ent_coef"))
    if not coefficient > max(WARNING, start):
        return
    yield _finding(
        coefficient,
        f"log_ent_coef {log_coefficient:.3g}: entropy coefficient {coefficient:.3g}; it started at "
        f"{start:g}",
    )


def check_log(log: LogFacts) -> Iterator[Finding]:
    """Yield a finding where the coefficient that was logged has grown: a fixed one has not."""
    series = log.series.get(COEFFICIENT)
    if series is None or not len(series.values):
        return
    first, last = float(series.values[0]), float(series.values[-1])
    if last > max(WARNING, first) and isfinite(last):
        yield _finding(
            last,
            f"{COEFFICIENT} is {last:.3g} at step {int(series.timesteps[-1]):,}; the first that "
            f"was logged is {first:.3g}",
        )


def _finding(coefficient: float, evidence: str) -> Finding:
    return RULE.finding(
        Severity.CRITICAL if coefficient > CRITICAL else Severity.WARNING,
        "the entropy coefficient has grown far above what agents learn with",
        evidence=evidence,
        remedy=(
            'Scale the rewards to about 1, leave target_entropy at "auto", and go back to a '
            "checkpoint from before."
        ),
        tensors=("log_ent_coef",),
    )


def _start(ent_coef: object) -> float:
    """Return the coefficient that training began with: SB3 reads `auto_0.1` as 0.1."""
    text = ent_coef if isinstance(ent_coef, str) else ""
    try:
        return float(text.partition("_")[2] or 1.0)
    except ValueError:
        return 1.0


RULE = Rule(
    code="SD506",
    name="entropy-explosion",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check), Check(LogFacts, check_log)),
    explains=(Symptom("value-out-of-bounds"),),
)
