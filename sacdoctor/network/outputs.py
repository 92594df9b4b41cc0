"""What an agent's networks say, gathered batch by batch, and the figures made of it.

Of each observation a few numbers are kept, whatever its own size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sacdoctor.diagnosis import NEAR, ActionActivity, ValueActivity
from sacdoctor.network.agents import Acting, Agent, Batch, Said, Target, Tensors

SAMPLE = 256
"""Observations that gradients are taken at."""
COMPARED = 1024
"""Observations at which other actions are tried."""
_OTHERS = 8
"""Other actions that are tried at each."""
MOST_INPUTS = 1024
"""Numbers of an observation up to which the sensitivity to each is worked out."""
MOST_OUTPUTS = 32
"""Outputs up to which a gradient of each is taken."""
FLAT = 9.01091
"""From here on tanh(x) is 1 in float32, and its gradient 0: artanh(1 − 2⁻²⁵)."""

Floats = NDArray[np.float64]


class Heard:
    """What one network said so far."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def add(self, said: Said) -> None:
        """Take in what it said of a batch."""
        if said.acting is not None:
            self._add_acting(said.acting)
        if said.values is not None:
            values = said.values.detach().double()
            self._keep("values", values.mean(dim=0))
            if len(values) > 1:
                self._keep("apart", values.amax(dim=0) - values.amin(dim=0))
            if said.effect is not None:
                self._keep("effect", said.effect)

    def _add_acting(self, acting: Acting) -> None:
        self._keep("chosen", acting.chosen)
        if acting.likelihood is not None:
            self._keep("likelihood", acting.likelihood)
        if acting.deviation is not None:
            self._keep("deviation", acting.deviation.expand_as(acting.chosen).mean(dim=1))
        if acting.mean is not None:
            self._keep("flat", (acting.mean.abs() >= FLAT).double().mean(dim=1))

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self._parts.setdefault(name, []).append(values.detach().cpu().numpy())

    def all(self, name: str) -> NDArray[Any] | None:
        """Return what was said under a name, a row for each observation."""
        parts = self._parts.get(name)
        return None if parts is None else np.concatenate(parts)

    def _mean(self, name: str) -> float | None:
        found = self.all(name)
        return None if found is None else float(found.mean())

    def actions(
        self, sensitivity: tuple[float, ...], random: float | None
    ) -> ActionActivity | None:
        """Return the figures of its actions, None where it chooses none.

        `sensitivity` is that to each input, `random` the share of steps without it.
        """
        chosen = self.all("chosen")
        if chosen is None:
            return None
        if chosen.dtype.kind != "f":
            return ActionActivity(
                commonest=_commonest(chosen),
                likeliest=self._mean("likelihood"),
                random=random,
                sensitivity=sensitivity,
            )
        chosen = chosen.astype(np.float64)
        return ActionActivity(
            spread=_each(chosen.std(axis=0)),
            lower=_each((chosen <= -NEAR).mean(axis=0)),
            upper=_each((chosen >= NEAR).mean(axis=0)),
            deviation=self._mean("deviation"),
            flat=self._mean("flat"),
            sensitivity=sensitivity,
        )

    def values(self, known: Outcomes | None, gradient: float | None) -> ValueActivity | None:
        """Return the figures of its values, None where it gives none.

        `gradient` is how far the action moves them, by their gradient; `known` what their targets
        are.
        """
        values = self.all("values")
        if values is None:
            return None
        size, deviation = float(np.abs(values).mean()), float(values.std())
        effect = self._mean("effect") if gradient is None else gradient
        apart = self._mean("apart")
        figures = ValueActivity(
            low=float(values.min()),
            high=float(values.max()),
            mean=float(values.mean()),
            size=size,
            action_effect=_share(effect, deviation),
            disagreement=_share(apart, deviation),
        )
        return figures if known is None else known.beside(figures, values)


def _each(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(values.tolist())


def _share(part: float | None, whole: float) -> float | None:
    return part / whole if part is not None and whole > 0.0 else None


def _commonest(chosen: NDArray[Any]) -> float:
    """Return the share of observations with the commonest choice; of several the most varied's."""
    return min(
        float(np.unique(column, return_counts=True)[1].max() / len(column)) for column in chosen.T
    )


class Outcomes:
    """What the next observations and the rewards make of the values: their targets.

    `discount` is γ; `entropy` what SAC multiplies entropy with.
    """

    def __init__(self, discount: float, entropy: float) -> None:
        self._discount, self._entropy = discount, entropy
        self._next: list[Floats] = []
        self._rewards: list[Floats] = []
        self._surprise = self._reward = 0.0
        self._added: list[tuple[Floats, Floats]] = []

    def add(self, batch: Batch, target: Target, added: Added | None) -> None:
        """Take in the targets of a batch whose rewards and ends are known."""
        assert batch.rewards is not None and batch.ends is not None
        values = target.values.detach().cpu().numpy().astype(np.float64)
        self._next.append(self._discount * (1.0 - batch.ends.cpu().numpy()) * values)
        rewards = batch.rewards.cpu().numpy().astype(np.float64)
        self._rewards.append(rewards)
        self._reward = max(self._reward, float(np.abs(rewards).max()))
        if added is not None:
            whole = rewards + self._next[-1]
            self._added.append((added.by_action, whole[added.rows] - added.without))
        if target.log_likelihood is not None:
            self._surprise = max(self._surprise, float(target.log_likelihood.abs().max()))

    def largest(self, reward: float | None) -> float | None:
        """Return the largest discounted sum of rewards, and of entropy besides.

        `reward` is the largest without sign; where it is None, the largest that was seen.
        """
        if not self._rewards or not 0.0 <= self._discount < 1.0:
            return None
        reward = self._reward if reward is None else reward
        return (reward + self._entropy * self._surprise) / (1.0 - self._discount)

    def beside(self, figures: ValueActivity, values: Floats) -> ValueActivity:
        """Return the figures with those of the targets, if there are any."""
        if not self._rewards:
            return figures
        later, rewards = np.concatenate(self._next), np.concatenate(self._rewards)
        target = rewards + later
        difference, implied = values - target, values - later
        root = float(np.sqrt(np.mean(difference**2)))
        if not rewards.std():  # the same at each step, as CartPole's: sizes and signs are left
            correlation, share = _cosine(implied, rewards), _share(_size(rewards), _size(implied))
        else:
            correlation = _correlation(implied, rewards)
            share = _share(float(rewards.std()), float(implied.std()))
        return figures._replace(
            residual=_share(float(np.abs(difference).mean()), float(np.abs(target).mean())),
            correlation=_correlation(values, target),
            error=_share(root, float(target.std())),
            reward_correlation=correlation,
            reward_share=share,
            action_correlation=self._of_actions(),
        )

    def _of_actions(self) -> float | None:
        if not self._added:
            return None
        by_action, by_target = (np.concatenate(parts) for parts in zip(*self._added, strict=True))
        return _correlation(by_action, by_target)


class Added(NamedTuple):
    """What actions add to values, of some rows of a batch: `without` is the mean over others."""

    rows: slice
    by_action: Floats
    without: Floats


def added_by_actions(agent: Agent, batch: Batch, start: int, step: int) -> Added | None:
    """Return what each action adds to the critic's value, against actions of other observations.

    Of every `step`-th row from `start` on; None where they are few, or no critic takes actions.
    """
    some = thinned(batch, start, step)
    if some.actions is None or len(some.actions) <= _OTHERS:
        return None
    with torch.no_grad():
        tried = [
            agent.values_of(some._replace(actions=some.actions.roll(turn, 0)))
            for turn in range(_OTHERS + 1)
        ]
    values = [one.mean(dim=0).cpu().numpy().astype(np.float64) for one in tried if one is not None]
    if not values:
        return None
    without = np.mean(values[1:], axis=0)
    return Added(slice(start, None, step), values[0] - without, without)


def _correlation(first: Floats, second: Floats) -> float | None:
    return _cosine(first - first.mean(), second - second.mean())


def _cosine(first: Floats, second: Floats) -> float | None:
    sizes = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / sizes if sizes > 0.0 else None


def _size(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


# -- gradients ---------------------------------------------------------------------------------


def sensitivity(work: Callable[[Batch], Said], batch: Batch) -> tuple[float, ...]:
    """Return how far each number of the observation moves what an actor says.

    The mean norm of the gradient, times the number's standard deviation. Empty for observations
    that are no floats, or large.
    """
    given = batch.observations
    entries = [*given.values()] if isinstance(given, dict) else [given]
    inputs = [e for e in entries if e.dtype.is_floating_point and e[0].numel() <= MOST_INPUTS]
    if not inputs or len(inputs) != len(entries):
        return ()
    with torch.enable_grad():
        for each in inputs:
            each.requires_grad_(True)
        said = work(batch).acting
        if said is None or said.moved.shape[1] > MOST_OUTPUTS or not said.moved.requires_grad:
            return ()
        squares = [torch.zeros_like(each) for each in inputs]
        for column in said.moved.T:
            gradients = torch.autograd.grad(
                column.sum(), inputs, retain_graph=True, allow_unused=True
            )
            for square, gradient in zip(squares, gradients, strict=True):
                if gradient is not None:
                    square += gradient**2
    found: list[float] = []
    for each, square in zip(inputs, squares, strict=True):
        deviation = each.detach().flatten(start_dim=1).std(dim=0, correction=0)
        found += (square.sqrt().flatten(start_dim=1).mean(dim=0) * deviation).tolist()
    return tuple(found)


def action_effect(agent: Agent, batch: Batch) -> float | None:
    """Return how far an action moves the critic's values when it goes through half of its range.

    The mean over observations of the sum of the gradients' sizes; None where no critic takes it.
    """
    if batch.actions is None:
        return None
    with torch.enable_grad():
        actions = batch.actions.clone().requires_grad_(True)
        values = agent.values_of(batch._replace(actions=actions))
        if values is None or not values.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(values.mean(dim=0).sum(), actions, allow_unused=True)
    return 0.0 if gradient is None else float(gradient.abs().sum(dim=1).mean())


def thinned(batch: Batch, start: int, step: int) -> Batch:
    """Return every `step`-th observation of a batch, with the actions and masks beside it."""
    return Batch(
        _thinned(batch.observations, start, step),
        actions=None if batch.actions is None else batch.actions[start::step].detach(),
        masks=None if batch.masks is None else batch.masks[start::step],
    )


def _thinned(given: Tensors, start: int, step: int) -> Tensors:
    if isinstance(given, dict):
        return {key: value[start::step].detach().clone() for key, value in given.items()}
    return given[start::step].detach().clone()


def joined(batches: list[Batch]) -> Batch:
    """Return batches as one, each without rewards."""

    def together(values: list[Any]) -> Any:
        return None if values[0] is None else torch.cat(values)

    first = batches[0].observations
    if isinstance(first, dict):
        observations: Tensors = {
            key: torch.cat([batch.observations[key] for batch in batches]) for key in first
        }
    else:
        observations = torch.cat([batch.observations for batch in batches])
    return Batch(
        observations,
        actions=together([batch.actions for batch in batches]),
        masks=together([batch.masks for batch in batches]),
    )
