"""Parameters that stay as they are from checkpoint to checkpoint while their neighbours train.

## What it does
`sacdoctor history` reports weights and biases that are identical in all checkpoints of a run,
though the counter of updates grew and other tensors of the same optimizer moved. It needs no
optimizer state. Where a checkpoint of the run holds that state, SD202, SD203 and the causes of
the biases say more, and this rule is silent; a whole network that stands still is SD210's.

## Why is this bad
The layer keeps its initial values for ever. Which of three causes it has, the movement cannot tell:
it is not in the optimizer, it has no gradient, or all its gradients are zero. If you froze it on
purpose, all is well; the severity is notice unless biases are dead.

## Example
Checkpoints saved without their optimizers, by a policy that creates layers after its optimizer.

## Use instead
Save a checkpoint with its optimizer (`model.save(path)`, nothing excluded) after some updates, and
`sacdoctor scan` it: the optimizer's entries and moments tell the three causes apart.

## Fix safety
`fix` can re-draw the biases; as long as nothing updates them, they stay as drawn.

## References
- PyTorch: `torch.optim.Adam` moves every parameter that ever had a gradient other than 0
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, worst


def check(run: RunFacts) -> Iterator[Finding]:
    """Yield one finding over all parameters that a whole run left as they were."""
    of_networks = {name for network in run.still.values() for name in network.tensors}
    still = [name for name in run.unmoved if name not in run.told and name not in of_networks]
    if not still:
        return
    dead = {
        layer.name: layer.severity
        for layer in run.layers
        if layer.severity and layer.cause is not Cause.NORMALISATION_INIT
    }
    named = next((name for name in still if name in dead), still[0])
    yield RULE.finding(
        worst([Severity.NOTICE, *(dead[name] for name in still if name in dead)]),
        f"{len(still):,} parameter{'s' if len(still) > 1 else ''} never moved",
        evidence=f"{named}: {run.unmoved[named].evidence}",
        remedy=(
            "If you did not freeze them: save a checkpoint with its optimizer and scan it, to see "
            "whether they are not in the optimizer, have no gradient, or only gradients of 0."
        ),
        tensors=tuple(still),
    )


RULE = Rule(
    code="SD207",
    name="never-updated",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING, Severity.NOTICE),
    checks=(Check(RunFacts, check),),
    about_zeros=True,
)
