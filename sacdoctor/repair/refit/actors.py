"""How likely the recorded actions are under a policy, for each kind of policy that SB3 has."""

from __future__ import annotations

from math import log, pi
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from sacdoctor.repair.refit.recorded import Given, Observations

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


class OnPolicy:
    """The policy of PPO, A2C, TRPO, MaskablePPO and RecurrentPPO, whatever its actions are.

    The environment got a Gaussian's action clipped: at a bound it may have been anything beyond.
    """

    others: tuple[Tensor, ...] = ()

    def __init__(self, model: Any) -> None:
        self.module: nn.Module = model.policy
        self._policy = model.policy
        self._space = model.action_space
        self._evenly = _log_density(self._space, is_squashed=bool(model.policy.squash_output))

    def log_likelihood(
        self, observations: Observations, actions: Tensor, anybodys: float = ANYBODYS
    ) -> Tensor:
        if isinstance(observations, Given) and observations.starts is not None:
            own = self._of_sequences(observations, observations.starts, actions)
        else:
            own = self._own(self._distribution(observations), actions)
        return own if self._evenly is None else _mixed(own, self._evenly, anybodys)

    def adapt(self, observations: Observations, actions: Tensor) -> None:
        pass

    def _distribution(self, observations: Observations) -> Any:
        policy = self._policy
        if not isinstance(observations, Given):
            return policy.get_distribution(observations)
        assert observations.masks is not None
        masks = observations.masks.numpy()
        return policy.get_distribution(observations.observations, action_masks=masks)

    def _of_sequences(self, given: Given, starts: Tensor, actions: Tensor) -> Tensor:
        """Return the likelihood of actions at the rows that are asked for, given those before."""
        policy, asked = self._policy, given.asked
        assert asked is not None
        layers, _, size = policy.lstm_hidden_state_shape
        states = (torch.zeros(layers, len(starts), size), torch.zeros(layers, len(starts), size))
        if not type(policy).get_distribution.__module__.startswith("sb3_contrib."):
            # Somebody's own, which may do anything with the rows: all of them.
            distribution, _ = policy.get_distribution(
                given.observations, states, starts.reshape(-1)
            )
            every = actions.new_zeros((starts.numel(), *actions.shape[1:]))
            every[asked] = actions
            return self._own(distribution, every)[asked]
        # As its own `get_distribution`, but that only the rows which are asked for count.
        features = ActorCriticPolicy.extract_features(
            policy, given.observations, policy.pi_features_extractor
        )
        latent, _ = policy._process_sequence(
            features, states, starts.reshape(-1), policy.lstm_actor
        )
        latent = policy.mlp_extractor.forward_actor(latent[asked])
        return self._own(policy._get_action_dist_from_latent(latent), actions)

    def _own(self, distribution: Any, actions: Tensor) -> Tensor:
        found: Tensor
        if isinstance(self._space, spaces.Box):
            actions = actions.reshape(len(actions), -1)
            if self._policy.squash_output:
                found = distribution.log_prob(actions)
                return found
            low, high = (
                torch.as_tensor(bound).reshape(1, -1)
                for bound in (self._space.low, self._space.high)
            )
            normal = distribution.distribution
            beyond = torch.where(actions >= high, normal.mean - high, low - normal.mean)
            at_bound = torch.special.log_ndtr(beyond / normal.stddev)
            inside = (actions > low) & (actions < high)
            found = torch.where(inside, normal.log_prob(actions), at_bound).sum(dim=1)
            return found
        single = isinstance(self._space, spaces.Discrete)
        found = distribution.log_prob(actions[:, 0] if single else actions)
        return found


def _log_density(space: spaces.Space[Any], *, is_squashed: bool) -> float | None:
    """Return the log density of an action that is drawn evenly, None where there is no end."""
    if isinstance(space, spaces.Box):
        if is_squashed:
            return -log(2.0) * space.low.size
        widths = (space.high - space.low).astype(np.float64)
        return -float(np.log(widths).sum()) if np.isfinite(widths).all() else None
    if isinstance(space, spaces.MultiDiscrete):
        return -float(np.log(space.nvec).sum())
    choices = 2 if isinstance(space, spaces.MultiBinary) else getattr(space, "n", 1)
    count = int(np.prod(space.shape or (1,))) if isinstance(space, spaces.MultiBinary) else 1
    return -log(choices) * count


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
