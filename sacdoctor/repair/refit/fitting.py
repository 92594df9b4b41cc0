"""Moving a few variables down a loss, by Adam, and stopping where held-out rows say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sacdoctor.repair.refit.variables import Variables

BATCH = 256
Loss = Callable[[Tensor], Tensor]
"""The mean loss over these rows."""


def descend(
    variables: Variables,
    loss: Loss,
    rows: Tensor,
    stopping: Tensor,
    *,
    passes: int,
    rate: float,
    generator: torch.Generator,
    others: Sequence[Tensor] = (),
    blocks: Tensor | None = None,
) -> None:
    """Move the variables to where the loss over `stopping` was lowest on the way down.

    So many `passes` over `rows` are made; the rate falls from `rate` to a hundredth of it along a
    half cosine. `others` are moved, too, and belong to the loss alone. `blocks` as in `batches`.
    """
    with torch.no_grad():
        best, values = float(loss(stopping)), variables.values()
        kept = [other.clone() for other in others]
    with variables.free() as parameters:
        free = [*parameters, *others]
        optimizer = torch.optim.Adam(free, lr=rate)
        steps = passes * -(-len(rows) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 100)
        for _ in range(passes):
            for batch in batches(rows, generator, blocks):
                optimizer.zero_grad()
                loss(batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            with torch.no_grad():
                now = float(loss(stopping))
            if now < best:
                best, values = now, variables.values()
                kept = [other.detach().clone() for other in others]
    variables.put(values)
    with torch.no_grad():
        for other, value in zip(others, kept, strict=True):
            other.copy_(value)


def batches(
    rows: Tensor, generator: torch.Generator, blocks: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield all rows once, in a random order, `BATCH` at a time.

    Rows of the same of the `blocks` (n,) stay together, where there are any.
    """
    order = torch.randperm(len(rows), generator=generator)
    if blocks is not None:
        drawn = torch.randperm(int(blocks.max()) + 1, generator=generator)
        order = drawn[blocks].argsort(stable=True)
    yield from torch.split(rows[order], BATCH)
