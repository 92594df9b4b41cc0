"""Stored observations whose numbers the network can hardly tell apart.

## What it does
Looks at mean and standard deviation of each number of the stored observations, and reports

- a number that is 10 or more on average, and 100 times its standard deviation or more;
- a root mean square of 1,000 or more;
- observations in which nothing that varies does so by a thousandth or more, around a mean below
  a thousandth.

Constant numbers are not reported, nor integers (images, grids). Nothing is said where the
statistics of a `VecNormalize` are in the folder of the buffer, above or below: SB3 stores what
comes before the normalisation. A warning.

## Why is this bad
A first layer starts with weights of about 1 ÷ √n. An offset of 10 or more drives its units to one
side, whatever the small part that varies says; numbers of thousands drown all others; numbers of a
hundred thousandth leave the outputs what the biases are.

## Example
A price of 50,000 that varies by 130: mean ÷ deviation is 381. Distances in kilometres that are
given in a task of millimetres.

## Use instead
`VecNormalize(venv, norm_obs=True)`, or observations scaled to about [−1, 1] in the environment;
then train anew.

## Fix safety
No fix: weights that were trained on other sizes do not fit.

## References
- SB3's "Reinforcement Learning Tips and Tricks": always normalize the observation space
- LeCun et al. 1998, "Efficient BackProp", section 4.3: inputs with mean 0 and one variance
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import Feature, StoredTransitions
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

OFFSET, RATIO = 10.0, 100.0
"""Mean without sign, and over the standard deviation."""
LARGE, SMALL = 1000.0, 1e-3
_EXACT = 1e-7
"""Share of the mean below which a deviation is rounding, and the number constant."""
FEWEST = 100
"""Transitions below which nothing is said: an agent may not have moved yet."""


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield one finding about the numbers whose scale is worst."""
    varied = [f for f in stored.features if f.deviation > _EXACT * abs(f.mean)]
    if stored.is_normalised or stored.looked_at < FEWEST or not varied:
        return
    far = [f for f in varied if abs(f.mean) >= max(OFFSET, RATIO * f.deviation)]
    large = [f for f in varied if f.mean**2 + f.deviation**2 >= LARGE**2]
    if far:
        yield _finding(far, max(far, key=_ratio), "vary by next to nothing of their size")
    elif large:
        worst = max(large, key=lambda f: abs(f.mean) + f.deviation)
        yield _finding(large, worst, "are in the thousands")
    elif len(varied) == len(stored.features) and all(
        f.deviation < SMALL and abs(f.mean) < SMALL for f in varied
    ):
        yield _finding(varied, max(varied, key=lambda f: f.deviation), "are next to nothing")


def _ratio(feature: Feature) -> float:
    return abs(feature.mean) / feature.deviation


def _finding(features: list[Feature], worst: Feature, what: str) -> Finding:
    number = len(features)
    subject = "one of the observed numbers" if number == 1 else f"{number:,} observed numbers"
    if number == 1:
        what = what.replace("vary", "varies").replace("their", "its")
        what = what.replace("are in", "is in").replace("are next", "is next")
    ratio = f", {_ratio(worst):,.0f} times that" if _ratio(worst) >= RATIO else ""
    return RULE.finding(
        Severity.WARNING,
        f"{subject} {what}",
        evidence=(
            f"{worst.name}: standard deviation {worst.deviation:.3g} around a mean of "
            f"{worst.mean:.4g}{ratio}" + (", the worst of them" if number > 1 else "")
        ),
        remedy=(
            "Unless the agent sees them normalised: VecNormalize, or scale them in the environment "
            "to about [-1, 1]; then train anew."
        ),
    )


RULE = Rule(
    code="SD906",
    name="observation-scale",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(StoredTransitions, check),),
)
