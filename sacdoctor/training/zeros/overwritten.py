"""Parameters that something else than their optimizer wrote to between two checks.

A bias that was set to zero is zero no more after the next update. But PyTorch counts how often a
tensor was changed in place, and in every step an optimizer changes all of its parameters equally
often: one that was changed more often than its neighbours was written to by something else. Where
half of them were, as all biases of a network are, the other half's count is a multiple of the
steps. That alone is no fault, weights may be clipped or averaged; it is one where little is left of
what was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator

import torch as th
from msgspec import Struct
from torch import nn

from sacdoctor.diagnosis.rules import rule_named
from sacdoctor.model import Cause, Finding
from sacdoctor.optimizers import STEP
from sacdoctor.severity import Severity
from sacdoctor.training.live import LiveModel, listed

LEFT = 0.5
"""Share of the earlier values in the new ones, below which they were overwritten: a step that
training takes by itself leaves nearly all of them, a write of zeros nothing but what came since."""


class _Seen(Struct, frozen=True):
    """A parameter at the last check: it, how often it was changed, its updates, its values."""

    parameter: nn.Parameter
    version: int
    steps: int
    values: th.Tensor


class Overwritten:
    """Finds parameters that were overwritten since the last look."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def look(self, live: LiveModel) -> Iterator[Finding]:
        """Yield a finding over the trained parameters of which little is left."""
        peers: dict[tuple[Hashable, int], Counter[int]] = {}
        changes: dict[str, tuple[tuple[Hashable, int], int]] = {}
        for name, parameter in live.parameters.items():
            before = self._seen.get(name)
            if before is None or before.parameter is not parameter:
                continue
            changed = parameter._version - before.version
            stepped = _steps(live, parameter) - before.steps
            group = ((live.owners.get(id(parameter)), live.roles[name].component), stepped)
            changes[name] = (group, changed)
            peers.setdefault(group, Counter())[changed] += 1
        found = [
            name
            for name, (group, changed) in changes.items()
            if changed > _usual(peers[group], steps=group[1])
            and _left(self._seen[name].values, live.parameters[name]) < LEFT
        ]
        if found:
            yield _finding(found)

    def remember(self, live: LiveModel) -> None:
        """Take the values of now as those that the next look compares with."""
        self._seen = {
            name: _Seen(
                parameter, parameter._version, _steps(live, parameter), parameter.detach().clone()
            )
            for name, parameter in live.parameters.items()
            if parameter.is_floating_point()
        }


def _usual(changes: Counter[int], steps: int) -> int:
    """Return how often most parameters of a group were changed; of equals, the most often.

    Where some counts are multiples of the steps, as those of an optimizer are, it is one of them.
    """
    by_steps = {
        changed: count for changed, count in changes.items() if _is_multiple(changed, steps)
    }
    counted = by_steps or changes
    most = max(counted.values())
    return max(changed for changed, count in counted.items() if count == most)


def _is_multiple(changed: int, steps: int) -> bool:
    return changed % steps == 0 if steps else changed == 0


def _steps(live: LiveModel, parameter: nn.Parameter) -> int:
    kept = (live.optimizers[label].state for label in live.owners.get(id(parameter), ()))
    return sum(int((state.get(parameter) or {}).get(STEP, 0)) for state in kept)


def _left(before: th.Tensor, now: nn.Parameter) -> float:
    """Return the share of the earlier values in the new ones, by least squares."""
    size = float(before.square().sum(dtype=th.float64))
    if size == 0.0 or before.shape != now.shape:
        return 1.0
    return float((before * now.detach()).sum(dtype=th.float64)) / size


def _finding(names: list[str]) -> Finding:
    return rule_named(Cause.RESET_AFTER_TRAINING.value).finding(
        Severity.WARNING,
        f"something else than its optimizer overwrote {listed(names)}",
        evidence="changed in place more often than the parameters beside it, and less than "
        f"{100 * LEFT:.0f} % of its values is left",
        remedy="it is trained on from what is there now; look for what wrote to it",
        tensors=tuple(names),
    )
