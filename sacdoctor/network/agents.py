"""The networks of SB3's policies: what each is given, what it says, and what its target would be.

One class per family of algorithms. Everything is called as the algorithm itself calls it; sources
are the `train` methods of SB3 and sb3-contrib.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

Tensors = Any
"""A tensor, or a dict of them: observations as a policy takes them, shape (n, …)."""


class Batch(NamedTuple):
    """Observations, and what is known beside them, a row for each.

    `actions` are as the critic takes them. `rewards`, `following` (the next observations) and
    `ends` (1 where the episode really ended) are there together, or none of them. `starts` marks
    the first observation of an episode, where they stand in order of time; `masks` the allowed
    choices.
    """

    observations: Tensors
    actions: torch.Tensor | None = None
    rewards: torch.Tensor | None = None
    following: Tensors | None = None
    ends: torch.Tensor | None = None
    starts: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """How many observations there are."""
        given = self.observations
        return len(next(iter(given.values())) if isinstance(given, dict) else given)


class Acting(NamedTuple):
    """What an actor says of n observations.

    `chosen` is the deterministic action: numbers, in halves of their range where that is finite,
    shape (n, numbers), or whole numbers for choices. `deviation` and `mean` are those of a Gaussian
    before it is squashed, `mean` only where it is. `likelihood` is that of the likeliest choice.
    `moved` is what depends on the observation smoothly: the action, or the choices' probabilities
    or values.
    """

    chosen: torch.Tensor
    moved: torch.Tensor
    deviation: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    likelihood: torch.Tensor | None = None


class Said(NamedTuple):
    """What one network says: actions, or values, shape (twins, n), or both.

    `effect` is the difference of the best and the worst choice, shape (n,), where values are those
    of choices.
    """

    acting: Acting | None = None
    values: torch.Tensor | None = None
    effect: torch.Tensor | None = None


class Part(NamedTuple):
    """A network by its name, and what makes it work on a batch. `target_of` names another one."""

    name: str
    work: Callable[[Batch], Said]
    target_of: str | None = None

    @property
    def is_policy(self) -> bool:
        """Whether it is trained to choose actions."""
        return self.target_of is None and self.name not in ("critic", "value")


class Target(NamedTuple):
    """What values are to become, beside the reward and discounted: shape (n,).

    `log_likelihood` is that of the next action where entropy is rewarded.
    """

    values: torch.Tensor
    log_likelihood: torch.Tensor | None = None


class Agent(ABC):
    """A model of SB3's with the networks that it has."""

    judged: str
    """The network whose values the target is for; empty where there is none."""
    is_recurrent = False
    critic_takes_actions = False
    follows_slowly = False
    """Whether targets are moved a part of the way after each update, and so never are equal."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.policy: Any = model.policy

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Yield its networks, targets after what they are targets of."""

    def target(self, batch: Batch) -> Target | None:
        """Return what follows from the next observations; None where that cannot be told."""
        return None

    @property
    def entropy_coefficient(self) -> float:
        """What SAC and its kind multiply entropy with; 0 for others."""
        return 0.0

    @property
    def random(self) -> float | None:
        """The share of steps at which an action is drawn in place of the best; None for others."""
        return None

    def values_of(self, batch: Batch) -> torch.Tensor | None:
        """Return what the critic says of actions, shape (twins, n); None where it takes none."""
        return None


class _Continuous(Agent):
    """Actor and critic, which takes the action: SAC, TQC, CrossQ, TD3, DDPG."""

    judged = "critic"
    critic_takes_actions = True
    follows_slowly = True

    def parts(self) -> Iterator[Part]:
        yield Part("actor", lambda batch: Said(self._act(self.policy.actor, batch.observations)))
        if getattr(self.policy, "actor_target", None) is not None:
            target = self.policy.actor_target
            yield Part(
                "actor_target", lambda batch: Said(self._act(target, batch.observations)), "actor"
            )
        yield Part("critic", lambda batch: Said(values=self._values(self.policy.critic, batch)))
        if getattr(self.policy, "critic_target", None) is not None:
            target_critic = self.policy.critic_target
            yield Part(
                "critic_target", lambda b: Said(values=self._values(target_critic, b)), "critic"
            )

    @abstractmethod
    def _act(self, actor: Any, observations: Tensors) -> Acting: ...

    def _values(self, critic: Any, batch: Batch) -> torch.Tensor | None:
        if batch.actions is None:
            return None
        return self._estimates(critic, batch.observations, batch.actions)

    def _estimates(self, critic: Any, observations: Tensors, actions: torch.Tensor) -> torch.Tensor:
        return torch.stack([q.reshape(-1) for q in critic(observations, actions)])

    def values_of(self, batch: Batch) -> torch.Tensor | None:
        return self._values(self.policy.critic, batch)


class _Soft(_Continuous):
    """SAC, TQC and CrossQ."""

    def _act(self, actor: Any, observations: Tensors) -> Acting:
        mean, log_std, others = actor.get_action_dist_params(observations)
        distribution = actor.action_dist.proba_distribution(mean, log_std, **others)
        chosen = distribution.mode()
        return Acting(chosen, chosen, distribution.distribution.stddev, mean)

    @property
    def entropy_coefficient(self) -> float:
        learned = getattr(self.model, "log_ent_coef", None)
        if learned is not None:
            return float(learned.detach().exp())
        return float(self.model.ent_coef_tensor)

    def target(self, batch: Batch) -> Target:
        actions, log_likelihood = self.policy.actor.action_log_prob(batch.following)
        log_likelihood = log_likelihood.reshape(-1)
        values = self._target_values(batch.following, actions)
        return Target(values - self.entropy_coefficient * log_likelihood, log_likelihood)

    def _target_values(self, observations: Tensors, actions: torch.Tensor) -> torch.Tensor:
        critic = getattr(self.policy, "critic_target", None) or self.policy.critic
        return self._estimates(critic, observations, actions).amin(dim=0)


class _Quantiles(_Soft):
    """TQC: each network gives quantiles, whose mean is its value."""

    def _estimates(self, critic: Any, observations: Tensors, actions: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = critic(observations, actions).mean(dim=2).T
        return values

    def _target_values(self, observations: Tensors, actions: torch.Tensor) -> torch.Tensor:
        quantiles = self.policy.critic_target(observations, actions).flatten(start_dim=1)
        dropped = self.model.top_quantiles_to_drop_per_net * self.policy.critic.n_critics
        kept: torch.Tensor = quantiles.sort(dim=1).values[:, : quantiles.shape[1] - dropped]
        return kept.mean(dim=1)


class _Deterministic(_Continuous):
    """TD3 and DDPG; without the noise that TD3 adds to the target's action."""

    def _act(self, actor: Any, observations: Tensors) -> Acting:
        chosen = actor(observations)
        return Acting(chosen, chosen, mean=torch.atanh(chosen))

    def target(self, batch: Batch) -> Target:
        actions = self.policy.actor_target(batch.following)
        estimates = self._estimates(self.policy.critic_target, batch.following, actions)
        return Target(estimates.amin(dim=0))


class _OfChoices(Agent):
    """A network with a value for each choice: DQN and, by the means of its quantiles, QRDQN."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.judged = "q_net" if hasattr(self.policy, "q_net") else "quantile_net"

    def parts(self) -> Iterator[Part]:
        net, target = self._net(), self._net("_target")
        yield Part(self.judged, lambda batch: self._say(net, batch))
        yield Part(f"{self.judged}_target", lambda batch: self._say(target, batch), self.judged)

    @property
    def random(self) -> float:
        return float(self.model.exploration_rate)

    def _net(self, which: str = "") -> Any:
        return getattr(self.policy, self.judged + which)

    def _say(self, net: Any, batch: Batch) -> Said:
        values = self._of_choices(net, batch.observations)
        best = values.argmax(dim=1, keepdim=True)
        taken = best if batch.actions is None else batch.actions.long().reshape(-1, 1)
        acting = Acting(best, values - values.mean(dim=1, keepdim=True))
        effect = values.amax(dim=1) - values.amin(dim=1)
        return Said(acting, values.gather(1, taken).T, effect)

    def _of_choices(self, net: Any, observations: Tensors) -> torch.Tensor:
        values: torch.Tensor = net(observations)
        return values.mean(dim=1) if values.dim() == 3 else values

    def target(self, batch: Batch) -> Target:
        return Target(self._of_choices(self._net("_target"), batch.following).amax(dim=1))


class _OnPolicy(Agent):
    """PPO, A2C, TRPO and MaskablePPO: a policy, and a network for the value of observations."""

    judged = "value"

    def parts(self) -> Iterator[Part]:
        yield Part("actor", lambda batch: Said(self._acting(self._distribution(batch))))
        yield Part("value", lambda batch: Said(values=self._value(batch.observations)))

    def _distribution(self, batch: Batch) -> Any:
        if batch.masks is None:
            return self.policy.get_distribution(batch.observations)
        return self.policy.get_distribution(batch.observations, action_masks=batch.masks)

    def _value(self, observations: Tensors) -> torch.Tensor:
        value: torch.Tensor = self.policy.predict_values(observations)
        return value.reshape(1, -1)

    def target(self, batch: Batch) -> Target | None:
        return Target(self._value(batch.following)[0])

    def _acting(self, distribution: Any) -> Acting:
        space = self.policy.action_space
        chosen = distribution.mode()
        if isinstance(space, spaces.Box):
            low, high = (
                torch.as_tensor(bound.reshape(1, -1), device=chosen.device)
                for bound in (space.low, space.high)
            )
            deviation = distribution.distribution.stddev
            if self.policy.squash_output:
                return Acting(chosen, chosen, deviation)
            half = (high - low) / 2
            known = torch.isfinite(half)
            half = torch.where(known, half, torch.ones_like(half))
            middle = torch.where(known, (high + low) / 2, torch.zeros_like(half))
            scaled = (chosen - middle) / half
            return Acting(scaled, scaled, deviation / half)
        probabilities = _probabilities(distribution)
        likeliest = torch.stack([each.amax(dim=-1) for each in probabilities]).mean(dim=0)
        moved = torch.cat(probabilities, dim=-1)
        return Acting(chosen.reshape(len(chosen), -1), moved, likelihood=likeliest)


def _probabilities(distribution: Any) -> list[torch.Tensor]:
    """Return the choices' probabilities, shape (n, choices), for each of what is chosen."""
    inner = getattr(distribution, "distributions", None) or distribution.distribution
    if isinstance(inner, torch.distributions.Bernoulli):
        return [torch.stack((1.0 - p, p), dim=1) for p in inner.probs.T]
    return [one.probs for one in (inner if isinstance(inner, list) else [inner])]


class _Recurrent(_OnPolicy):
    """RecurrentPPO: steps through episodes in order, and keeps its states from batch to batch."""

    is_recurrent = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        layers, _, size = self.policy.lstm_hidden_state_shape
        zero = torch.zeros(layers, 1, size, device=self.policy.device)
        self._before = self._states = self._of_critic = (zero, zero)

    def _distribution(self, batch: Batch) -> Any:
        self._before = self._states
        distribution, self._states = self.policy.get_distribution(
            batch.observations, self._states, batch.starts
        )
        return distribution

    def parts(self) -> Iterator[Part]:
        yield Part("actor", lambda batch: Said(self._acting(self._distribution(batch))))
        yield Part("value", lambda batch: Said(values=self._value_in_order(batch)))

    def _value_in_order(self, batch: Batch) -> torch.Tensor:
        """Return the values. `predict_values` keeps its states to itself: its LSTM tells them.

        Without one of its own the critic is given those of the actor.
        """
        own = self.policy.lstm_critic
        if own is None:
            return self._valued(batch, self._before)
        hook = own.register_forward_hook(self._keep)
        try:
            return self._valued(batch, self._of_critic)
        finally:
            hook.remove()

    def _valued(self, batch: Batch, states: Any) -> torch.Tensor:
        values: torch.Tensor = self.policy.predict_values(batch.observations, states, batch.starts)
        return values.reshape(1, -1)

    def _keep(self, _lstm: Any, _inputs: Any, output: Any) -> None:
        self._of_critic = output[1]

    def target(self, batch: Batch) -> Target | None:
        return None  # the value of the next observation needs the state that leads to it


class _Searched(Agent):
    """ARS: a policy alone."""

    judged = ""

    def parts(self) -> Iterator[Part]:
        yield Part("actor", lambda batch: Said(self._act(batch.observations)))

    def _act(self, observations: Tensors) -> Acting:
        policy = self.policy
        outputs = policy.action_net(
            policy.extract_features(observations, policy.features_extractor)
        )
        if isinstance(policy.action_space, spaces.Discrete):
            return Acting(outputs.argmax(dim=1, keepdim=True), outputs)
        return Acting(outputs, outputs)


_FAMILIES: dict[str, Callable[[Any], Agent]] = {
    "SAC": _Soft,
    "CrossQ": _Soft,
    "TQC": _Quantiles,
    "TD3": _Deterministic,
    "DDPG": _Deterministic,
    "DQN": _OfChoices,
    "QRDQN": _OfChoices,
    "PPO": _OnPolicy,
    "A2C": _OnPolicy,
    "TRPO": _OnPolicy,
    "MaskablePPO": _OnPolicy,
    "RecurrentPPO": _Recurrent,
    "ARS": _Searched,
}


def agent_of(model: BaseAlgorithm) -> Agent:
    """Return the networks of a model of SB3's or sb3-contrib's, or of a class made from one.

    Raises `TypeError` for any other.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in _FAMILIES:
            return _FAMILIES[kind.__name__](model)
    raise TypeError(f"{type(model).__name__} is no algorithm of SB3 or sb3-contrib")
