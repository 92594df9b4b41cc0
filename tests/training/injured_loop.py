"""A loop of somebody's own, in plain PyTorch, and what can be done to it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch as th
from torch import nn


class Loop:
    """A critic that learns a function, its target, and an actor that climbs on it.

    An update is what agents of one's own do: optimizers per network, the target mixed by hand.
    """

    def __init__(self, optimizer: Callable[..., th.optim.Optimizer] = th.optim.Adam) -> None:
        th.manual_seed(0)
        self.actor = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Tanh())
        self.critic = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        self.critic_target = copy.deepcopy(self.critic)
        self.modules = {
            "actor": self.actor,
            "critic": self.critic,
            "critic_target": self.critic_target,
        }
        self.optimizers = {
            "actor": optimizer(self.actor.parameters(), lr=1e-3),
            "critic": optimizer(self.critic.parameters(), lr=1e-3),
        }
        self._random = th.Generator().manual_seed(1)
        self.reward = 0.0
        """Added to what the critic is to learn: NaN is a reward that an environment may give."""

    def update(self) -> None:
        states = th.randn(16, 3, generator=self._random)
        actions = th.rand(16, 1, generator=self._random) * 2 - 1
        wanted = (states * actions).sum(1, keepdim=True) + self.reward
        error = self.critic(th.cat([states, actions], 1)) - wanted
        self._step("critic", error.square().mean())
        own = self.actor(states)
        self._step("actor", -self.critic(th.cat([states, own], 1)).mean())
        with th.no_grad():
            for ours, theirs in zip(
                self.critic.parameters(), self.critic_target.parameters(), strict=True
            ):
                theirs.lerp_(ours, 0.05)

    def _step(self, name: str, loss: th.Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def parameter(self, name: str) -> nn.Parameter:
        module, _, rest = name.partition(".")
        return self.modules[module].get_parameter(rest)

    def weights(self) -> dict[str, th.Tensor]:
        return {
            f"{name}.{key}": value.clone()
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
