"""Parameters that the optimizer knows and that never had a gradient.

## What it does
Reports parameters that have an entry in an optimizer and no moments there, while other entries
have some: their gradient was None at every step. A notice, unless biases are dead; a warning where
it is a whole optimizer that has none, such as the actor's, after 100 updates of the others. Target
networks and TRPO's policy, which are updated by other means, are not reported.

## Why is this bad
The layer is frozen (`requires_grad` is False) or not connected to the loss: its output is not
used, or it is detached on the way. If you froze it on purpose, all is well.

## Example
A head whose output `forward` computes and `evaluate_actions` forgets.

## Use instead
To see which of the two it is, load the model and look:
```python
print([n for n, p in model.policy.named_parameters() if not p.requires_grad])  # frozen
```
A layer that is not in this list is not connected: follow its output to the loss, looking for
`.detach()`, `torch.no_grad()` and results that are thrown away.

## Fix safety
`fix` can re-draw the biases; as long as no gradient comes, they stay as drawn.

## References
- PyTorch: `torch.optim.Optimizer.step` skips parameters whose `grad` is None
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.causes import LEAST_WITHOUT
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, worst


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all parameters whose gradient was always None."""
    facts = examination.facts
    if facts.updates_by_other_means:
        return
    names = {layer.name for layer in examination.layers}
    idle = {
        optimizer: updates
        for optimizer in facts.policy_optimizers
        if (updates := facts.updates_without(optimizer)) is not None and updates >= LEAST_WITHOUT
    }
    never = [
        name
        for name in facts.parameters
        if name in names
        and facts.anatomy.roles[name].online is None
        and facts.coverage.slots.get(name)
        and not any(kept for _, kept in facts.moments(name))
        and any(
            facts.optimizers[slot.optimizer].moments or slot.optimizer in idle
            for slot, _ in facts.moments(name)
        )
    ]
    if not never:
        return
    dead = examination.biases(Cause.NO_GRADIENT)
    optimizers = sorted({slot.optimizer for name in never for slot in facts.coverage.slots[name]})
    severities = [layer.severity for layer in dead if layer.severity]
    severities.append(Severity.NOTICE if idle.keys().isdisjoint(optimizers) else Severity.WARNING)
    shown = "lists them and keeps no moments for them, while it does for others"
    if idle.keys() >= set(optimizers):
        updates = max(idle[optimizer] for optimizer in optimizers)
        shown = f"has no moments at all, while others had {updates:,} updates"
    yield RULE.finding(
        worst(severities),
        f"{len(never)} parameter{'s' if len(never) > 1 else ''} never had a gradient",
        evidence=f"{' and '.join(optimizers)} {shown}; {len(dead)} of them are dead biases",
        remedy=(
            "Load the model and check `requires_grad` of these parameters: False means frozen, "
            "True means that their output does not reach the loss."
        ),
        tensors=tuple(never),
    )


RULE = Rule(
    code="SD203",
    name="no-gradient",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
)
