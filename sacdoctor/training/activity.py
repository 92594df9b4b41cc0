"""Logs what the networks do while they are trained: dead and saturated units, values, actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import obs_as_tensor

from sacdoctor.diagnosis import NetworkActivity
from sacdoctor.network import Batch, agent_of, at_work

__all__ = ["ActivityCallback"]


class ActivityCallback(BaseCallback):
    """Sets the networks to work on a sample of what was seen, every so many steps, and logs it.

    The sample is drawn from the replay buffer, or is the start of the rollout, of its first
    environment. SB3's logger has for each network `activity/NETWORK/dead` (the share of its units
    that put out nothing), `…/saturated` (the largest share of a layer's outputs at their limits),
    and what of `…/value`, `…/residual`, `…/correlation`, `…/deviation` and `…/commonest` there is.
    `networks` keeps the last figures in full. Nothing of the training is changed: not its random
    numbers either. Of ARS there is nothing to draw from.

    :param every: steps of all environments together between two looks
    :param sample: observations to look at
    :param verbose: as SB3's callbacks take it

    Raises `ValueError` where one of them is no positive number.
    """

    def __init__(self, every: int = 10_000, sample: int = 512, verbose: int = 0) -> None:
        super().__init__(verbose)
        if every < 1 or sample < 1:
            raise ValueError("every and sample have to be 1 or more")
        self.every, self.sample = every, sample
        self.networks: tuple[NetworkActivity, ...] = ()
        self._next = 0

    def _on_training_start(self) -> None:
        self._next = self.num_timesteps + self.every

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps < self._next:
            return
        self._next = self.num_timesteps + self.every
        with _left_as_it_was(self.model.policy):
            batch = self._sampled()
            if batch is None:
                return
            self.networks = at_work(agent_of(self.model), [batch], batch.size, None)
        for network in self.networks:
            for name, value in _logged(network):
                self.logger.record(f"activity/{network.name}/{name}", value)

    def _sampled(self) -> Batch | None:
        model: Any = self.model
        if isinstance(model, OnPolicyAlgorithm):
            return self._of_rollout(model.rollout_buffer, model.device)
        buffer = getattr(model, "replay_buffer", None)
        if buffer is None or not buffer.size():
            return None
        drawn = buffer.sample(self.sample, env=model.get_vec_normalize_env())
        actions = drawn.actions if agent_of(model).critic_takes_actions else drawn.actions[:, 0]
        return Batch(
            drawn.observations,
            actions,
            drawn.rewards[:, 0],
            drawn.next_observations,
            drawn.dones[:, 0],
        )

    def _of_rollout(self, buffer: Any, device: torch.device) -> Batch:
        seen = buffer.observations
        first = (
            {key: rows[: self.sample, 0] for key, rows in seen.items()}
            if isinstance(seen, dict)
            else seen[: self.sample, 0]
        )
        starts = buffer.episode_starts[: self.sample, 0].astype(np.float32)
        starts[0] = 1.0
        observations = obs_as_tensor(first, device)
        return Batch(observations, starts=torch.as_tensor(starts, device=device))


def _logged(network: NetworkActivity) -> Iterator[tuple[str, float]]:
    units = sum(layer.units for layer in network.layers)
    yield "dead", sum(layer.dead for layer in network.layers) / max(1, units)
    limits = [layer.at_limit for layer in network.layers if layer.at_limit is not None]
    if limits:
        yield "saturated", max(limits)
    found = {
        "value": network.values and network.values.mean,
        "residual": network.values and network.values.residual,
        "correlation": network.values and network.values.correlation,
        "deviation": network.actions and network.actions.deviation,
        "commonest": network.actions and network.actions.commonest,
    }
    for name, value in found.items():
        if value is not None:
            yield name, value


@contextmanager
def _left_as_it_was(policy: Any) -> Iterator[None]:
    """Let the networks work in evaluation mode; random numbers go on as if nothing had been."""
    modes = {part: part.training for part in policy.modules()}
    numbers = np.random.get_state()
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        policy.set_training_mode(False)
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode
            np.random.set_state(numbers)
