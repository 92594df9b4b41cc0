"""How likely the recorded actions are under a policy, for each kind of policy that SB3 has."""

from __future__ import annotations

from math import log, pi
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sacdoctor.repair.refit.recorded import Observations

ANYBODYS = 0.05
"""Share of the recorded actions that is taken to be drawn evenly from the action space: the oldest
come from a policy that has changed since, and a few of those would outweigh all others. From far
away, where all actions are unlikely, none pulls any more: so a fit begins with a share of 0. A
judgement."""
_LEAST_NOISE = 1e-3
"""Of a deterministic policy's exploration, in halves of the action space: with none at all the
likelihood of an action would be infinite."""


class Policy(Protocol):
    """A policy whose likelihood can be raised.

    `others` are what the likelihood needs beside the policy's own parameters: fitted with them.
    """

    module: nn.Module
    others: tuple[Tensor, ...]

    def log_likelihood(
        self, observations: Observations, actions: Tensor, anybodys: float = ANYBODYS
    ) -> Tensor:
        """Return the log likelihood of each action, shape (n,), where a share is `anybodys`."""

    def adapt(self, observations: Observations, actions: Tensor) -> None:
        """Set `others` to what suits the policy as it is."""


def _mixed(own: Tensor, evenly: float, share: float) -> Tensor:
    """Return the log likelihood where a share of actions is drawn at a log density `evenly`."""
    if not share:
        return own
    return torch.logaddexp(own + log(1.0 - share), torch.full_like(own, log(share) + evenly))


class SquashedGaussian:
    """The actor of SAC, TQC and CrossQ: a Gaussian squashed by tanh, or gSDE."""

    others: tuple[Tensor, ...] = ()

    def __init__(self, model: Any) -> None:
        self.module: nn.Module = model.actor
        self._actor = model.actor

    def log_likelihood(
        self, observations: Observations, actions: Tensor, anybodys: float = ANYBODYS
    ) -> Tensor:
        mean, log_std, kwargs = self._actor.get_action_dist_params(observations)
        dist = self._actor.action_dist.proba_distribution(mean, log_std, **kwargs)
        own: Tensor = dist.log_prob(actions.reshape(len(actions), -1))
        return _mixed(own, -mean.shape[1] * log(2.0), anybodys)

    def adapt(self, observations: Observations, actions: Tensor) -> None:
        pass


class NoisyActor:
    """The actor of TD3 and DDPG, whose action has Gaussian noise added and is then clipped.

    An action at a bound may have been anything beyond it (Tobin 1958, "Estimation of Relationships
    for Limited Dependent Variables"). The noise's size is fitted, too: the file need not tell it.
    """

    def __init__(self, model: Any) -> None:
        self.module: nn.Module = model.actor
        self._actor = model.actor
        dimensions = int(model.action_space.shape[0])
        self._log_std = torch.full((dimensions,), log(0.1), requires_grad=True)
        self.others: tuple[Tensor, ...] = (self._log_std,)

    def log_likelihood(
        self, observations: Observations, actions: Tensor, anybodys: float = ANYBODYS
    ) -> Tensor:
        mean = self._actor(observations)
        log_std = self._log_std.clamp(min=log(_LEAST_NOISE), max=0.0)
        z = (actions - mean) / log_std.exp()
        inside = -0.5 * z**2 - log_std - 0.5 * log(2.0 * pi)
        beyond = torch.special.log_ndtr(torch.sign(actions) * -z)
        own = torch.where(actions.abs() >= 1.0, beyond, inside).sum(dim=1)
        return _mixed(own, -mean.shape[1] * log(2.0), anybodys)

    @torch.no_grad()
    def adapt(self, observations: Observations, actions: Tensor) -> None:
        apart = (actions - self._actor(observations)).pow(2).mean(dim=0).sqrt()
        self._log_std.copy_(apart.clamp(min=_LEAST_NOISE).log())


class Greedy:
    """The policy of DQN and QRDQN: the action of the largest value, but for exploration.

    How much larger a value is than the others is judged in units of a temperature, which is fitted.
    """

    def __init__(self, model: Any) -> None:
        self.module: nn.Module = model.policy.q_net if _is_dqn(model) else model.quantile_net
        self._model = model
        self._log_temperature = torch.zeros((), requires_grad=True)
        self.others: tuple[Tensor, ...] = (self._log_temperature,)

    def values(self, observations: Observations) -> Tensor:
        """Return the value of each action, shape (n, actions)."""
        found: Tensor = self.module(observations)
        return found if found.dim() == 2 else found.mean(dim=1)

    def log_likelihood(
        self, observations: Observations, actions: Tensor, anybodys: float = ANYBODYS
    ) -> Tensor:
        values = self.values(observations)
        own = torch.log_softmax(values / self._log_temperature.exp(), dim=1)
        own = own.gather(1, actions.reshape(-1, 1))[:, 0]
        return _mixed(own, -log(values.shape[1]), anybodys)

    @torch.no_grad()
    def adapt(self, observations: Observations, actions: Tensor) -> None:
        values = self.values(observations)
        apart = (values - values.mean(dim=1, keepdim=True)).abs().mean()
        self._log_temperature.copy_(apart.clamp(min=1e-6).log())


def _is_dqn(model: Any) -> bool:
    return hasattr(model.policy, "q_net")
