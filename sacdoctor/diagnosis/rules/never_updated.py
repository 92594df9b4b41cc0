"""Parameters that stay as they are from checkpoint to checkpoint while their neighbours train.

## What it does
`sacdoctor history` reports weights and biases that are identical in all checkpoints of a run,
though the counter of updates grew and other tensors of the same optimizer moved. It needs no
optimizer state. Where a checkpoint of the run holds that state, SD202, SD203 and the causes of
the biases say more, and this rule is silent.

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

from collections.abc import Sequence

from sacdoctor.model import Finding
from sacdoctor.severity import Severity

CODE = "SD207"
NAME = "never-updated"


def finding(tensors: Sequence[str], evidence: str, severity: Severity) -> Finding:
    """Return the finding about parameters that a whole run left as they were."""
    return Finding(
        CODE,
        NAME,
        severity,
        tuple(tensors),
        f"{len(tensors):,} parameter{'s' if len(tensors) > 1 else ''} never moved",
        evidence,
        "If you did not freeze them: save a checkpoint with its optimizer and scan it, to see "
        "whether they are not in the optimizer, have no gradient, or only gradients of 0.",
    )
