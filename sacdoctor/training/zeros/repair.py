"""The repair of a live model's dead biases: which get new values, and which are left, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch as th

from sacdoctor.diagnosis import OUTLAST_REPAIR
from sacdoctor.layers import Kind
from sacdoctor.repair import describe
from sacdoctor.training.live import LiveModel, is_target
from sacdoctor.training.zeros.bias_tensors import can_be_drawn, clear_moments, drawn, revive
from sacdoctor.training.zeros.checks import DeadBias, Repair
from sacdoctor.training.zeros.own_buffer import Fitted

Refit = Callable[[Mapping[str, th.Tensor]], Mapping[str, Fitted]]
"""Returns values for dead elements, by the bias's name; what it has none for is drawn."""
MOST_REPAIRS = 3
"""Times that one tensor is repaired: what sets it to zero again and again needs another remedy."""


def repair(
    live: LiveModel,
    dead: Iterable[tuple[DeadBias, th.Tensor]],
    earlier: Mapping[str, int],
    seed: int,
    refit: Refit | None = None,
) -> tuple[tuple[Repair, ...], dict[str, str]]:
    """Give the dead elements of `dead` new values; return what was done, and why the rest is left.

    With each bias comes which of its elements are dead. `earlier` says how often a bias was
    repaired before in this training; `seed` is that of the draws. What `refit` finds for them goes
    before those. What optimizers keep for the elements is cleared.
    """
    dead = [*dead]
    wanted = {
        bias.name: elements
        for bias, elements in dead
        if live.counterpart(bias.name) is None
        and _why_left(live, bias, earlier.get(bias.name, 0)) is None
    }
    fitted = refit(wanted) if refit is not None and wanted else {}
    repaired: list[Repair] = []
    left: dict[str, str] = {}
    # Online first: a target network takes over what its counterpart was given.
    for bias, elements in sorted(dead, key=lambda each: live.counterpart(each[0].name) is not None):
        reason = _why_left(live, bias, earlier.get(bias.name, 0))
        if reason is None:
            done = _revived(live, bias, elements, seed, fitted.get(bias.name))
            if done.elements:
                repaired.append(done)
            else:
                reason = f"{live.counterpart(bias.name)} is zero there too"
        if reason is not None:
            left[bias.name] = reason
    return tuple(repaired), left


def _why_left(live: LiveModel, bias: DeadBias, times: int) -> str | None:
    if live.keeps_its_own_weights:
        return f"{live.called} overwrites the policy with weights of its own"
    if not live.parameters[bias.name].requires_grad and not is_target(bias.name):
        return "it is frozen"
    if bias.kind == Kind.NORM.value:
        return "a normalisation's bias starts at 0.0 and is left there"
    if not can_be_drawn(live.parameters[bias.name]):
        return f"{live.parameters[bias.name].dtype} values are not re-drawn"
    if times and not _lasts(bias):
        return "it was repaired once, and nothing trains it"
    if times >= MOST_REPAIRS:
        return f"it was repaired {times} times, and something sets it to zero again"
    return None


def _revived(
    live: LiveModel, bias: DeadBias, dead: th.Tensor, seed: int, fitted: Fitted | None
) -> Repair:
    name, parameter = bias.name, live.parameters[bias.name]
    online = live.counterpart(name)
    if online is not None:
        mask = revive(parameter, live.parameters[online], dead)
        by, fill = "online", f"the value of {online}"
    else:
        by, fill = "reinit", describe(live.roles[name])
        mask = th.zeros_like(dead)
        if fitted is not None:
            mask = revive(parameter, fitted.values, dead)
            by, fill = "refit", fitted.fill
        mask |= revive(parameter, drawn(live.roles[name], parameter, seed), dead)
    elements = int(mask.sum())
    cleared = tuple(
        label
        for label, optimizer in live.optimizers.items()
        if elements and clear_moments(optimizer, parameter, mask, elements == parameter.numel())
    )
    return Repair(name, elements, by, fill, _lasts(bias), cleared)


def _lasts(bias: DeadBias) -> bool:
    """Return whether new values are trained on: the cause does not outlast the repair."""
    return bias.cause not in OUTLAST_REPAIR
