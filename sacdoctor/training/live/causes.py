"""Why a bias of a live model is zero, told from its gradient and from what its optimizer keeps."""

from __future__ import annotations

import torch as th
from torch import nn

from sacdoctor.diagnosis import Attribution
from sacdoctor.model import Cause
from sacdoctor.optimizers import TELLING_MOMENTS, Optimizer, optimizer_among
from sacdoctor.training.live.model import LiveModel, is_target, parameters_of


def cause_of(live: LiveModel, name: str, dead: th.Tensor | None = None) -> Attribution:
    """Return why the bias `name`, some of whose elements are zero, is so.

    `dead` has its shape and says which zeros are in question, None for all. The causes are those of
    a scan, in the same order; a live model has more evidence: identity instead of shapes,
    `requires_grad`, and the gradient of the last update.
    """
    parameter = live.parameters[name]
    if not live.was_updated:
        return Attribution(
            Cause.UNTRAINED, "no update has taken place: the zeros are initial values"
        )
    dead = parameter == 0 if dead is None else dead
    online = live.counterpart(name)
    if online is not None:
        return _of_target(live, name, online, dead)
    if is_target(name):
        return _unknown("it belongs to a target network without an online counterpart")
    if live.updates_without_optimizer:
        return _unknown(f"{live.called} updates its policy without an optimizer")
    if not parameter.requires_grad:
        return Attribution(Cause.NO_GRADIENT, "it is frozen: its requires_grad is False")
    owners = live.owners.get(id(parameter), ())
    if not owners:
        held = sum(any(id(p) == key for key in live.owners) for p in live.parameters.values())
        return Attribution(
            Cause.NOT_IN_OPTIMIZER,
            f"{held:,} of the {len(live.parameters):,} parameters are in "
            f"{' or '.join(live.optimizers) or 'an optimizer'}, and this one is not",
        )
    stepped = [owner for owner in owners if live.has_stepped(owner)]
    if not stepped:
        return Attribution(Cause.UNTRAINED, f"{' and '.join(owners)} has made no step yet")
    return _of_gradients(live.optimizers[stepped[0]], stepped[0], parameter, dead)


def _of_target(live: LiveModel, name: str, online: str, dead: th.Tensor) -> Attribution:
    both = int((dead & (live.parameters[online] == 0)).sum())
    zeros = int(dead.sum())
    if 2 * both < zeros:
        if not live.targets_have_followed:
            return Attribution(Cause.UNTRAINED, "it has not followed its online counterpart yet")
        return Attribution(
            Cause.TARGET_OUT_OF_SYNC,
            f"{online} is not zero in {zeros - both:,} of the {zeros:,} elements that are zero "
            "here",
        )
    attribution = cause_of(live, online)
    return Attribution(
        attribution.cause, f"as its online counterpart {online}: {attribution.evidence}"
    )


def _of_gradients(
    optimizer: th.optim.Optimizer, label: str, parameter: nn.Parameter, dead: th.Tensor
) -> Attribution:
    """Judge by the last update's gradient, and by the sum of all of them.

    SB3 clears gradients just before the next backward pass, so those of the last update are there
    between updates; after loading, or a skipped step, there are none at all.
    """
    others = list(parameters_of(optimizer))
    gradient, kept = parameter.grad, optimizer.state.get(parameter) or {}
    if gradient is None and any(other.grad is not None for other in others):
        return Attribution(
            Cause.NO_GRADIENT,
            f"its gradient is None after an update, that of others in {label} is not",
        )
    if not kept and any(optimizer.state.values()):
        return Attribution(
            Cause.NO_GRADIENT,
            f"{label} keeps moments for others and none for it: its gradient was always None",
        )
    if gradient is None and not kept:
        if any(other.grad is not None for other in others) or _keeps_nothing(optimizer):
            return _unknown(f"{label} keeps no moments, and there is no gradient to look at")
        return Attribution(Cause.NO_GRADIENT, f"no parameter of {label} has had a gradient")
    zeros = int(dead.sum())
    key, moment = next(((k, kept[k]) for k in TELLING_MOMENTS if k in kept), ("", None))
    if isinstance(moment, th.Tensor) and moment.shape == parameter.shape:
        still = int((moment[dead] == 0).sum())
        if 2 * still > zeros:
            return Attribution(
                Cause.ZERO_GRADIENT,
                f"its {key} in {label} is exactly 0 in {still:,} of the {zeros:,} elements that "
                "are zero: every gradient that came was 0",
            )
    if gradient is not None:
        still = int((gradient[dead] == 0).sum())
        # Where moments show earlier gradients, one batch in which some units rest proves nothing.
        if 2 * still > zeros and not (kept and bool(gradient.any())):
            return Attribution(
                Cause.ZERO_GRADIENT,
                f"its gradient in the last update is exactly 0 in {still:,} of the {zeros:,} "
                "elements that are zero",
            )
    elif (row := _row(optimizer)) is not None and row.starts_at_one:
        return _unknown(f"its {key} in {label} started at 1 and may hide that no gradient came")
    return Attribution(
        Cause.RESET_AFTER_TRAINING,
        f"gradients reach it through {label}: it was trained, then something set "
        f"{zeros:,} elements to 0",
    )


def _row(optimizer: th.optim.Optimizer) -> Optimizer | None:
    return optimizer_among(cls.__name__ for cls in type(optimizer).__mro__)


def _keeps_nothing(optimizer: th.optim.Optimizer) -> bool:
    """Return whether it is one without a second moment, with its momentum off: plain SGD."""
    row = _row(optimizer)
    return row is not None and row.second_moment is None and not optimizer.defaults.get("momentum")


def _unknown(evidence: str) -> Attribution:
    return Attribution(Cause.UNKNOWN, evidence)
