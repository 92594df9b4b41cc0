"""What critics say of recorded transitions, and what they should say, for each of SB3's.

The targets are λ-returns, cut where an action is not one that the policy would take (Watkins 1989;
Munos et al. 2016, "Safe and Efficient Off-Policy Reinforcement Learning"): each step of the fit
brings a whole episode's rewards back, where a one-step target brings one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sacdoctor.repair.refit.actors import Greedy, Policy
from sacdoctor.repair.refit.proof import gain
from sacdoctor.repair.refit.recorded import Observations, Recorded, at

LAMBDA = 0.95
_UNLIKELY = 5.0
"""Nats below the median likelihood, times the root of the action's numbers, from which on an action
is not the policy's own: 3.2 standard deviations of a Gaussian."""
DRAWS = 8
"""Actions that are drawn for each observation, to see how far a critic tells them apart."""
_AT_ONCE = 4096
"""Rows that networks look at together."""


class Ahead(NamedTuple):
    """What a critic expects from the next observations on.

    `value` (n,): with what the entropy of the next action adds, `bonus` (n,). `spread` (n, q): how
    its quantiles lie around the value; zeros, (n, 1), for a critic without.
    """

    value: Tensor
    bonus: Tensor
    spread: Tensor


class Critic(Protocol):
    """A critic that can be fitted. `module` has its parameters."""

    module: nn.Module
    gamma: float

    def estimates(self, recorded: Recorded, rows: Tensor) -> Tensor:
        """Return what each net says of the recorded actions, shape (n, nets, quantiles)."""

    def ahead(self, recorded: Recorded, rows: Tensor) -> Ahead:
        """Return what it expects behind these rows."""

    def trusted(self, recorded: Recorded) -> Tensor:
        """Return whether each recorded action is one that the policy would take, shape (n,)."""


class OfActor:
    """The critics of SAC, TQC, CrossQ, TD3 and DDPG, which judge what their actor does."""

    def __init__(self, model: Any, policy: Policy, recorded: Recorded) -> None:
        self.module: nn.Module = model.critic
        self.gamma: float = float(model.gamma)
        self._critic = model.critic
        self._drop = int(getattr(model, "top_quantiles_to_drop_per_net", 0))
        self._entropy = _entropy_coefficient(model)
        self._policy = policy
        # The actions that follow are drawn once: else no two looks at a critic would compare.
        self._actions, self._log_prob = _actions(model.actor, recorded.following, len(recorded))

    def estimates(self, recorded: Recorded, rows: Tensor) -> Tensor:
        observations, actions = at(recorded.observations, rows), recorded.actions[rows]
        return _estimates(self._critic, observations, actions)

    def ahead(self, recorded: Recorded, rows: Tensor) -> Ahead:
        following = at(recorded.following, rows)
        found = _estimates(self._critic, following, self._actions[rows])
        nets, quantiles = found.shape[1:]
        if quantiles == 1:
            lowest = found.min(dim=1).values
        else:
            kept = nets * (quantiles - self._drop)
            lowest = found.reshape(len(rows), -1).sort(dim=1).values[:, :kept]
        value = lowest.mean(dim=1)
        bonus = -self._entropy * self._log_prob[rows]
        return Ahead(value + bonus, bonus, lowest - value[:, None])

    def trusted(self, recorded: Recorded) -> Tensor:
        likelihood = _in_parts(
            lambda rows: self._policy.log_likelihood(
                at(recorded.observations, rows), recorded.actions[rows]
            ),
            len(recorded),
        )
        numbers = recorded.actions[0].numel()
        least = float(likelihood.median()) - _UNLIKELY * float(numbers) ** 0.5
        trusted: Tensor = likelihood > least
        return trusted


class Expected:
    """What a living critic expects of what its actor does: what training raises by the actor.

    Source: the losses of the actor in SB3's sac.py, td3.py and sb3-contrib's tqc.py. Of a twin the
    lower value counts, for TD3 too.
    """

    def __init__(self, model: Any) -> None:
        self._actor, self._critic = model.actor, model.critic
        self._entropy = _entropy_coefficient(model)

    def __call__(self, observations: Observations) -> Tensor:
        """Return the value of an action of the actor for each observation, shape (n,)."""
        action, log_prob = _action(self._actor, observations)
        return self._value(observations, action) - self._entropy * log_prob

    @torch.no_grad()
    def scale(self, recorded: Recorded, rows: Tensor) -> float:
        """Return how far values are spread that the critic gives to actions drawn evenly.

        0.0 for a critic that judges nothing: it says the same of all actions, or no number, or of
        what the agent did nothing better than of those: its actor was trained to do what it likes.
        """
        observations, done = at(recorded.observations, rows), recorded.actions[rows]
        drawn = torch.stack(
            [self._value(observations, 2.0 * torch.rand(done.shape) - 1.0) for _ in range(DRAWS)]
        )
        better = gain(
            -drawn.mean(dim=0),
            -self._value(observations, done),
            recorded.blocks[rows.numpy()],
            recorded.weights[rows],
        )
        spread = float(drawn.std(dim=0).mean())
        return spread if isfinite(spread) and better.is_proven else 0.0

    def _value(self, observations: Observations, actions: Tensor) -> Tensor:
        nets = _estimates(self._critic, observations, actions)
        value: Tensor = nets.mean(dim=(1, 2)) if nets.shape[2] > 1 else nets.amin(dim=(1, 2))
        return value


class OfValues:
    """The networks of DQN and QRDQN, which judge what is best."""

    def __init__(self, model: Any, policy: Greedy) -> None:
        self.module = policy.module
        self.gamma: float = float(model.gamma)
        self._policy = policy

    def estimates(self, recorded: Recorded, rows: Tensor) -> Tensor:
        found = self._quantiles(at(recorded.observations, rows))
        chosen = recorded.actions[rows].reshape(-1, 1, 1).expand(-1, found.shape[1], 1)
        return found.gather(2, chosen).swapaxes(1, 2)

    def ahead(self, recorded: Recorded, rows: Tensor) -> Ahead:
        found = self._quantiles(at(recorded.following, rows))
        best = found.mean(dim=1).argmax(dim=1)
        own = found.gather(2, best.reshape(-1, 1, 1).expand(-1, found.shape[1], 1))[:, :, 0]
        value = own.mean(dim=1)
        return Ahead(value, torch.zeros_like(value), own - value[:, None])

    def trusted(self, recorded: Recorded) -> Tensor:
        best = _in_parts(
            lambda rows: self._policy.values(at(recorded.observations, rows)).argmax(dim=1),
            len(recorded),
        )
        return best == recorded.actions.reshape(-1)

    def _quantiles(self, observations: Observations) -> Tensor:
        """Return the quantiles of each action's value, shape (n, quantiles, actions)."""
        found: Tensor = self.module(observations)
        return found if found.dim() == 3 else found[:, None, :]


@torch.no_grad()
def targets(critic: Critic, recorded: Recorded) -> Tensor:
    """Return what the critic should say of each transition, shape (n, quantiles)."""
    ahead = _ahead(critic, recorded)
    traces = LAMBDA * critic.trusted(recorded).double().numpy()
    returns = lambda_returns(
        recorded.rewards.double().numpy(),
        critic.gamma * recorded.goes_on.double().numpy(),
        ahead.value.double().numpy(),
        ahead.bonus.double().numpy(),
        traces,
        recorded.is_last,
    )
    ahead_of = critic.gamma * recorded.goes_on[:, None] * ahead.spread
    return torch.as_tensor(returns, dtype=ahead.value.dtype)[:, None] + ahead_of


@torch.no_grad()
def residuals(critic: Critic, recorded: Recorded, rows: Tensor) -> Tensor:
    """Return the absolute Bellman error of each row, the mean over nets, shape (n,).

    It is in the unit of the rewards, whatever a critic says: one that says the same of everything
    is off by as much as rewards vary.
    """
    ahead = critic.ahead(recorded, rows)
    target = recorded.rewards[rows] + critic.gamma * recorded.goes_on[rows] * ahead.value
    estimates = critic.estimates(recorded, rows).mean(dim=2)
    return (estimates - target[:, None]).abs().mean(dim=1)


def lambda_returns(
    rewards: NDArray[np.float64],
    discounts: NDArray[np.float64],
    values: NDArray[np.float64],
    bonuses: NDArray[np.float64],
    traces: NDArray[np.float64],
    is_last: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the λ-return of each of n transitions in order of time; all arrays of shape (n,).

    `discounts` are γ, or 0 where the episode ended; `values` what is expected behind each row, with
    `bonuses` in them that no reward brings; `traces` how far each row's own action is trusted, 0 to
    1. Source: Sutton and Barto, "Reinforcement Learning", section 12.8.
    """
    found = np.empty(len(rewards))
    following = 0.0
    for row in range(len(rewards) - 1, -1, -1):
        tail = values[row]
        if not is_last[row] and row + 1 < len(rewards):
            trace = traces[row + 1]
            tail = (1.0 - trace) * tail + trace * (bonuses[row] + following)
        following = rewards[row] + discounts[row] * tail
        found[row] = following
    return found


def loss(estimates: Tensor, wanted: Tensor, scale: Tensor) -> Tensor:
    """Return how far estimates (n, nets, quantiles) are from targets (n, q), squared, in `scale`.

    Each quantile is compared with that of the targets. The quantile Huber loss, which compares each
    with all of them, would take n · quantiles · q terms to learn the same mean.
    """
    count = estimates.shape[2]
    places = (torch.arange(count) + 0.5) / count * wanted.shape[1]
    paired = wanted.sort(dim=1).values[:, places.long()]
    return ((estimates - paired[:, None, :]) / scale).pow(2).mean()


def _ahead(critic: Critic, recorded: Recorded) -> Ahead:
    parts = [critic.ahead(recorded, rows) for rows in _parts(len(recorded))]
    return Ahead(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _parts(count: int) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(count), _AT_ONCE)


@torch.no_grad()
def _in_parts(of: Callable[[Tensor], Tensor], count: int) -> Tensor:
    return torch.cat([of(rows) for rows in _parts(count)])


def _entropy_coefficient(model: Any) -> float:
    log_coef = getattr(model, "log_ent_coef", None)
    fixed = getattr(model, "ent_coef_tensor", None)
    coefficient = log_coef.exp() if log_coef is not None else fixed
    return 0.0 if coefficient is None else float(coefficient.detach())


def _estimates(critic: Any, observations: Observations, actions: Tensor) -> Tensor:
    """Return what each net says of the actions, shape (n, nets, quantiles)."""
    found = critic(observations, actions)
    if isinstance(found, tuple):
        return torch.stack(found, dim=1)
    shaped: Tensor = found
    return shaped


def _action(actor: Any, observations: Observations) -> tuple[Tensor, Tensor]:
    """Return an action of the actor for each observation, and its log likelihood, shape (n,).

    Of gSDE each row has a noise of its own: with one for all, as SB3 keeps it between its gradient
    steps, features that stretch along it make every action unlikely, which looks like entropy.
    """
    if getattr(actor, "use_sde", False):
        mean, log_std, latent = actor.get_action_dist_params(observations)
        actor.action_dist.sample_weights(log_std, batch_size=len(mean))
        action, log_prob = actor.action_dist.log_prob_from_params(mean, log_std, **latent)
        return action, log_prob.reshape(-1)
    if hasattr(actor, "action_log_prob"):
        action, log_prob = actor.action_log_prob(observations)
        return action, log_prob.reshape(-1)
    action = actor(observations)
    return action, torch.zeros(len(action))


@torch.no_grad()
def _actions(actor: Any, observations: Observations, count: int) -> tuple[Tensor, Tensor]:
    """Return the same as `_action` for all `count` observations, some rows at a time."""
    parts = [_action(actor, at(observations, rows)) for rows in _parts(count)]
    actions, log_probs = zip(*parts, strict=True)
    return torch.cat(actions), torch.cat(log_probs)
