"""An entropy coefficient that has sunk to nothing: the agent no longer explores.

## What it does
Reports a learned entropy coefficient (SAC, TQC, CrossQ: exp of `log_ent_coef`) below 1e-5
(warning) or 1e-6 (critical). A coefficient that was fixed by hand is not looked at. Where a run has
no checkpoint that holds it, `sacdoctor history` goes by what SB3 logged (`train/ent_coef`).

## Why is this bad
The coefficient is tuned so that the policy's entropy stays near `target_entropy`. At 1e-6 entropy
has no weight in the loss any more: the policy becomes deterministic, and cannot leave what it
found.

## Example
`log_ent_coef` at −15, an entropy coefficient of 3e-7.

## Use instead
Rewards of a size around 1; a higher `target_entropy`; a fixed `ent_coef` such as 0.05 while you
look for the cause.

## Fix safety
No fix.

## References
- Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", section 5
- The lowest coefficient in the healthy checkpoints that this was measured on is 4e-4
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.log_facts import COEFFICIENT, LogFacts
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

WARNING = 1e-5
CRITICAL = 1e-6
"""Forty and four hundred times below the lowest coefficient of healthy trained checkpoints."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where the learned entropy coefficient has collapsed."""
    tensor = examination.facts.checkpoint.variables.get("log_ent_coef")
    if tensor is None or tensor.numel != 1 or tensor.dtype.zero_mask:
        return
    log_coefficient = float(tensor.item())
    coefficient = exp(min(log_coefficient, 700.0))
    if not coefficient < WARNING:
        return
    yield _finding(
        coefficient, f"log_ent_coef {log_coefficient:.3g}: entropy coefficient {coefficient:.1e}"
    )


def check_log(log: LogFacts) -> Iterator[Finding]:
    """Yield a finding where the coefficient that was logged has sunk: a fixed one has not."""
    series = log.series.get(COEFFICIENT)
    if series is None or not len(series.values):
        return
    first, last = float(series.values[0]), float(series.values[-1])
    if last < min(WARNING, first):
        yield _finding(
            last,
            f"{COEFFICIENT} is {last:.1e} at step {int(series.timesteps[-1]):,}; the first that "
            f"was logged is {first:.3g}",
        )


def _finding(coefficient: float, evidence: str) -> Finding:
    return RULE.finding(
        Severity.CRITICAL if coefficient < CRITICAL else Severity.WARNING,
        "the entropy coefficient has collapsed",
        evidence=evidence,
        remedy=(
            "Scale the rewards to about 1, raise target_entropy, or fix ent_coef (0.05) for a "
            "while."
        ),
    )


RULE = Rule(
    code="SD504",
    name="entropy-collapse",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check), Check(LogFacts, check_log)),
)
