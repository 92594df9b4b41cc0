"""Elements of biases that were zero when watching began and never were anything else.

SB3's policies start biases at 0, and a unit that no observation activates keeps its 0: that is how
it was made, not damage. Whether an element ever was something else shows in the values, looked at
in every check, and in what its optimizer keeps of all gradients since it was made.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch as th
from torch import nn

from sacdoctor.diagnosis import LEAST_UPDATES, decayed_start
from sacdoctor.optimizers import STEP, TELLING_MOMENTS
from sacdoctor.training.live import LiveModel, is_target

_KNOWN = ("stable_baselines3.", "sb3_contrib.", "torch.")
"""Packages whose layers start as they say."""


class Untouched:
    """The elements of a model's biases that still are the zeros they were at the start."""

    def __init__(self) -> None:
        self._known: dict[int, nn.Parameter] = {}  # held, so that an id stays that of its bias
        self._zeros: dict[int, th.Tensor] = {}

    def look(self, live: LiveModel) -> None:
        """Take in the values of now; of a bias that was not there before, as its start.

        Of a model that was trained before, zeros may be damage already: see `_may_start_at_zero`.
        """
        is_first = not self._known
        for name, bias in live.biases.items():
            if id(bias) not in self._known:
                self._known[id(bias)] = bias
                if not is_first or not live.was_updated or _may_start_at_zero(live, name):
                    self._zeros[id(bias)] = bias.detach() == 0
            elif (zeros := self._zeros.get(id(bias))) is not None:
                zeros &= bias.detach() == 0

    def forget(self, bias: nn.Parameter) -> None:
        """Take it that no element of a bias is zero."""
        self._zeros.pop(id(bias), None)

    def of(self, live: LiveModel, name: str) -> th.Tensor:
        """Return which elements of the bias `name` never were anything but zero.

        A target network is a copy: where its online counterpart is zero, that one decides.
        """
        bias = live.parameters[name]
        zeros = self._zeros.get(id(bias))
        if zeros is None or zeros.shape != bias.shape:
            return th.zeros_like(bias, dtype=th.bool)
        online = live.counterpart(name)
        if online is not None:
            damaged = (live.parameters[online].detach() == 0) & ~self.of(live, online)
            return zeros & ~damaged
        return zeros & ~reached(live, bias)


def _may_start_at_zero(live: LiveModel, name: str) -> bool:
    """Return whether a bias that is exactly 0 may be what made it.

    SB3 starts the biases of some algorithms at 0, PyTorch draws the others, and no exact zero is
    among them. What layers of one's own start from is not known.
    """
    if live.algorithm is None or live.algorithm.biases_start_at_zero:
        return True
    classes = (type(module).__module__ for module in live.holders(name))
    return not all(place.startswith(_KNOWN) for place in classes)


def reached(live: LiveModel, parameter: nn.Parameter) -> th.Tensor:
    """Return to which elements a gradient other than 0 ever came, as far as that shows.

    It shows in what the optimizers keep, a second moment or momentum; where they keep nothing, in
    the gradient of the last update.
    """
    found = th.zeros_like(parameter, dtype=th.bool)
    for label in live.owners.get(id(parameter), ()):
        found |= _reached_through(live.optimizers[label], parameter)
    return found


def layer_has_died(live: LiveModel, name: str) -> bool:
    """Return whether nothing trains any parameter of the layer that the bias `name` is in.

    That is so where its optimizer made updates enough, and no parameter of it ever had a gradient,
    or is in no optimizer at all.
    """
    name = live.counterpart(name) or name
    layer = live.roles[name].layer
    members = [
        parameter
        for other, parameter in live.parameters.items()
        if live.roles[other].layer == layer and parameter.requires_grad and not is_target(other)
    ]
    if live.updates_without_optimizer or not members:
        return False
    return all(
        not live.owners.get(id(member), ())
        or (_had_its_turn(live, member) and not bool(reached(live, member).any()))
        for member in members
    )


def _had_its_turn(live: LiveModel, parameter: nn.Parameter) -> bool:
    """Return whether an optimizer that holds it has made updates enough to judge by."""
    return any(
        max((_step(kept) for kept in live.optimizers[label].state.values()), default=0)
        >= LEAST_UPDATES
        for label in live.owners.get(id(parameter), ())
    )


def _reached_through(optimizer: th.optim.Optimizer, parameter: nn.Parameter) -> th.Tensor:
    kept = optimizer.state.get(parameter) or {}
    for key in TELLING_MOMENTS:
        moment = kept.get(key)
        if isinstance(moment, th.Tensor) and moment.shape == parameter.shape:
            left = decayed_start(key, _options(optimizer, parameter), _step(kept))
            if left is None:
                return moment != 0
            start, rounding = left
            return (moment != 0) & ((moment - start).abs() > rounding)
    if parameter.grad is None or parameter.grad.is_sparse:
        return th.zeros_like(parameter, dtype=th.bool)
    return parameter.grad != 0


def _options(optimizer: th.optim.Optimizer, parameter: nn.Parameter) -> Mapping[str, object]:
    groups = optimizer.param_groups
    return next(g for g in groups if any(each is parameter for each in g["params"]))


def _step(kept: Mapping[str, object]) -> int:
    step = kept.get(STEP, LEAST_UPDATES if kept else 0)
    return int(step) if isinstance(step, (int, float, th.Tensor)) else LEAST_UPDATES
