"""Parameters that the optimizer knows and that never had a gradient.

## What it does
Reports parameters that have an entry in an optimizer and no moments there, while other entries
have some: their gradient was None at every step. Target networks and TRPO's policy, which are
updated by other means, are not reported.

## Why is this bad
The layer is frozen (`requires_grad` is False) or not connected to the loss: its output is not
used, or it is detached on the way. If you froze it on purpose, all is well; the severity is notice
unless biases are dead.

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
    never = [
        name
        for name in facts.parameters()
        if name in names
        and facts.anatomy.roles[name].online is None
        and facts.coverage.slots.get(name)
        and not any(kept for _, kept in facts.moments(name))
        and any(facts.optimizers[slot.optimizer].moments for slot, _ in facts.moments(name))
    ]
    if not never:
        return
    dead = examination.biases(Cause.NO_GRADIENT)
    severity = worst([Severity.NOTICE, *(layer.severity for layer in dead if layer.severity)])
    optimizers = sorted({slot.optimizer for name in never for slot in facts.coverage.slots[name]})
    yield RULE.finding(
        severity,
        f"{len(never)} parameter{'s' if len(never) > 1 else ''} never had a gradient",
        evidence=(
            f"{' and '.join(optimizers)} lists them and keeps no moments for them, while it does "
            f"for others; {len(dead)} of them are dead biases"
        ),
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
