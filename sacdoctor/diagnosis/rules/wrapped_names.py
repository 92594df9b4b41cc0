"""Names of tensors that say `_orig_mod.` or `module.`, which the loaded policy does not have.

## What it does
Reports a checkpoint of SB3 whose policy was saved while it, or a part of it, was wrapped: by
`torch.compile`, which adds `_orig_mod.` to names, or by `DataParallel`, which adds `module.`.
Wrappers that a policy or features extractor of your own may make itself are left alone, and so are
bare state dicts: what they load into is not known.

## Why is this bad
SB3's `load` makes the policy anew, without the wrapper, and then finds none of the wrapped names:
`RuntimeError: Missing key(s) in state_dict`. The weights themselves are sound.

## Example
`model.policy.actor = torch.compile(model.policy.actor)`, then `model.save(...)`: the file holds
`actor._orig_mod.mu.weight`, and the policy wants `actor.mu.weight`.

## Use instead
`model.policy.actor.compile()`, which wraps nothing, or unwrap before saving:
`model.policy.actor = model.policy.actor._orig_mod`.

## Fix safety
Safe: the names lose the wrapper, every other byte of the state dict stays. The optimizer counts
parameters in their order, which does not change.

## References
- PyTorch docs, `torch.compile` and `torch.nn.Module.compile`; `torch.nn.DataParallel`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wrapped import needless_wrappers
from sacdoctor.layers import unwrapped
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all names that SB3 will not find."""
    checkpoint = examination.facts.checkpoint
    wrappers = needless_wrappers(checkpoint)
    if not wrappers:
        return
    names = tuple(name for name in checkpoint.tensors if unwrapped(name, wrappers) != name)
    yield RULE.finding(
        Severity.CRITICAL,
        "SB3 cannot load it: names of its tensors carry a wrapper",
        evidence=(
            f"{len(names)} of {len(checkpoint.tensors)} names in policy.pth go through "
            f"{', '.join(sorted(wrappers))}, such as {names[0]}; the policy that SB3 makes has "
            f"{unwrapped(names[0], wrappers)}"
        ),
        remedy=(
            "`sacdoctor fix` takes the wrapper out of the names. Compile with `module.compile()`, "
            "which wraps nothing, or unwrap before model.save()."
        ),
    )


RULE = Rule(
    code="SD806",
    name="wrapped-names",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check),),
    cured_by=("fix",),
)
