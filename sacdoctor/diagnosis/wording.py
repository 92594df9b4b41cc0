"""Sentences that several rules share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules import Rule
from sacdoctor.model import Cause, Finding, LayerReport
from sacdoctor.severity import worst


def biases(number: int) -> str:
    """Return e.g. `1 bias tensor is`, `20 bias tensors are`."""
    return f"{number:,} bias tensor is" if number == 1 else f"{number:,} bias tensors are"


def share_of_zeros(layers: Sequence[LayerReport]) -> str:
    """Return how many of the layers' elements are zero."""
    zeros = sum(layer.zeros for layer in layers)
    return f"{zeros:,} of {sum(layer.parameters for layer in layers):,} elements are exactly 0"


def counted_causes(layers: Sequence[LayerReport]) -> str:
    """Return the causes of the layers, the most frequent first."""
    counts = Counter(layer.cause or Cause.UNKNOWN for layer in layers)
    return "causes: " + ", ".join(f"{cause} ({n})" for cause, n in counts.most_common())


def cause_finding(
    rule: Rule, examination: Examination, cause: Cause, message: str, remedy: str
) -> Iterator[Finding]:
    """Yield one finding over all biases with this cause, with the first one's evidence."""
    found = examination.biases(cause)
    if not found:
        return
    first = found[0]
    yield rule.finding(
        worst([layer.severity for layer in found if layer.severity is not None]),
        f"{biases(len(found))} {message}",
        evidence=f"{first.name}: {first.evidence}",
        remedy=remedy,
        tensors=tuple(layer.name for layer in found),
    )
