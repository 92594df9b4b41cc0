"""Layers that no gradient reached between two checks, though their optimizer went on.

Two things show it together: the gradient of the last update is None or exactly 0, and the second
moment shrank by its decay alone. Adam's and RMSprop's are sums of squares, so whatever had come
would be in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import torch as th
from msgspec import Struct
from torch import nn

from sacdoctor.diagnosis import LEAST_UPDATES
from sacdoctor.diagnosis.rules import rule_named
from sacdoctor.layers import Kind
from sacdoctor.model import Cause, Finding
from sacdoctor.optimizers import SECOND_MOMENTS, STEP, decay_of
from sacdoctor.severity import Severity
from sacdoctor.training.live import LiveModel, is_target, listed, parameters_of

_EXACT = 1e-5
"""How far, relatively, a decayed sum may be from what it should be, beside float32's rounding of
each step."""


class _Kept(Struct, frozen=True):
    """Of one parameter in one optimizer: its updates, the sum of its second moment, the decay."""

    step: float
    squares: float
    decay: float


class _Look(Struct, frozen=True):
    """What one look saw: the silent layers with their cause, and what optimizers kept of them.

    `steps` are those that the busiest optimizer had taken: PPO's counter of updates counts epochs.
    """

    steps: int
    silent: Mapping[str, Cause]
    kept: Mapping[tuple[str, int], _Kept]


class SilentLayers:
    """Finds layers that are silent in two looks and all updates between them."""

    def __init__(self) -> None:
        self._before: _Look | None = None
        self._told: set[str] = set()

    def look(self, live: LiveModel, told: Collection[str] = ()) -> Iterator[Finding]:
        """Look at the gradients of now; yield a finding per cause over layers that are news.

        Those that were `told` of otherwise are left out. Where the policy changes without its
        optimizer, as TRPO's does, gradients say nothing.
        """
        if live.updates_without_optimizer:
            return
        before, taken = self._before, _steps_taken(live)
        if before is not None and 0 <= taken - before.steps < LEAST_UPDATES:
            return
        layers = _layers(live)
        silent = {
            layer: cause
            for layer, names in layers.items()
            if (cause := _why_silent(live, names)) is not None
        }
        members = [name for layer in silent for name in layers[layer]]
        now = _Look(taken, silent, dict(_kept(live, members)))
        self._before = now
        self._told &= silent.keys()
        if before is None:
            return
        for cause in (Cause.NO_GRADIENT, Cause.ZERO_GRADIENT):
            lasting = [
                layer
                for layer, found in silent.items()
                if found is cause
                and before.silent.get(layer) is cause
                and _was_silent(live, layers[layer], before, now)
            ]
            if news := [layer for layer in lasting if layer not in {*self._told, *told}]:
                self._told.update(lasting)
                yield _finding(live, news, layers, cause, now.steps - before.steps)


def _steps_taken(live: LiveModel) -> int:
    kept = (state for of in live.optimizers.values() for state in of.state.values())
    return max((int(state[STEP]) for state in kept if STEP in state), default=live.n_updates)


def _layers(live: LiveModel) -> dict[str, list[str]]:
    """Return the parameters, by name, of every layer that an optimizer trains."""
    layers: dict[str, list[str]] = {}
    for name, parameter in live.parameters.items():
        if parameter.requires_grad and id(parameter) in live.owners and not is_target(name):
            layers.setdefault(live.roles[name].layer, []).append(name)
    return layers


def _why_silent(live: LiveModel, names: Iterable[str]) -> Cause | None:
    """Return why the last update had no gradient for any of these, None where it had or may have.

    Where no parameter of the optimizer has a gradient, they were cleared: that says nothing.
    """
    parameters = [live.parameters[name] for name in names]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        is_zero = all(not g.is_sparse and not bool(g.any()) for g in gradients)
        return Cause.ZERO_GRADIENT if is_zero else None
    others = (
        other
        for label in live.owners[id(parameters[0])]
        for other in parameters_of(live.optimizers[label])
    )
    return Cause.NO_GRADIENT if any(other.grad is not None for other in others) else None


def _was_silent(live: LiveModel, names: Iterable[str], before: _Look, now: _Look) -> bool:
    """Return whether second moments, where there are any, show no gradient between two looks."""
    for name in names:
        for label in live.owners[id(live.parameters[name])]:
            old = before.kept.get((label, id(live.parameters[name])))
            new = now.kept.get((label, id(live.parameters[name])))
            if new is None:
                continue
            if old is None:  # it was not silent, or had no state
                return False
            steps = new.step - old.step
            left = old.squares * new.decay**steps
            rounding = _EXACT + 2 * steps * th.finfo(th.float32).eps
            if steps < 0 or abs(new.squares - left) > rounding * left:
                return False
    return True


def _kept(live: LiveModel, names: Iterable[str]) -> Iterator[tuple[tuple[str, int], _Kept]]:
    for name in names:
        parameter = live.parameters[name]
        for label in live.owners[id(parameter)]:
            optimizer = live.optimizers[label]
            state = optimizer.state.get(parameter) or {}
            for key in SECOND_MOMENTS:
                moment, options = state.get(key), _options(optimizer, parameter)
                decay = decay_of(key, options)
                if isinstance(moment, th.Tensor) and decay is not None:
                    squares = float(moment.sum(dtype=th.float64))
                    yield (label, id(parameter)), _Kept(float(state.get(STEP, 0)), squares, decay)


def _options(optimizer: th.optim.Optimizer, parameter: nn.Parameter) -> Mapping[str, object]:
    groups = optimizer.param_groups
    return next(g for g in groups if any(each is parameter for each in g["params"]))


def _finding(
    live: LiveModel,
    news: list[str],
    layers: Mapping[str, list[str]],
    cause: Cause,
    updates: int,
) -> Finding:
    number = f"{len(news)} layer{'s' if len(news) > 1 else ''}"
    how = "None" if cause is Cause.NO_GRADIENT else "exactly 0"
    starved = _starved_by(live, news[-1], layers)
    evidence = f"every gradient of the last {updates:,} updates was {how}"
    if starved is not None:
        evidence += (
            f"; all that {news[-1]} passes on is 0, as {starved} has a gradient in its bias and "
            "none in its weight: its ReLU never fires"
        )
        remedy = "go back to a checkpoint from before, with a smaller learning rate"
    else:
        remedy = "look for detach(), a branch times zero, and outputs that are saturated"
    return rule_named(cause.value).finding(
        Severity.CRITICAL,
        f"no gradient reaches {number} ({listed(news)})",
        evidence=evidence,
        remedy=remedy,
        tensors=tuple(name for layer in news for name in layers[layer]),
    )


def _starved_by(live: LiveModel, layer: str, layers: Mapping[str, list[str]]) -> str | None:
    """Return a layer that gets nothing but zeros from `layer`, None where none shows that.

    A weight's gradient is that of its layer's outputs times its inputs, a bias's that of the
    outputs alone: where only the first is 0, so is all that comes in.
    """
    units = _weight(live, layers[layer])
    if units is None:
        return None
    for other, names in layers.items():
        weight = _weight(live, names)
        bias = next((live.parameters[n] for n in names if live.roles[n].role == "bias"), None)
        if weight is None or bias is None or weight.shape[1] % units.shape[0]:
            continue
        if weight.grad is None or bias.grad is None or bool(weight.grad.any()):
            continue
        if bool(bias.grad.any()):
            return other
    return None


def _weight(live: LiveModel, names: Iterable[str]) -> nn.Parameter | None:
    return next(
        (
            live.parameters[name]
            for name in names
            if live.roles[name].role == "weight"
            and live.roles[name].kind in (Kind.LINEAR, Kind.CONV)
        ),
        None,
    )
