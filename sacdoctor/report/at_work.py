"""What networks do at work, in words that several output formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sacdoctor.printable import printable
from sacdoctor.report.text import counted

if TYPE_CHECKING:
    from sacdoctor.diagnosis import ActionActivity, NetworkActivity, ValueActivity
    from sacdoctor.network import ProbeReport

_SOURCES = {
    "buffer": "of {}",
    "file": "of {}",
    "environment": "of {}, in which the policy acted",
    "checkpoint": "in the checkpoint itself",
}
_MOST_INPUTS = 5
"""Inputs that are named as those that move the action the most."""


def what_was_seen(report: ProbeReport) -> str:
    """Return which algorithm worked on what."""
    where = _SOURCES[report.source].format(printable(report.name))
    return f"{report.algorithm}, {counted(report.count, 'observation')} {where}"


def outputs(network: NetworkActivity) -> Iterator[str]:
    """Yield a line about the actions, and one about the values."""
    if network.actions is not None:
        yield "; ".join(_acting(network.actions))
    if network.values is not None:
        yield "; ".join(_valuing(network.values))


def _acting(actions: ActionActivity) -> Iterator[str]:
    if actions.commonest is not None:
        yield f"its commonest choice on {_percent(actions.commonest)} of the observations"
    if actions.likeliest is not None:
        yield f"the likeliest has a mean probability of {_percent(actions.likeliest)}"
    if actions.spread:
        yield f"its actions vary by {_numbers(actions.spread)} (half of the range is 1)"
        bounds = [a + b for a, b in zip(actions.lower, actions.upper, strict=True)]
        yield f"they are at a bound on {_percents(bounds)} of the observations"
    if actions.flat:
        yield f"Tanh has no gradient for {_percent(actions.flat)} of them"
    if actions.deviation is not None:
        yield f"exploration deviates by {actions.deviation:.3g}"
    if actions.sensitivity:
        ranked = sorted(enumerate(actions.sensitivity), key=lambda one: -one[1])
        inputs = ", ".join(f"{i} ({x:.2g})" for i, x in ranked[:_MOST_INPUTS])
        yield f"the inputs that move them most are {inputs}"


def _valuing(values: ValueActivity) -> Iterator[str]:
    yield f"values from {values.low:.4g} to {values.high:.4g}, mean {values.mean:.4g}"
    if values.largest is not None:
        yield f"rewards allow {values.largest:.4g}"
    if values.residual is not None:
        yield f"{_percent(values.residual)} away from their targets"
    if values.correlation is not None:
        yield f"correlation with them {values.correlation:.3f}"
    if values.disagreement is not None:
        yield f"twins differ by {_percent(values.disagreement)} of the deviation"
    if values.action_effect is not None:
        yield f"the action moves them by {_percent(values.action_effect)} of it"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _percents(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:.3g}" for share in shares) + " %"


def _numbers(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)
