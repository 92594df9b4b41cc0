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
With SAC and TD3 it is `self.actor.optimizer` over `self.actor.parameters()`, and the critic's
likewise; with DQN it is `self.optimizer` over `self.q_net.parameters()`.

A checkpoint of the old policy does not load into the new one: its optimizer has too few entries.
`sacdoctor fix MODEL.zip --complete-optimizer` writes a copy that has them all:
```python
model = RecurrentPPO.load("MODEL_FIXED.zip", env=env)
```

If no checkpoint is to be kept, the layers may as well be created in `_build`, before calling
`super()._build(lr_schedule)`. They come in another order then, which `--complete-optimizer` does
not know.

## Fix safety
`fix` alone re-draws the biases, and it will not last: nothing trains them before the policy's code
is corrected. `--complete-optimizer` gives the missing parameters their place, and every moment
stays with its parameter, bit for bit. The copy loads into the corrected policy only. Where the file
does not prove which entry is whose, nothing is written.

## References
- SB3: `ActorCriticPolicy._build` creates the optimizer; docs, "Custom Policy Network"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all parameters outside the optimizers."""
    facts = examination.facts
    parameters = facts.parameters
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
        remedy=_remedy(outside, facts),
        tensors=tuple(outside),
    )


def _remedy(outside: list[str], facts: Facts) -> str:
    """Return the lines of policy code that bring the tensors into their optimizers, and then what
    brings the checkpoint after them."""
    if any(state.parts is not None for state in facts.policy_optimizers.values()):
        return f"Give them to an optimizer once all layers exist, and train on.\n{_REDRAWN}"
    # Few checkpoints have this finding, and only they need it.
    from sacdoctor.diagnosis.completion import home_of, loading_call, open_questions

    homes = {home_of(name, facts) for name in outside}
    lines = [
        line
        for optimizer in facts.policy_optimizers
        if optimizer in homes
        for line in _made_last(optimizer, facts)
    ]
    if not lines:
        return f"Add them to an optimizer in the policy's __init__.\n{_REDRAWN}"
    lines.insert(0, "Once all layers exist, at the end of the policy's __init__, write:")
    questions = open_questions(facts)
    if questions is None:
        return "\n".join([*lines, _REDRAWN])
    lines.append("The checkpoint loads into that policy once its optimizer is completed:")
    asked = "".join(f" --buffer '{name}'" for name in questions)
    lines.append(f"    sacdoctor fix MODEL.zip --complete-optimizer{asked}")
    if questions:
        lines.append("    (--parameter in place of --buffer for what is a parameter)")
    call = loading_call(facts, "MODEL_FIXED.zip")
    return "\n".join([*lines, *([f"    {call}"] if call else [])])


def _made_last(optimizer: str, facts: Facts) -> tuple[str, str]:
    """Return the lines that make an optimizer of SB3's once more, over the same network."""
    from sacdoctor.diagnosis.completion import left_to_others

    place = "" if optimizer == "policy.optimizer" else optimizer.removesuffix("optimizer")
    network = place
    if not place and facts.algorithm is not None and facts.algorithm.targets:
        network = f"{facts.algorithm.targets[0]}."  # DQN's; its target is not trained
    parameters = f"self.{network}parameters()"
    if left_to_others(optimizer, facts):
        named = f"self.{network}named_parameters()"
        parameters = f'[p for n, p in {named} if "features_extractor" not in n]'
    return (
        f"    self.{place}optimizer = self.optimizer_class(",
        f"        {parameters}, lr=lr_schedule(1), **self.optimizer_kwargs)",
    )


_REDRAWN = "Re-drawing the biases will not last: nothing trains them."


RULE = Rule(
    code="SD202",
    name="not-in-optimizer",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check),),
    cured_by=("fix --complete-optimizer",),
    needs_optimizers=True,
    about_zeros=True,
)
