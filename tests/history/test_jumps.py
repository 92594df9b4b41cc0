"""SD807: what something else than training changed between two checkpoints of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import TQC
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.utils import LinearSchedule

from sacdoctor import read_history
from sacdoctor.model import Finding
from tests.agents import VECTOR, TinyEnv

EVERY, STEPS, FAULT = 100, 400, 250
"""The fault comes between the checkpoints at 200 and 300 steps."""
_REPLAY = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500}
SETTINGS: dict[str, tuple[type[BaseAlgorithm], dict[str, Any]]] = {
    "SAC": (SAC, _REPLAY),
    "TQC": (TQC, _REPLAY),
    "TD3": (TD3, _REPLAY),
    "DQN": (DQN, {**_REPLAY, "train_freq": 1}),
    "PPO": (PPO, {"n_steps": 50, "batch_size": 25, "n_epochs": 4}),
    "A2C": (A2C, {"n_steps": 10}),
}

Fault = Callable[[Any], None]


def _wide() -> dict[str, Any]:
    """Settings of their own: SB3 adds to those of a policy."""
    return {"policy_kwargs": {"net_arch": [64, 64]}}


class _At(BaseCallback):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def _on_step(self) -> bool:
        if self.num_timesteps == FAULT:
            self._fault(self.model)
        return True


def train(folder: Path, name: str, fault: Fault | None, **options: Any) -> list[Finding]:
    """Train for `STEPS` steps with a fault, and return what SD807 says of the run."""
    algorithm, settings = SETTINGS[name]
    env = TinyEnv(VECTOR, discrete=name == "DQN")
    model = algorithm("MlpPolicy", env, seed=3, device="cpu", **{**settings, **_wide(), **options})
    callbacks: list[BaseCallback] = [CheckpointCallback(EVERY, str(folder))]
    if fault is not None:
        callbacks.insert(0, _At(fault))
    model.learn(STEPS, callback=CallbackList(callbacks))
    (run,) = read_history(folder).runs
    return [finding for finding in run.findings if finding.rule == "SD807"]


def another_model(model: Any) -> None:
    other = type(model)("MlpPolicy", model.get_env(), seed=11, device="cpu", **_wide())
    model.policy.load_state_dict(other.policy.state_dict())


def _scale(part: str) -> Fault:
    def fault(model: Any) -> None:
        with th.no_grad():
            for parameter in getattr(model.policy, part).parameters():
                parameter.mul_(3.0)

    return fault


def _set_entropy(model: Any) -> None:
    with th.no_grad():
        model.log_ent_coef.fill_(float(np.log(0.04)))


def _raise_rate_for_a_while(model: Any) -> None:
    """A hundred times the rate from step 251 to 275."""
    usual, train = model.lr_schedule, model.train

    def at_times(*args: Any, **kwargs: Any) -> None:
        is_high = model.num_timesteps <= FAULT + 25
        model.lr_schedule = (lambda _: 100 * usual(1.0)) if is_high else usual
        train(*args, **kwargs)

    model.train = at_times


@pytest.mark.parametrize("name", ["SAC", "PPO", "DQN", "A2C"])
def test_weights_of_another_model_are_told_whatever_the_optimizer(
    tmp_path: Path, name: str
) -> None:
    (told,) = train(tmp_path, name, another_model)
    assert told.severity == "warning"
    assert "between 200 and 300 steps" in told.message
    assert "nothing is left" in told.evidence


@pytest.mark.parametrize("name, part", [("SAC", "actor"), ("TD3", "critic"), ("DQN", "q_net")])
def test_weights_that_were_scaled_moved_further_than_adam_can(
    tmp_path: Path, name: str, part: str
) -> None:
    (told,) = train(tmp_path, name, _scale(part))
    assert "between 200 and 300 steps" in told.message
    assert "Adam can have moved it" in told.evidence
    assert told.tensors and all(tensor.startswith(f"{part}.") for tensor in told.tensors)


@pytest.mark.parametrize("name", ["SAC", "TQC"])
def test_an_entropy_coefficient_that_was_set_is_told(tmp_path: Path, name: str) -> None:
    (told,) = train(tmp_path, name, _set_entropy)
    assert "changed the entropy coefficient between 200 and 300 steps" in told.message
    assert told.tensors == ("log_ent_coef",)
    assert "at a rate of 0.0003" in told.evidence


@pytest.mark.parametrize("name, options", [("PPO", {"n_steps": 20, "batch_size": 20}), ("SAC", {})])
def test_a_rate_that_was_raised_and_is_back_is_told(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    (told,) = train(tmp_path, name, _raise_rate_for_a_while, **options)
    assert "between 200 and 300 steps" in told.message
    assert "at a rate of 0.0003" in told.evidence


@pytest.mark.parametrize("name", SETTINGS)
def test_healthy_trainings_do_not_jump(tmp_path: Path, name: str) -> None:
    assert train(tmp_path, name, None) == []


@pytest.mark.parametrize("rate", [1e-2, LinearSchedule(1e-2, 1e-4, 1.0)])
def test_high_and_falling_rates_explain_long_ways(tmp_path: Path, rate: Any) -> None:
    assert train(tmp_path, "SAC", None, learning_rate=rate) == []


def test_a_schedule_of_ones_own_says_no_limit(tmp_path: Path) -> None:
    """Its rate may have been anything between the two checkpoints."""

    def peak(left: float) -> float:
        return 3e-2 if 0.3 < left < 0.45 else 3e-4

    assert train(tmp_path, "SAC", None, learning_rate=peak) == []


def test_weights_that_were_set_to_zero_are_the_business_of_other_rules(tmp_path: Path) -> None:
    def fault(model: Any) -> None:
        with th.no_grad():
            model.policy.actor.latent_pi[0].bias.zero_()
        model.policy.actor.latent_pi[0].bias.requires_grad_(False)

    assert train(tmp_path, "SAC", fault) == []
