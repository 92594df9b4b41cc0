"""Models with dead biases, and the callback that is to find them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from fixtures.faulty_policies import (
    LateActorCriticPolicy,
    LateRecurrentPolicy,
    LateSACPolicy,
    LateTD3Policy,
)
from fixtures.faulty_training import zero
from sacdoctor.training import (
    ZeroWeightsPreventionCallback,
    create_zero_prevention_system,
)

LATE = {
    "SAC": LateSACPolicy,
    "TD3": LateTD3Policy,
    "PPO": LateActorCriticPolicy,
    "A2C": LateActorCriticPolicy,
    "RecurrentPPO": LateRecurrentPolicy,
}
INJURED = list(LATE)
ONE_ROLLOUT = {"SAC": 40, "TD3": 40, "PPO": 64, "A2C": 40, "RecurrentPPO": 64}


def system(**options: Any) -> ZeroWeightsPreventionCallback:
    return create_zero_prevention_system(**{"check_frequency": 16, "verbose": 0, **options})


def more(model: BaseAlgorithm, steps: int, callback: Any) -> BaseAlgorithm:
    return model.learn(steps, callback=callback, reset_num_timesteps=False)


def parameters(model: BaseAlgorithm, pattern: str) -> dict[str, nn.Parameter]:
    found = {n: p for n, p in model.policy.named_parameters() if fnmatchcase(n, pattern)}
    assert found, pattern
    return found


def optimizers(model: BaseAlgorithm) -> list[th.optim.Optimizer]:
    policy = model.policy
    holders = [policy, getattr(policy, "actor", None), getattr(policy, "critic", None)]
    return [h.optimizer for h in holders if hasattr(h, "optimizer")]


def moments(model: BaseAlgorithm, parameter: nn.Parameter) -> Mapping[str, Any]:
    return next(o.state[parameter] for o in optimizers(model) if parameter in o.state)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.name == "sacdoctor" and r.levelno >= logging.WARNING
    ]


ZEROED = {
    "SAC": "critic.qf0.2.bias",
    "TD3": "actor.mu.2.bias",
    "PPO": "mlp_extractor.policy_net.2.bias",
    "A2C": "mlp_extractor.value_net.2.bias",
    "RecurrentPPO": "lstm_actor.bias_ih_l0",
}


class Zeroing(BaseCallback):
    """A fault that comes back: it sets a bias to zero again before every check."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _on_step(self) -> bool:
        zero(self._name)(self.model)
        return True
