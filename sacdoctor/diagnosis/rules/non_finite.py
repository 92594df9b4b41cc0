"""NaN or infinite values in parameters, moments or the entropy coefficient.

## What it does
Reports tensors with elements that are NaN or infinite, and where the first ones are: the policy,
the optimizers' moments, and loose variables such as `log_ent_coef`. In tensors that are neither
weight nor bias only NaN counts: an attention mask holds −inf on purpose. `sacdoctor history` also
reports losses and entropy coefficients that SB3 logged as NaN or infinite up to the end of the run,
where none of its checkpoints shows it.

## Why is this bad
NaN spreads: one element makes every output NaN, and the next update makes every weight NaN. The
checkpoint cannot be trained on. A non-finite moment alone destroys its parameter at the next step.

## Example
A reward of infinity, a division by a standard deviation of 0, a learning rate that diverged.

## Use instead
Go back to the last finite checkpoint. Then look for the source: check rewards and observations
with `stable_baselines3.common.vec_env.VecCheckNan`, and clip the gradients.

## Fix safety
No fix: the values are gone.

## References
- SB3 docs, "Dealing with NaNs and infs"
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.log_facts import LogFacts, Points
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.statistics import as_numbers, count_non_finite, non_finite_positions
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

SHOWN = 3
LOSSES = (
    "train/loss",
    "train/actor_loss",
    "train/critic_loss",
    "train/value_loss",
    "train/policy_gradient_loss",
    "train/ent_coef",
)
"""Not `train/explained_variance`: it is NaN wherever all returns of a rollout are the same."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all tensors with non-finite elements."""
    found = dict(_non_finite(examination))
    if not found:
        return
    total = sum(count for count, _ in found.values())
    details = [
        f"{name}: {count:,} of {tensor.numel:,}, first at "
        + ", ".join(str(list(at)) for at in non_finite_positions(tensor, SHOWN))
        for name, (count, tensor) in found.items()
    ]
    yield RULE.finding(
        Severity.CRITICAL,
        f"{total:,} value{'s are' if total > 1 else ' is'} NaN or infinite, in "
        f"{len(found):,} tensor{'s' if len(found) > 1 else ''}",
        evidence="; ".join(details[:SHOWN]) + ("; and others" if len(details) > SHOWN else ""),
        remedy=(
            "Go back to the last finite checkpoint; wrap the environment in VecCheckNan to find "
            "the source, and clip the gradients."
        ),
        tensors=tuple(found),
    )


def check_log(log: LogFacts) -> Iterator[Finding]:
    """Yield one finding over all losses that are not finite at the end of a log."""
    since = {
        name: _since(series)
        for name, series in log.series.items()
        if name in LOSSES and len(series.values) and not np.isfinite(series.values[-1])
    }
    if not since:
        return
    first = min(since, key=lambda name: since[name])
    yield RULE.finding(
        Severity.CRITICAL,
        "the losses are NaN or infinite to the end of the log",
        evidence=f"{first} from step {since[first]:,} on, {log.last(first)} at the end",
        remedy=(
            f"Go back to a checkpoint from before step {since[first]:,}; wrap the environment in "
            "VecCheckNan to find the source, and clip the gradients."
        ),
    )


def _since(series: Points) -> int:
    """Return the step from which on no value of the series is finite."""
    finite = np.flatnonzero(np.isfinite(series.values))
    return int(series.timesteps[finite[-1] + 1 if len(finite) else 0])


def _non_finite(examination: Examination) -> Iterator[tuple[str, tuple[int, Tensor]]]:
    facts = examination.facts
    for layer in examination.layers:
        count = facts.measures[layer.name].non_finite if layer.alias_of is None else 0
        tensor = facts.tensors[layer.name]
        if count and layer.role not in ("weight", "bias") and not tensor.is_expanded:
            count = int(np.isnan(as_numbers(tensor)).sum())
        if count:
            yield layer.name, (count, tensor)
    for name, tensor in (*facts.checkpoint.variables.items(), *_moments(facts)):
        count = count_non_finite(tensor)
        if count:
            yield name, (count, tensor)


def _moments(facts: Facts) -> Iterator[tuple[str, Tensor]]:
    for optimizer, state in facts.optimizers.items():
        for number, kept in state.moments.items():
            for key, value in kept.items():
                if isinstance(value, Tensor):
                    yield f"{optimizer}[{number}].{key}", value


RULE = Rule(
    code="SD301",
    name="non-finite",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check), Check(LogFacts, check_log)),
    comes_first=True,
    explains=(Symptom("destructive-update"), Symptom("value-out-of-bounds")),
)
