"""Parameters that no optimizer updates, because it was created before they were.

## What it does
Reports weights and biases that have no entry in any optimizer of the checkpoint, though others
have. Which tensors the entries belong to follows from the order and the shapes of the moments;
where several tensors fit, none is reported.

## Why is this bad
They keep their initial values for ever, whatever the learning rate: the layer computes, gradients
are even computed for it, and nothing applies them. In SB3 the constructors of the policies create
the optimizer at their end, so every layer that a subclass adds after `super().__init__()` is
missing from it, silently. With clipping it is worse: `clip_grad_norm_` runs over all parameters
and `zero_grad` only over the optimizer's, so the gradients of the missing layers pile up and eat
the budget of the others.

## Example
```python
class TwoHeadPolicy(RecurrentActorCriticPolicy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)  # creates self.optimizer
        self.entry_head = EntryHead()      # too late: never trained
```

## Use instead
Create the optimizer anew once all layers exist, at the end of the constructor:
```python
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )
```
or create the layers in `_build`, before calling `super()._build(lr_schedule)`.

## Fix safety
`fix` can re-draw the biases, and it will not last: nothing trains them. Only the policy's code can
cure this.

## References
- SB3: `ActorCriticPolicy._build` creates the optimizer; docs, "Custom Policy Network"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all parameters outside the optimizers."""
    facts = examination.facts
    parameters = facts.parameters()
    names = {layer.name for layer in examination.layers}
    known = {facts.anatomy.roles[n].layer for n in parameters if n in facts.coverage.slots}
    # A lone tensor beside trained ones of its own layer may as well be a buffer.
    outside = [
        name
        for name in parameters
        if name in facts.coverage.outside
        and name in names
        and facts.anatomy.roles[name].layer not in known
    ]
    if not outside or facts.is_untrained or facts.updates_by_other_means:
        return
    layers = {facts.anatomy.roles[name].layer for name in outside}
    entries = sum(len(state.entries) for state in facts.policy_optimizers.values())
    yield RULE.finding(
        Severity.CRITICAL,
        f"{len(outside)} parameters in {len(layers)} layers are in no optimizer and never learn",
        evidence=(
            f"the optimizers have {entries:,} entries, all of them for other tensors "
            f"({', '.join(facts.policy_optimizers)})"
        ),
        remedy=_remedy(outside, list(facts.policy_optimizers)),
        tensors=tuple(outside),
    )


def _remedy(outside: list[str], optimizers: list[str]) -> str:
    """Return the lines of policy code that bring the tensors into their optimizers."""
    lines: list[str] = []
    for optimizer in optimizers:
        part = optimizer.removesuffix("optimizer")
        if optimizer == "policy.optimizer":
            part = ""
        elif not part.endswith(".") or not any(name.startswith(part) for name in outside):
            continue
        lines += [
            f"    self.{part}optimizer = self.optimizer_class(",
            f"        self.{part}parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)",
        ]
    how = "Add them to an optimizer in the policy's __init__."
    if lines:
        how = "\n".join(
            ["Once all layers exist, at the end of the policy's __init__, write:", *lines]
        )
    return f"{how}\nRe-drawing the biases will not last: nothing trains them."


RULE = Rule(
    code="SD202",
    name="not-in-optimizer",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
)
